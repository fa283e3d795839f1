# SPDX-License-Identifier: BSD-2-Clause
"""What is plugged into the server guest and granted to the client guest is the client's own; nothing else is."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from router.testing import GuestFailure, Router
from router.testing.qemu import QemuMachine
from tests.support.end_to_end import READ, MiB

KEYS = 'hexdump -v -e \'24/1 "%02x" "\\n"\' /tmp/keys'
"""struct input_event, a line each: 24 bytes (linux/input.h)."""


def sha256(disk: Path) -> str:
    return hashlib.sha256(disk.read_bytes()).hexdigest()


def attached(router: Router, busid: str) -> list[str]:
    """What the client has said each time that it has attached the device."""
    return [event.detail for event in router.events("attached", "client") if event.detail.startswith(f"{busid} ")]


def test_the_disk_that_the_client_reads_is_the_one_in_the_server(router: Router, disk: Path) -> None:
    assert router.guest("client").sha256("/dev/sda") == sha256(disk)


def test_what_the_client_writes_is_in_the_image(router: Router, disk: Path) -> None:
    write = "dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null"
    router.guest("client").run(f"yes routed | head -c 1048576 | {write}")
    assert disk.read_bytes()[2 * MiB : 3 * MiB] == (b"routed\n" * MiB)[:MiB]


def test_the_keyboard_is_an_input_device_of_the_client(router: Router) -> None:
    inputs = router.guest("client").run("cat /proc/bus/input/devices").stdout
    assert "QEMU USB Keyboard" in inputs and "QEMU USB Mouse" not in inputs


def test_a_rule_with_a_port_gets_that_port(router: Router) -> None:
    assert attached(router, "1-2")[:1] == ["1-2 port 5"]


def test_keys_typed_in_the_server_arrive_in_the_client(router: Router) -> None:
    client = router.guest("client")
    client.run(f"rm -f /tmp/keys; (timeout 120 cat /dev/input/event0 >/tmp/keys 2>/dev/null &); {READ}")
    assert isinstance(router.machine, QemuMachine)
    monitor = router.machine.system.guests["server"].qmp
    for key in ("a", "b"):
        monitor.execute("send-key", keys=[{"type": "qcode", "data": key}])
    # EV_KEY (1), KEY_A (30) and KEY_B (48): linux/input-event-codes.h
    events = client.wait_for(f"{KEYS} | grep 01003000 && {KEYS} | grep 01001e00").stdout
    assert "01003000" in events and "01001e00" in events


def test_debians_usbip_lists_and_attaches_just_what_is_granted(router: Router) -> None:
    client, ours = router.guest("client"), "$(pidof python3)"
    ports = "usbip port | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'"
    client.run(f"kill -STOP {ours}")
    try:
        client.run(f"for port in $({ports}); do usbip detach -p $port; done")
        listed = client.wait_for("usbip list -r 10.77.0.2 | grep . && usbip list -r 10.77.0.2 | grep 46f4:0001").stdout
        assert "1-2:" in listed and "1-3:" not in listed
        assert client.run("usbip attach -r 10.77.0.2 -b 1-3", check=False).code != 0
        client.run("usbip attach -r 10.77.0.2 -b 2-1")
        client.wait_for("usbip port | grep 46f4")
        client.wait_for("ls /dev/sd?")
        client.run(f"usbip detach -p $({ports})")
    finally:
        client.run(f"kill -CONT {ours}")
    client.wait_for("ls /dev/sd? && grep 'USB Keyboard' /proc/bus/input/devices")


def test_a_guest_without_grants_sees_and_gets_nothing(router: Router) -> None:
    stranger = router.guest("stranger")
    listed = stranger.run("usbip list -r 10.77.0.2", check=False).stdout
    assert "46f4:0001" not in listed and "0627:0001" not in listed
    for refused in ("modprobe vhci-hcd; usbip attach -r 10.77.0.2 -b 1-3", "ls /dev/sd*"):
        with pytest.raises(GuestFailure, match="exit code"):
            stranger.run(refused)


def test_an_unplugged_disk_goes_and_comes_back_to_its_port(router: Router, disk: Path) -> None:
    client, before = router.guest("client"), attached(router, "2-1")
    router.unplug(1)
    client.wait_for("! ls /dev/sda")
    with router.connect() as connection:  # it stays plugged in after this test
        assert connection.plug(f"storage:{disk}")["port"] == 1
    client.wait_for("ls /dev/sd? && true </dev/$(ls /sys/block | grep sd)")
    assert len(attached(router, "2-1")) > len(before)
    assert attached(router, "2-1")[-1] == before[0]
    (found,) = client.disks()
    assert client.sha256(found.path) == sha256(disk)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_disk_read_for_ten_minutes_is_the_same_each_time(router: Router, disk: Path) -> None:
    end = time.monotonic() + 600
    while time.monotonic() < end:
        router.guest("client").run("echo 3 >/proc/sys/vm/drop_caches")
        assert router.guest("client").sha256("/dev/sda") == sha256(disk)
