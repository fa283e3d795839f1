# SPDX-License-Identifier: BSD-2-Clause
"""What is plugged into the server guest and granted to the client guest is the client's own; nothing else is."""

from __future__ import annotations

import hashlib
import time

import pytest

from tests.support.end_to_end import READ, Booted, MiB


def test_the_disk_that_the_client_reads_is_the_one_in_the_server(booted: Booted) -> None:
    shown = booted.run("client", "sha256sum /dev/sda", 120)
    assert shown.split()[0] == hashlib.sha256(booted.disk.read_bytes()).hexdigest()


def test_what_the_client_writes_is_in_the_image(booted: Booted) -> None:
    booted.run("client", "yes routed | head -c 1048576 | dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null")
    written = (b"routed\n" * MiB)[:MiB]
    assert booted.disk.read_bytes()[2 * MiB : 3 * MiB] == written


def test_the_keyboard_is_an_input_device_of_the_client(booted: Booted) -> None:
    assert "QEMU USB Keyboard" in booted.run("client", "cat /proc/bus/input/devices")
    assert "QEMU USB Mouse" not in booted.run("client", "cat /proc/bus/input/devices")


def test_a_rule_with_a_port_gets_that_port(booted: Booted) -> None:
    assert [e.detail for e in booted.system.timeline.seen("client", "attached") if "1-2" in e.detail][:1] == [
        "1-2 port 5"
    ]


def test_keys_typed_in_the_server_arrive_in_the_client(booted: Booted) -> None:
    booted.run("client", f"rm -f /tmp/keys; (timeout 120 cat /dev/input/event0 >/tmp/keys 2>/dev/null &); {READ}")
    monitor = booted.system.guests["server"].qmp
    for key in ("a", "b"):
        monitor.execute("send-key", keys=[{"type": "qcode", "data": key}])
    # struct input_event is 24 bytes; EV_KEY (1), KEY_A (30) and KEY_B (48): linux/input-event-codes.h
    events = booted.wait(
        "client",
        "hexdump -v -e '24/1 \"%02x\" \"\\n\"' /tmp/keys | grep '010030000[01]'; "
        'hexdump -v -e \'24/1 "%02x" "\\n"\' /tmp/keys | grep 01003000',
    )
    assert "01003000" in events
    assert "01001e00" in booted.run("client", 'hexdump -v -e \'24/1 "%02x" "\\n"\' /tmp/keys')


def test_debians_usbip_lists_and_attaches_just_what_is_granted(booted: Booted) -> None:
    ours = "$(pidof python3)"
    booted.run("client", f"kill -STOP {ours}")
    try:
        booted.run(
            "client",
            "for port in $(usbip port | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'); do usbip detach -p $port; done",
        )
        listed = booted.wait("client", "usbip list -r 10.77.0.2 | grep . && usbip list -r 10.77.0.2 | grep 46f4:0001")
        assert "1-2:" in listed
        assert "1-3:" not in listed
        booted.fails("client", "usbip attach -r 10.77.0.2 -b 1-3")
        booted.run("client", "usbip attach -r 10.77.0.2 -b 2-1")
        assert "46f4:0001" in booted.wait("client", "usbip port | grep 46f4")
        booted.wait("client", "ls /dev/sd?")
        booted.run("client", "usbip detach -p $(usbip port | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p')")
    finally:
        booted.run("client", f"kill -CONT {ours}")
    booted.wait("client", "ls /dev/sd? && grep 'USB Keyboard' /proc/bus/input/devices")


def test_a_guest_without_grants_sees_and_gets_nothing(booted: Booted) -> None:
    code, output = booted.system.execute("stranger", "usbip list -r 10.77.0.2", 60)
    assert "46f4:0001" not in output.decode(), f"exit code {code}"
    assert "0627:0001" not in output.decode()
    booted.fails("stranger", "modprobe vhci-hcd; usbip attach -r 10.77.0.2 -b 1-3")
    booted.fails("stranger", "ls /dev/sd*")


def test_an_unplugged_disk_goes_and_comes_back_to_its_port(booted: Booted) -> None:
    monitor = booted.system.guests["server"].qmp
    before = booted.system.timeline.seen("client", "attached")
    disk = next(event.detail for event in before if event.detail.startswith("2-1 "))
    monitor.execute("device_del", id="plug1")
    booted.wait("client", "! ls /dev/sda")
    blockdev = {"driver": "raw", "file": {"driver": "file", "filename": str(booted.disk)}}
    monitor.execute("blockdev-add", node_name="again", **blockdev)
    monitor.execute("device_add", driver="usb-storage", bus="usb.0", port="1", id="plug1", drive="again")
    booted.wait("client", "ls /dev/sd?")
    attached = [e.detail for e in booted.system.timeline.seen("client", "attached") if e.detail.startswith("2-1 ")]
    assert attached[-1] == disk
    assert len(attached) > len([event for event in before if event.detail.startswith("2-1 ")])
    shown = booted.run("client", "sha256sum /dev/sd?", 120)
    assert shown.split()[0] == hashlib.sha256(booted.disk.read_bytes()).hexdigest()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_disk_read_for_ten_minutes_is_the_same_each_time(booted: Booted) -> None:
    wanted = hashlib.sha256(booted.disk.read_bytes()).hexdigest()
    end = time.monotonic() + 600
    while time.monotonic() < end:
        read = booted.run("client", "echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/sda", 120)
        assert read.split()[0] == wanted
