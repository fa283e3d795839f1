# SPDX-License-Identifier: BSD-2-Clause
"""On seL4, what is routed works, what is not allowed does not pass, and a guest that falls harms no other."""

from __future__ import annotations

import hashlib
import time

import pytest

from bench.sel4 import processes, processor_seconds
from tests.support.closed_guest import check_confined, check_root
from tests.support.end_to_end import BOOT, LISTENS, Booted, MiB
from tests.support.patience import PATIENCE

IDLE = 15.0
"""Per cent of one core."""


def test_the_disk_that_the_client_reads_is_the_one_in_the_server(on_sel4: Booted) -> None:
    shown = on_sel4.run("client", "sha256sum /dev/sda", 120)
    assert shown.split()[0] == hashlib.sha256(on_sel4.disk.read_bytes()).hexdigest()


def test_what_the_client_writes_is_in_the_image(on_sel4: Booted) -> None:
    on_sel4.run("client", "yes routed | head -c 1048576 | dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null")
    written = (b"routed\n" * MiB)[:MiB]
    assert on_sel4.disk.read_bytes()[2 * MiB : 3 * MiB] == written


def test_the_keyboard_is_the_clients_and_the_mouse_is_not(on_sel4: Booted) -> None:
    devices = on_sel4.run("client", "cat /proc/bus/input/devices")
    assert "QEMU USB Keyboard" in devices
    assert "QEMU USB Mouse" not in devices
    assert [e.detail for e in on_sel4.system.timeline.seen("client", "attached") if "1-2" in e.detail][:1] == [
        "1-2 port 5"
    ]


def test_the_daemons_are_confined_and_the_servers_root_is_read_only(on_sel4: Booted) -> None:
    check_confined(on_sel4.asking("server"), "serve")
    check_confined(on_sel4.asking("client"), "keep-attached")
    check_root(on_sel4.asking("server"), read_only=True)


def test_a_guest_without_grants_sees_no_device(on_sel4: Booted) -> None:
    code, output = on_sel4.system.execute("stranger", "usbip list -r 10.77.0.2", 60)
    assert "46f4:0001" not in output.decode(), f"exit code {code}"
    on_sel4.fails("stranger", "modprobe vhci-hcd; usbip attach -r 10.77.0.2 -b 1-3")


def test_the_switch_carries_what_is_allowed_and_nothing_else(on_sel4: Booted) -> None:
    assert "3 packets received" in on_sel4.run("client", "ping -c 3 -W 5 10.77.0.2")
    on_sel4.fails("server", "ping -c 2 -W 1 10.77.0.3")
    on_sel4.fails("stranger", "ping -c 2 -W 1 10.77.0.2")
    on_sel4.fails("stranger", "ping -c 2 -W 1 10.77.0.3")
    on_sel4.run("server", "(timeout 120 nc -l -p 2222 >/dev/null 2>&1 &); " + LISTENS)
    on_sel4.fails("client", "nc -w 2 10.77.0.2 2222 </dev/null")


def test_a_forged_source_address_does_not_pass(on_sel4: Booted) -> None:
    on_sel4.run("stranger", "ip address add 10.77.0.3/32 dev eth0")
    on_sel4.fails("stranger", "ping -c 2 -W 1 -I 10.77.0.3 10.77.0.2")
    on_sel4.run("stranger", "ip address del 10.77.0.3/32 dev eth0")
    assert "1 packets received" in on_sel4.run("client", "ping -c 1 -W 5 10.77.0.2")


def test_the_largest_packet_arrives_and_a_larger_one_is_refused_by_the_guest_itself(on_sel4: Booted) -> None:
    assert "2 packets received" in on_sel4.run("client", "ping -c 2 -W 5 -s 1472 10.77.0.2")
    assert "nvalid argument" in on_sel4.fails("client", "ip link set eth0 mtu 1501")


