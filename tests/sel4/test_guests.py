# SPDX-License-Identifier: BSD-2-Clause
"""On seL4, what is routed works, what is not allowed does not pass, and a guest that falls harms no other."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from bench.sel4 import processes, processor_seconds
from router.testing import Router
from tests.support.closed_guest import check_confined, check_root
from tests.support.end_to_end import BOOT, LISTENS, Booted, MiB
from tests.support.patience import PATIENCE

IDLE = 15.0
"""Per cent of one core."""


def sha256(disk: Path) -> str:
    return hashlib.sha256(disk.read_bytes()).hexdigest()


def fails(router: Router, guest: str, command: str) -> str:
    """The output of a command that must fail in a guest."""
    done = router.guest(guest).run(command, check=False)
    assert done.code != 0, f"{guest}: {command}: succeeded: {done.stdout}"
    return done.stdout


def uptime(router: Router, guest: str) -> float:
    return float(router.guest(guest).run("cat /proc/uptime").stdout.split()[0])


def test_the_disk_that_the_client_reads_is_the_one_in_the_server(router: Router, disk: Path) -> None:
    assert router.guest("client").sha256("/dev/sda") == sha256(disk)


def test_what_the_client_writes_is_in_the_image(router: Router, disk: Path) -> None:
    write = "dd of=/dev/sda bs=64k seek=32 conv=fsync,notrunc 2>/dev/null"
    router.guest("client").run(f"yes routed | head -c 1048576 | {write}")
    assert disk.read_bytes()[2 * MiB : 3 * MiB] == (b"routed\n" * MiB)[:MiB]


def test_the_keyboard_is_the_clients_and_the_mouse_is_not(router: Router) -> None:
    devices = router.guest("client").run("cat /proc/bus/input/devices").stdout
    assert "QEMU USB Keyboard" in devices
    assert "QEMU USB Mouse" not in devices
    attached = [event.detail for event in router.events("attached", "client") if "1-2" in event.detail]
    assert attached[:1] == ["1-2 port 5"]


def test_the_daemons_are_confined_and_the_servers_root_is_read_only(booted: Booted) -> None:
    check_confined(booted.asking("server"), "serve")
    check_confined(booted.asking("client"), "keep-attached")
    check_root(booted.asking("server"), read_only=True)


def test_a_guest_without_grants_sees_no_device(router: Router) -> None:
    listed = router.guest("stranger").run("usbip list -r 10.77.0.2", check=False)
    assert "46f4:0001" not in listed.stdout, f"exit code {listed.code}"
    fails(router, "stranger", "modprobe vhci-hcd; usbip attach -r 10.77.0.2 -b 1-3")


def test_the_switch_carries_what_is_allowed_and_nothing_else(router: Router) -> None:
    assert "3 packets received" in router.guest("client").run("ping -c 3 -W 5 10.77.0.2").stdout
    fails(router, "server", "ping -c 2 -W 1 10.77.0.3")
    fails(router, "stranger", "ping -c 2 -W 1 10.77.0.2")
    fails(router, "stranger", "ping -c 2 -W 1 10.77.0.3")
    router.guest("server").run("(timeout 120 nc -l -p 2222 >/dev/null 2>&1 &); " + LISTENS)
    fails(router, "client", "nc -w 2 10.77.0.2 2222 </dev/null")


@pytest.mark.router_needs("counters")
def test_a_forged_source_address_does_not_pass_and_counts_for_its_sender_and_reason_alone(router: Router) -> None:
    stranger, reason = router.guest("stranger"), "source-ip"
    # Refused too, but now it knows the server's MAC address and need not ask for that with the forged address.
    fails(router, "stranger", "ping -c 1 -W 1 10.77.0.2")
    before = router.counters()
    stranger.run("ip address add 10.77.0.3/32 dev eth0")
    fails(router, "stranger", "ping -c 2 -W 1 -I 10.77.0.3 10.77.0.2")
    stranger.run("ip address del 10.77.0.3/32 dev eth0")
    after = router.counters()
    risen = {name: port.drops.get(reason, 0) - before[name].drops.get(reason, 0) for name, port in after.items()}
    assert risen.pop("stranger") > 0
    assert risen == {"server": 0, "client": 0}
    assert after["stranger"].rx_frames > before["stranger"].rx_frames
    with router.connect() as connection:
        row = (connection.switch() or {})["stranger"]
    assert row["connected"] and row["drops"][reason] == after["stranger"].drops[reason], "top reads the same"


def test_the_switch_counts_what_the_guests_have_sent(router: Router, disk: Path) -> None:
    before = router.counters()
    router.guest("client").run("dd if=/dev/sda of=/dev/null bs=1M iflag=direct 2>/dev/null")
    after = router.counters()
    assert after["server"].rx_bytes - before["server"].rx_bytes > disk.stat().st_size
    assert after["client"].tx_bytes - before["client"].tx_bytes > disk.stat().st_size
    assert after["client"].rx_frames > before["client"].rx_frames
    assert "1 packets received" in router.guest("client").run("ping -c 1 -W 5 10.77.0.2").stdout


def test_the_largest_packet_arrives_and_a_larger_one_is_refused_by_the_guest_itself(router: Router) -> None:
    assert "2 packets received" in router.guest("client").run("ping -c 2 -W 5 -s 1472 10.77.0.2").stdout
    assert "nvalid argument" in fails(router, "client", "ip link set eth0 mtu 1501")


def test_idle_guests_leave_the_host_idle(booted: Booted) -> None:
    shares: list[float] = []
    while len(shares) < 6 and min(shares, default=IDLE) >= IDLE:  # what they still do after booting takes its time
        time.sleep(5)
        before, start = processor_seconds(processes(booted.system)), time.monotonic()
        time.sleep(10)
        used = processor_seconds(processes(booted.system)) - before
        shares.append(100 * used / (time.monotonic() - start))
    assert min(shares) < IDLE, shares


def restarted(router: Router, guest: str) -> None:
    """Have a guest reset itself, and wait until it is up again."""
    since = router.next_event
    router.guest(guest).restart(BOOT)
    assert [event.detail for event in router.events("stopped", guest, since=since)] == ["reset itself"]
    assert len(router.events("userspace", guest, since=since)) == 1
    assert router.guest(guest).run("hostname", PATIENCE).stdout == f"{guest}\n"


def test_a_client_that_resets_is_started_again_and_has_its_disk_again(router: Router, disk: Path) -> None:
    before = uptime(router, "server")
    restarted(router, "client")
    router.guest("client").wait_for("ls /dev/sda")
    assert router.guest("client").sha256("/dev/sda") == sha256(disk)
    assert uptime(router, "server") > before


@pytest.mark.last
def test_while_one_guest_crashes_and_starts_the_others_talk_on(router: Router, booted: Booted) -> None:
    client = router.guest("client")
    client.run("(ping -i 0.5 10.77.0.2 >/tmp/ping 2>&1 &); until grep -q seq= /tmp/ping; do sleep 0.1; done")
    before = uptime(router, "client")
    pid = booted.system.guests["server"].child.pid
    since = router.next_event
    router.guest("stranger").run("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
    router.wait_for_event("stopped", "stranger", since=since, timeout=2 * PATIENCE)
    # Its description says on_exit: stop.
    time.sleep(3)
    assert len(router.events("stopped", "stranger", since=since)) == 1
    assert router.events("restarting", "stranger") == ()
    # Just after an answer: then no other request is on its way.
    answers = "$(grep -c seq= /tmp/ping)"
    client.run(f"n={answers}; while [ {answers} = $n ]; do usleep 10000; done; kill -INT $(pidof ping); sleep 0.5")
    said = client.run("cat /tmp/ping").stdout
    assert " 0% packet loss" in said, said
    assert uptime(router, "client") > before
    assert booted.system.guests["server"].child.pid == pid


def test_a_server_that_resets_gives_its_devices_to_the_client_again(router: Router, disk: Path) -> None:
    since = router.next_event
    restarted(router, "server")
    # The devices of before stay in the client until it notices that their server is gone: only a read tells.
    there = "sha256sum /dev/sd? && grep 'USB Keyboard' /proc/bus/input/devices"
    shown = router.guest("client").wait_for(there).stdout
    assert len(router.events("attached", "client", since=since)) >= 2
    assert shown.split()[0] == sha256(disk)
