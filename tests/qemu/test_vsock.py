# SPDX-License-Identifier: BSD-2-Clause
"""Guests without a network interface: USB goes over vsock, what no rule allows is refused, no peer is a ghost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.testing import Router, Setup
from router.testing.qemu import QemuMachine
from tests.qemu.test_ghosts import (
    MAX_GONE_S,
    STUCK,
    elapsed,
    free_in_server,
    gone_in_client,
    say,
    up_again,
    uptime,
    whole,
)
from tests.qemu.test_route import sha256
from tests.support.end_to_end import BOOT, MiB
from tests.support.tshark import needs_tshark, tshark
from tests.support.vsock import check_refusals

DESCRIPTION = """
system: without-network
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
network: {transport: vsock}
usb:
  - {class: mass-storage, to: client}
  - {class: hid, to: client}
"""


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The server has a disk in USB port 1 and a keyboard in port 2."""
    folder = tmp_path_factory.mktemp("vsock")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    description = folder / "description.yaml"
    description.write_text(DESCRIPTION)
    usb = (f"storage:{disk}", "keyboard")
    build = folder / "build"
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=build, capture=True)


@contextlib.contextmanager
def standing_still(router: Router, guest: str) -> Iterator[None]:
    """The guest's QEMU does nothing meanwhile. QMP's `stop` would stop its device too, which the switch notices."""
    assert isinstance(router.machine, QemuMachine)
    pid = router.machine.system.guests[guest].child.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_client_without_a_network_interface_reads_the_disk_and_has_the_keyboard(router: Router, disk: Path) -> None:
    client = router.guest("client")
    assert client.sha256("/dev/sda") == sha256(disk)
    assert client.run("ls /sys/class/net").stdout == "lo\n"
    assert "QEMU USB Keyboard" in client.run("cat /proc/bus/input/devices").stdout
    assert router.guest("server").run("ls /sys/class/net").stdout == "lo\n"


@needs_tshark
def test_the_capture_has_the_packets_of_linux_and_wireshark_reads_them(router: Router) -> None:
    (capture,) = (path for path in router.logs if path.suffix == ".pcapng")
    assert capture.stat().st_mode & 0o777 == 0o600
    fields = ("frame.interface_name", "vsock.virtio.dst_prot", "vsock.virtio.op", "_ws.malformed")
    rows = tshark(capture, *fields, growing=True)
    assert ["client", "3240", "1", ""] in rows and ["client", "3240", "5", ""] in rows
    assert {row[0] for row in rows} == {"client", "server"} and not any(row[3] for row in rows)


def test_what_the_client_writes_is_in_the_image(router: Router, disk: Path) -> None:
    write = "dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null"
    router.guest("client").run(f"yes routed | head -c 1048576 | {write}")
    assert disk.read_bytes()[2 * MiB : 3 * MiB] == (b"routed\n" * MiB)[:MiB]


def test_router_usb_lists_the_devices_with_their_holder_and_takes_one_away(
    router: Router, says: Callable[..., str]
) -> None:
    rows = {row["busid"]: row for row in json.loads(says("usb", "list", "--json"))}
    assert {busid: (row["holder"], row["rule"]) for busid, row in rows.items()} == {
        "1-2": ("client", "class hid"),
        "2-1": ("client", "class mass-storage"),
    }
    router.detach("client", "1-2")
    router.guest("client").wait_for_no_device("0627:0001")
    router.attach("client", "1-2")
    router.guest("client").wait_for_device("0627:0001")


def test_a_device_that_is_plugged_in_and_pulled_out_comes_and_goes(router: Router) -> None:
    plugged = router.plug_disk()
    client = router.guest("client")
    client.wait_for("[ -b /dev/sdb ] && true </dev/sdb")
    assert client.sha256("/dev/sdb") == plugged.sha256()
    router.unplug(plugged)
    client.wait_for("! [ -e /sys/block/sdb ]")


def test_a_port_that_no_rule_allows_is_refused(router: Router) -> None:
    check_refusals(router)


def test_a_killed_server_loses_its_port_in_the_client_and_the_disk_comes_back(router: Router, disk: Path) -> None:
    whole(router, disk)
    since = router.next_event
    began = elapsed(router)
    router.guest("server").reset()
    gone = gone_in_client(router, began, since, stays=False)
    up_again(router, "server", since)
    up = time.monotonic()
    whole(router, disk)
    say("vsock, server killed", gone, time.monotonic() - up)
    assert gone <= MAX_GONE_S


def test_a_frozen_server_loses_its_port_in_the_client_and_the_disk_comes_back(router: Router, disk: Path) -> None:
    client = router.guest("client")
    whole(router, disk)
    since = router.next_event
    with standing_still(router, "server"):
        gone = gone_in_client(router, elapsed(router), since, stays=True)
        client.wait_for(STUCK)
    thawed = time.monotonic()
    whole(router, disk)
    say("vsock, server frozen", gone, time.monotonic() - thawed)
    assert gone <= MAX_GONE_S


@pytest.mark.long
def test_a_frozen_clients_device_is_free_in_the_server_and_comes_back(router: Router, disk: Path) -> None:
    whole(router, disk)
    began = uptime(router, "server")
    with standing_still(router, "client"):
        free = free_in_server(router, began)
        router.guest("server").wait_for(STUCK)
    thawed = time.monotonic()
    router.guest("client").wait_for(STUCK)
    whole(router, disk)
    say("vsock, client frozen", free, time.monotonic() - thawed)
    assert free <= MAX_GONE_S


@pytest.mark.long
def test_a_killed_client_gives_the_devices_back_and_gets_them_again(router: Router, disk: Path) -> None:
    whole(router, disk)
    since = router.next_event
    began = uptime(router, "server")
    router.guest("client").reset()
    with router.freeze("client"):
        free = free_in_server(router, began)
    up_again(router, "client", since)
    up = time.monotonic()
    whole(router, disk)
    say("vsock, client killed", free, time.monotonic() - up)
    assert free <= MAX_GONE_S
