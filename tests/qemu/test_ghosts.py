# SPDX-License-Identifier: BSD-2-Clause
"""A server or client that freezes or is killed leaves nothing behind that hangs, and the device comes back.

`pytest -s` shows the times. A frozen machine stands still; a kill is its reset button, so no connection is closed.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from router.testing import Router
from router.testing.setup import BOOT_TIMEOUT_S
from tests.qemu.test_route import sha256
from tests.support.patience import PATIENCE

MAX_GONE_S = 15.0
"""Until a device of a dead peer is free: what people are promised."""
READER = (
    "rm -f /tmp/read.*; (sectors=$(cat /sys/block/sda/size); full=$((sectors / 128));"
    " while [ ! -e /tmp/read.stop ] && echo 3 >/proc/sys/vm/drop_caches"
    " && dd if=/dev/sda of=/dev/null bs=64k 2>/tmp/read.said"
    ' && grep -q "^$full+. records in" /tmp/read.said; do echo >>/tmp/read.whole; done; echo over >/tmp/read.over)'
    " >/dev/null 2>&1 </dev/null &"
)
"""In a client: reads the disk over and over, until that fails or ends early, or it is to stop.

A disk that is taken away has the size 0, so its reader may find its end where it would have found an error.
"""
PASSES = "wc -l </tmp/read.whole"
WRITER = "(while dd if=/dev/zero of=/dev/sda bs=64k count=16 conv=fsync; do :; done) >/dev/null 2>&1 </dev/null &"
UPTIME = "read -r up _ </proc/uptime && echo $up"
READING = f"[ $({PASSES}) -ge 2 ]"
"""In a client: the reader has read the whole disk twice, and goes on."""
STUCK = "! ( ps -o pid,stat,comm | awk '$2 ~ /^D/' | grep . )"
"""In a guest: succeeds when no process waits where nothing can end it."""
DISK = "/devices/platform/vhci_hcd.0/"
GONE = f"! ls -l /sys/block | grep {DISK}"
FREE = "router-usbip status | grep -A 1 '^2-1 ' | grep 'exported, not in use'"
"""In the server: succeeds when nobody has the disk."""
BACK = f"d=$(ls -l /sys/block | grep {DISK} | sed 's/.*\\///') && [ -n \"$d\" ] && true </dev/$d"


def uptime(router: Router, guest: str) -> float:
    return float(router.guest(guest).run(UPTIME).stdout)


def said_at(router: Router, guest: str, text: str, after: float) -> float:
    """When a guest's kernel log had its first line with that text after that uptime: the line's own time."""
    lines = router.guest(guest).run(f"dmesg | grep '{text}' || true").stdout.splitlines()
    times = (float(line[1:].partition("]")[0]) for line in lines if line.startswith("["))
    return min(time for time in times if time > after)


def elapsed(router: Router) -> float:
    """Seconds of the run so far, as its events count them: no guest's answer is in between."""
    with router.connect() as connection:
        return float(connection.state()["seconds"])


def gone_in_client(router: Router, began: float, since: int, *, stays: bool) -> float:
    """Wait until the client has lost the disk: after how many seconds. stays: it cannot be back already."""
    lost = router.wait_for_event("detached", "client", detail="2-1 ", since=since, timeout=2 * PATIENCE)
    if stays:
        router.guest("client").wait_for(GONE)
    return lost.seconds - began


def free_in_server(router: Router, began: float) -> float:
    """Wait until the server has the disk back: after how many seconds."""
    router.guest("server").wait_for(FREE)
    return said_at(router, "server", "gave 2-1 back", began) - began


def up_again(router: Router, guest: str, since: int) -> None:
    router.wait_for_event("userspace", guest, since=since, timeout=BOOT_TIMEOUT_S)
    router.guest(guest).wait_for("true", BOOT_TIMEOUT_S)


def whole(router: Router, disk: Path) -> None:
    """The client has the disk, and reads what is in the image."""
    client = router.guest("client")
    client.wait_for(BACK, BOOT_TIMEOUT_S)
    (found,) = client.disks()
    assert client.sha256(found.path) == sha256(disk)


def say(what: str, seconds: float, back: float | None = None) -> None:
    print(f"\n{what}: free after {seconds:.1f} s" + (f", back {back:.1f} s after it runs again" if back else ""))


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "while it is read"])
def test_a_frozen_server_loses_its_port_in_the_client_and_the_disk_comes_back(
    router: Router, disk: Path, busy: bool
) -> None:
    client = router.guest("client")
    whole(router, disk)
    if busy:
        client.run(READER)
        client.wait_for(READING)
    since = router.next_event
    with router.freeze("server"):
        gone = gone_in_client(router, elapsed(router), since, stays=True)
        if busy:
            client.wait_for("cat /tmp/read.over")
        client.wait_for(STUCK)
        assert "used" not in client.run("router-usbip ports").stdout
    thawed = time.monotonic()
    whole(router, disk)
    say(f"server frozen, {'busy' if busy else 'idle'}", gone, time.monotonic() - thawed)
    assert gone <= MAX_GONE_S
    assert router.guest("server").wait_for(STUCK)


def test_a_killed_server_loses_its_port_in_the_client_and_the_disk_comes_back(router: Router, disk: Path) -> None:
    client, since = router.guest("client"), router.next_event
    whole(router, disk)
    client.run(READER)
    client.wait_for(READING)
    router.guest("server").reset()
    gone = gone_in_client(router, elapsed(router), since, stays=False)
    up_again(router, "server", since)
    up = time.monotonic()
    # A server that is up soon has the disk at the port before Linux has taken it away there. Linux then resets it and
    # finds the same one, and the reader goes on. It may also have ended, but it does not hang.
    before = int(client.run(PASSES).stdout)
    client.wait_for(f"[ -e /tmp/read.over ] || [ $({PASSES}) -gt {before} ]")
    client.run("touch /tmp/read.stop")
    client.wait_for("[ -e /tmp/read.over ]")
    client.wait_for(STUCK)
    whole(router, disk)
    say("server killed", gone, time.monotonic() - up)
    assert gone <= MAX_GONE_S


def test_a_frozen_clients_device_is_free_in_the_server_and_comes_back(router: Router, disk: Path) -> None:
    whole(router, disk)
    began = uptime(router, "server")
    with router.freeze("client"):
        free = free_in_server(router, began)
        router.guest("server").wait_for(STUCK)
    thawed = time.monotonic()
    client = router.guest("client")
    client.wait_for(STUCK)
    whole(router, disk)
    say("client frozen", free, time.monotonic() - thawed)
    assert free <= MAX_GONE_S


def test_a_client_that_is_killed_while_it_writes_leaves_the_device_to_others(router: Router, disk: Path) -> None:
    client, since = router.guest("client"), router.next_event
    whole(router, disk)
    client.run(WRITER)
    began = uptime(router, "server")
    client.reset()
    with router.freeze("client"):
        # It does not come up meanwhile, so the server finds out alone.
        free = free_in_server(router, began)
        router.guest("server").wait_for(STUCK)
    up_again(router, "client", since)
    up = time.monotonic()
    whole(router, disk)
    say("client killed while it writes", free, time.monotonic() - up)
    assert free <= MAX_GONE_S