def test_idle_guests_leave_the_host_idle(on_sel4: Booted) -> None:
    shares: list[float] = []
    while len(shares) < 6 and min(shares, default=IDLE) >= IDLE:  # what they still do after booting takes its time
        time.sleep(5)
        before, start = processor_seconds(processes(on_sel4.system)), time.monotonic()
        time.sleep(10)
        used = processor_seconds(processes(on_sel4.system)) - before
        shares.append(100 * used / (time.monotonic() - start))
    assert min(shares) < IDLE, shares


def restarted(on_sel4: Booted, guest: str, how: str, seconds: float = BOOT) -> None:
    """Make a guest end by a command, and wait until it is up again."""
    timeline = on_sel4.system.timeline
    ups = len(timeline.seen(guest, "userspace"))
    on_sel4.run(guest, f"(sleep 1; {how}) >/dev/null 2>&1 </dev/null &")
    end = time.monotonic() + seconds
    while len(timeline.seen(guest, "userspace")) == ups and time.monotonic() < end:
        on_sel4.system.poll(0.2)
    assert len(timeline.seen(guest, "userspace")) == ups + 1
    running = on_sel4.system.guests[guest]
    with running.turn:  # its clock may be being set
        assert running.agent.hello(PATIENCE) == guest


def test_a_client_that_resets_is_started_again_and_has_its_disk_again(on_sel4: Booted) -> None:
    uptime = float(on_sel4.run("server", "cat /proc/uptime").split()[0])
    restarted(on_sel4, "client", "reboot -f")
    assert [event.detail for event in on_sel4.system.timeline.seen("client", "stopped")] == ["reset itself"]
    on_sel4.wait("client", "ls /dev/sda", 2 * PATIENCE)
    shown = on_sel4.run("client", "sha256sum /dev/sda", 120)
    assert shown.split()[0] == hashlib.sha256(on_sel4.disk.read_bytes()).hexdigest()
    assert float(on_sel4.run("server", "cat /proc/uptime").split()[0]) > uptime


@pytest.mark.last
def test_while_one_guest_crashes_and_starts_the_others_talk_on(on_sel4: Booted) -> None:
    on_sel4.run("client", "(ping -i 0.5 10.77.0.2 >/tmp/ping 2>&1 &); until grep -q seq= /tmp/ping; do sleep 0.1; done")
    uptime = float(on_sel4.run("client", "cat /proc/uptime").split()[0])
    pid = on_sel4.system.guests["server"].child.pid
    before = len(on_sel4.system.timeline.seen("stranger", "stopped"))
    on_sel4.run("stranger", "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
    end = time.monotonic() + 2 * PATIENCE
    while len(on_sel4.system.timeline.seen("stranger", "stopped")) == before and time.monotonic() < end:
        on_sel4.system.poll(0.2)
    assert len(on_sel4.system.timeline.seen("stranger", "stopped")) == before + 1
    # Its description says on_exit: stop.
    end = time.monotonic() + 3
    while time.monotonic() < end:
        on_sel4.system.poll(0.2)
    assert on_sel4.system.timeline.seen("stranger", "restarting") == []
    # Just after an answer: then no other request is on its way.
    answers = "$(grep -c seq= /tmp/ping)"
    stop = f"n={answers}; while [ {answers} = $n ]; do usleep 10000; done; kill -INT $(pidof ping); sleep 0.5"
    on_sel4.run("client", stop)
    said = on_sel4.run("client", "cat /tmp/ping")
    assert " 0% packet loss" in said, said
    assert float(on_sel4.run("client", "cat /proc/uptime").split()[0]) > uptime
    assert on_sel4.system.guests["server"].child.pid == pid


def test_a_server_that_resets_gives_its_devices_to_the_client_again(on_sel4: Booted) -> None:
    attached = len(on_sel4.system.timeline.seen("client", "attached"))
    restarted(on_sel4, "server", "reboot -f")
    # The devices of before stay in the client until it notices that their server is gone: only a read tells.
    shown = on_sel4.wait("client", "sha256sum /dev/sd? && grep 'USB Keyboard' /proc/bus/input/devices", 120)
    assert len(on_sel4.system.timeline.seen("client", "attached")) >= attached + 2
    assert shown.split()[0] == hashlib.sha256(on_sel4.disk.read_bytes()).hexdigest()
