# SPDX-License-Identifier: BSD-2-Clause
"""Disks that go as blocks: the server's drivers have the disk, and one guest gets a block device over NVMe/TCP."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router import files
from router.testing import Router, Setup
from router.usbip.server.gate import MAX_CONNECTIONS
from tests.support import filesystems
from tests.support.end_to_end import BOOT, MiB

Says = Callable[..., str]
DESCRIPTION = """
system: blocks
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
  other: {image: usb-client, memory: 256 MiB}
usb:
  - {path: 1-1, to: client, as: block, name: data}
  - {class: mass-storage, to: other, as: block}
  - {class: hid, to: other}
"""
DISK = "/dev/disk/by-router/data"
NQN = "nqn.2025-01.org.router:disks-10.77.0.2-4421"
ATTACH = f"printf %s transport=tcp,traddr=10.77.0.2,trsvcid={{tcp}},nqn={NQN},hostnqn={{host}}"
ERRORS_S = 5
"""Within so many seconds reads of a disk that was pulled out fail (what docs/guide/which-road.md promises)."""
MARKS = 40
FLOOD_S = 6
FLOOD = f"""
import socket, time
held, end = [], time.monotonic() + {FLOOD_S}
while time.monotonic() < end:
    one = socket.socket()
    one.settimeout(1)
    try:
        one.connect(("10.77.0.2", 4422))
        held.append(one)
    except OSError:
        pass
    if len(held) == 900:
        break
lost = 0
time.sleep(3)
for one in held:
    one.setblocking(False)
    try:
        lost += one.recv(1) == b""
    except ConnectionError:
        lost += 1
    except OSError:
        pass
print(len(held), lost)
"""
MEMORY = "awk '/^MemAvailable/ {print $2}' /proc/meminfo"
FAILURES = "dmesg | grep -ci 'i/o error' || true"
MAX_FLOOD_KIB = 48 << 10
"""What the connections of a guest that floods may take of the server's memory."""


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """USB port 1 has a disk with two partitions, the second one with a file system, port 2 a keyboard."""
    filesystems.needs_tools()
    folder = tmp_path_factory.mktemp("blocks")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    table = "label: gpt\nstart=2048, size=8192\nstart=10240, size=8192\n"
    subprocess.run(["sfdisk", "-q", disk], input=table, text=True, check=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", f"offset={10240 * 512}", disk, "4m"], check=True, capture_output=True)
    description = folder / "description.yaml"
    description.write_text(DESCRIPTION)
    usb = (f"storage:{disk}", "keyboard")
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=folder / "build")


@pytest.fixture
def image(router_setup: Setup) -> Path:
    return Path(router_setup.usb[0].removeprefix("storage:"))


def test_the_disk_and_its_partitions_are_there_by_name_and_every_byte_is_right(router: Router, image: Path) -> None:
    client = router.guest("client")
    client.wait_for(f"[ -b {DISK} ] && [ -b {DISK}-part1 ] && [ -b {DISK}-part2 ]")
    assert client.sha256(DISK) == files.sha256(image)
    assert client.run(f"blockdev --getsize64 {DISK}-part1").stdout == f"{4 * MiB}\n"
    said = [event.detail for event in router.events("disk-ready", "client")]
    assert [one.split(":")[0] for one in said] == ["data ready"]
    assert router.guest("other").run("ls /dev/disk/by-router").stdout == ""


def test_what_was_flushed_is_in_the_disks_image(router: Router, image: Path) -> None:
    client = router.guest("client")
    client.wait_for(f"[ -b {DISK}-part1 ]")
    client.run(f"head -c 1000000 /dev/urandom >/tmp/new && dd if=/tmp/new of={DISK}-part1 bs=64k conv=fsync")
    wanted = client.run("sha256sum </tmp/new").stdout.split()[0]
    with image.open("rb") as disk:
        disk.seek(MiB)
        assert files.sha256_of(disk.read(1000000)) == wanted


def test_no_other_guest_reaches_the_disk_whatever_it_calls_itself(router: Router) -> None:
    router.guest("client").wait_for(f"[ -b {DISK} ]")
    other, before = router.guest("other"), sum(router.counters()["other"].drops.values())
    host = router.guest("client").run("cat /sys/class/nvme/nvme0/hostnqn").stdout.strip()
    refused = other.run(f"{ATTACH.format(tcp=4421, host=host)} >/dev/nvme-fabrics", check=False)
    assert refused.code != 0, "the other guest's port of the server took this one"
    assert sum(router.counters()["other"].drops.values()) > before
    # At its own port there is its own subsystem, and no other.
    other.wait_for("dmesg | grep -q disks-10.77.0.2-4422")
    refused = other.run(f"{ATTACH.format(tcp=4422, host=host)} >/dev/nvme-fabrics", check=False)
    assert refused.code != 0
    assert other.disks() == ()


def disk_row(says: Says) -> dict[str, object]:
    (row,) = (row for row in json.loads(says("usb", "list", "--json")) if row["disk"])
    return dict(row)


@pytest.mark.last
def test_a_disk_moves_to_another_guest_and_back_and_its_data_with_it(router: Router, says: Says, image: Path) -> None:
    client, other = router.guest("client"), router.guest("other")
    client.wait_for(f"[ -b {DISK} ]")
    row = disk_row(says)
    assert (row["holder"], row["road"], row["disk"]) == ("client", "block", "data")
    held = says("usb", "attach", "other", "data", code=4)
    assert "is held by guest 'client', as the disk 'data'\n  to take it: router usb attach other 2-1 --take" in held
    since = router.next_event
    assert "is the disk data of 'other', until the system stops" in says("usb", "attach", "other", "data", "--take")
    router.wait_for_event("disk-news", "client", detail="data has gone", since=since)
    router.wait_for_event("disk-ready", "other", detail="data ready", since=since)
    assert client.run("ls /dev/disk/by-router").stdout == ""
    assert other.sha256(DISK) == files.sha256(image)
    assert disk_row(says)["holder"] == "other"
    # What the description says of others stays, so it goes back to where its rule gives it.
    says("usb", "detach", "other", "data")
    assert other.run("ls /dev/disk/by-router").stdout == ""
    client.wait_for(f"[ -b {DISK} ]")
    assert client.sha256(DISK) == files.sha256(image)


@pytest.mark.last
def test_a_mounted_disk_is_moved_only_by_force_and_nothing_of_the_old_guest_lands_after(
    router: Router, says: Says, image: Path
) -> None:
    client, other = router.guest("client"), router.guest("other")
    client.wait_for(f"[ -b {DISK}-part2 ]")
    client.run(f"mkdir -p /mnt && mount {DISK}-part2 /mnt && echo kept >/mnt/file && sync")
    refused = says("usb", "attach", "other", "data", "--take", code=4)
    assert "is in use in 'client': nvme" in refused and "on /mnt" in refused and "--force" in refused
    # Each sector again and again, so that a write that came late would be seen.
    client.run(
        f"(n=0; while [ -b {DISK}-part1 ] && printf '%-512s' $n | dd of={DISK}-part1 bs=512 seek=$((n % 8))"
        " conv=fsync,notrunc; do"
        " n=$((n + 1)); echo $n >/tmp/writes; done; touch /tmp/refused) >/dev/null 2>&1 &"
    )
    client.wait_for("[ $(cat /tmp/writes) -ge 20 ]")
    try:
        says("usb", "attach", "other", "data", "--take", "--force")
        other.run(f"dd if=/dev/zero of={DISK}-part1 bs=512 count=8 conv=fsync,notrunc")
        client.wait_for("[ -e /tmp/refused ]")
        # From its memory until Linux has taken the disk away there.
        client.wait_for("! cat /mnt/file")
        other.run(f"mkdir -p /mnt && mount {DISK}-part2 /mnt && grep kept /mnt/file && umount /mnt")
        with image.open("rb") as disk:
            disk.seek(MiB)
            assert disk.read(8 * 512) == bytes(8 * 512)
    finally:
        client.run("umount -l /mnt")
        says("usb", "attach", "client", "data", "--take")
    client.wait_for(f"[ -b {DISK}-part2 ]")
    assert client.run(f"dd if={DISK}-part1 bs=512 count=8 2>/dev/null | tr -d '\\000' | wc -c").stdout.strip() == "0"


def test_writes_wait_for_a_server_that_restarts_and_none_is_lost(router: Router, image: Path) -> None:
    client = router.guest("client")
    client.wait_for(f"[ -b {DISK}-part1 ]")
    block = client.run(f"readlink {DISK}").stdout
    client.run(
        f"(n=0; while [ $n -lt {MARKS} ]; do printf '%-512s' $n | dd of={DISK}-part1 bs=512 seek=$n conv=fsync,notrunc"
        " || { echo failed $n >/tmp/log; break; }; n=$((n + 1)); echo $n >/tmp/log; done) >/dev/null 2>&1 &"
    )
    client.wait_for("[ $(cat /tmp/log) -ge 3 ]")
    since = router.next_event
    router.guest("server").reset()
    router.wait_for_event("disk-news", "client", detail="server away", since=since)
    router.wait_for_event("disk-news", "client", detail="server back", since=since, timeout=BOOT)
    client.wait_for(f"[ $(cat /tmp/log) = {MARKS} ]")
    assert client.run(f"readlink {DISK}").stdout == block, "the disk is the same one all the time"
    with image.open("rb") as disk:
        disk.seek(MiB)
        assert [int(disk.read(512)) for _ in range(MARKS)] == list(range(MARKS))


@pytest.mark.last
def test_a_disk_that_is_pulled_out_gives_errors_soon_and_comes_back_as_a_new_one(router: Router, image: Path) -> None:
    client = router.guest("client")
    client.wait_for(f"[ -b {DISK} ]")
    client.run(
        f"(while echo 3 >/proc/sys/vm/drop_caches && cat {DISK} >/dev/null; do :; done;"
        " cut -d ' ' -f 1 /proc/uptime >/tmp/ended) >/dev/null 2>&1 &"
    )
    since = router.next_event
    with router.connect() as connection:
        connection.unplug(1)
    asked = float(client.run("cut -d ' ' -f 1 /proc/uptime").stdout)
    ended = float(client.wait_for("[ -s /tmp/ended ] && cat /tmp/ended").stdout)
    assert ended < asked + ERRORS_S
    router.wait_for_event("disk-news", "client", detail="data has gone", since=since)
    assert client.run("ls /dev/disk/by-router").stdout == ""
    client.wait_for("! grep -l '^State:.D' /proc/[0-9]*/status")
    with router.connect() as connection:
        connection.plug(f"storage:{image}")
    router.wait_for_event("disk-ready", "client", since=since)
    client.wait_for(f"[ -b {DISK}-part2 ]")
    assert client.sha256(DISK) == files.sha256(image)


@pytest.mark.last
def test_a_guest_with_too_many_connections_loses_them_and_the_others_disk_goes_on(router: Router, image: Path) -> None:
    server, client, other = (router.guest(name) for name in ("server", "client", "other"))
    client.wait_for(f"[ -b {DISK} ]")
    other.wait_for("dmesg | grep -q disks-10.77.0.2-4422")
    free, failures = int(server.run(MEMORY).stdout), client.run(FAILURES).stdout
    other.run(
        f"(python3 -I -S -c {shlex.quote(FLOOD)} >/tmp/flood.part; mv /tmp/flood.part /tmp/flood) >/dev/null 2>&1 &"
    )
    least = free
    while other.run("[ -e /tmp/flood ]", check=False).code:
        assert client.sha256(DISK) == files.sha256(image)
        least = min(least, int(server.run(MEMORY).stdout))
    made, lost = map(int, other.run("cat /tmp/flood").stdout.split())
    print(f"\n{made} connections, {lost} lost; the server's memory went down by {(free - least) >> 10} MiB")
    assert made > MAX_CONNECTIONS and lost >= made - 2 * MAX_CONNECTIONS
    assert free - least < MAX_FLOOD_KIB
    assert client.run(FAILURES).stdout == failures
