# SPDX-License-Identifier: BSD-2-Clause
"""On seL4, a guest's kernel that throws garbage at its monitor harms nobody, and neither does one that crashes.

The attacker is tests/sel4/c/hostile.c, at EL1 without an operating system. What a process of a guest could do to the
monitor is a part of that: it reaches no register that its kernel does not.

ROUTER_HOSTILE_SECONDS (8) is how long each of two attacks lasts, ROUTER_HOSTILE_SEED what the first one begins with;
`pytest -s` shows what the other guests noticed.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

import pytest

from router.testing import Setup
from tests.sel4 import hostile_guest
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.booted import OncePerBoot
from tests.support.end_to_end import Booted, MiB, set_up
from tests.support.patience import PATIENCE, wait_until

SEED = int(os.environ.get("ROUTER_HOSTILE_SEED", "20261"))
SECONDS = int(os.environ.get("ROUTER_HOSTILE_SECONDS", "8"))
"""Of attack with each of two seeds, this one and the next, and on the alarm in each of two ways."""
STALL = 4000.0
"""Milliseconds that an answer between the other two guests may take on a loaded machine."""
LOSS = 10
"""Per cent of pings that may be lost: the attacker may talk to the server, too, and takes receive buffers there."""
SERVER = "10.77.0.2"
ATTACKER = hostile_guest.NAME

pytestmark = pytest.mark.timeout(4 * SECONDS + 900)


@dataclass
class Attack:
    """What was seen while it lasted."""

    booted: Booted
    reads: list[str] = field(default_factory=list)
    """Checksums of the routed disk, read by the client again and again."""
    quiet: list[float] = field(default_factory=list)
    """Seconds that such a read took before the attack."""
    took: list[float] = field(default_factory=list)
    """Seconds that each took during the attack."""
    ping: str = ""
    naps: list[float] = field(default_factory=list)
    """Seconds that `sleep 0.2` took in the client while the alarm was disturbed, the command's own way included."""

    def read(self) -> float:
        """Let the client read the whole disk from the server. Seconds."""
        start = time.monotonic()
        shown = self.booted.run("client", "echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/sda")
        self.reads.append(shown.split()[0])
        return time.monotonic() - start

    def said(self) -> str:
        """The attacker's console so far."""
        self.booted.system.pump()
        return (self.booted.logs / f"{ATTACKER}.console.log").read_text(errors="replace")

    def wait_said(self, text: str, seconds: float) -> None:
        """Until the attacker's console has the text."""
        end = time.monotonic() + seconds
        while text not in self.said() and time.monotonic() < end:
            self.booted.system.poll(0.2)
        assert text in self.said(), self.said()[-2000:]


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Three guests; the server has a disk that the client reads."""
    need_sdk(config="release")  # the kernel that is advised where a guest's is not trusted
    need_qemu()
    folder = tmp_path_factory.mktemp("hostile")
    text = hostile_guest.prepare(folder, seed=SEED, seconds=SECONDS, config="release")
    with hostile_guest.trapping():
        yield set_up(folder, text, 4 * MiB)


@pytest.fixture(scope="module")
def attacks() -> OncePerBoot[Attack]:
    return OncePerBoot()


@pytest.fixture
def attack(booted: Booted, attacks: OncePerBoot[Attack]) -> Attack:
    """After the attack with both seeds: the client has read a disk of the server's all along."""
    return attacks.get(booted, under_attack)


def under_attack(booted: Booted) -> Attack:
    """Let the attacker begin, and watch what the other guests notice until it crashes for the first time."""
    seen = Attack(booted)
    background = f"(ping -i 0.2 -W 5 {SERVER} >/tmp/ping 2>&1 </dev/null &)"
    booted.run("client", f"{background}; until grep -q seq= /tmp/ping; do sleep 0.1; done")
    seen.quiet = [seen.read() for _ in range(5)]
    booted.system.give_keyboard(ATTACKER)
    booted.system.guests[ATTACKER].console.send(b"\n")
    seen.wait_said("hostile: stops the alarm", 30)
    end = time.monotonic() + 2 * SECONDS + 300
    while "hostile: leaves the alarm alone" not in seen.said() and time.monotonic() < end:
        start = time.monotonic()
        booted.run("client", "sleep 0.2", 2 * SECONDS + 60)
        seen.naps.append(time.monotonic() - start)
    end += 2 * SECONDS
    while "hostile: crashes now" not in seen.said() and time.monotonic() < end:
        seen.took.append(seen.read())
    booted.run("client", "kill -INT $(pidof ping); sleep 0.5")
    seen.ping = booted.run("client", "cat /tmp/ping")
    print(f"\nnaps of 0.2 s: {len(seen.naps)}, the longest {max(seen.naps):.1f} s")
    for when, took in (("before", seen.quiet), ("during", seen.took)):
        print(f"{len(took)} reads of 4 MiB {when} the attack: median {median(took):.2f} s, slowest {max(took):.2f} s")
    print(f"{seen.ping[-150:]}\n{seen.said()}")
    return seen


def test_the_other_guests_traffic_goes_on_unharmed(attack: Attack) -> None:
    assert attack.took
    assert set(attack.reads) == {hashlib.sha256(attack.booted.disk.read_bytes()).hexdigest()}
    lost = re.search(r"(\d+)% packet loss", attack.ping)
    assert lost is not None
    assert int(lost[1]) <= LOSS, attack.ping[-500:]
    slowest = float(attack.ping.split(" = ")[1].split("/")[2].split()[0])
    assert slowest < STALL, attack.ping[-500:]


def test_nobody_elses_timers_stop(attack: Attack) -> None:
    assert max(attack.naps) < SECONDS / 2, attack.naps
    assert len(attack.naps) > 4, attack.naps


def test_the_attacker_is_refused_and_can_talk_afterwards(attack: Attack) -> None:
    said = attack.said()
    for seed in (SEED, SEED + 1):
        found = re.search(rf"hostile: seed {seed} rounds (\d+) aborts (\d+) undefined (\d+)", said)
        assert found is not None, said[-2000:]
        rounds, aborts, _ = map(int, found.groups())
        assert rounds > 20
        assert aborts > 20
    assert said.count("hostile: talks again") == 2


def test_its_calls_to_the_kernel_forge_no_line(attack: Attack) -> None:
    assert "kernel calls" in attack.said()
    assert b"said by another" not in (attack.booted.logs / "serial.log").read_bytes()


def test_no_forged_offload_metadata_passes_the_switch(attack: Attack) -> None:
    """An allowed SYN whose checksum was to be written over its port, flags or address, or that was to be segmented."""
    found = re.search(r"hostile: forged offloads (\d+) answered (\d+) honest (\d+)", attack.said())
    assert found is not None, attack.said()[-2000:]
    assert [int(number) for number in found.groups()] == [10, 0, 1]


def test_the_monitor_counts_and_reports_what_no_driver_does(attack: Attack) -> None:
    reports = re.findall(
        rf"vmm {ATTACKER}: (\d+) bad register accesses, (\d+) broken queues, (\d+) bad frames,"
        r" (\d+) accesses to nothing, (\d+) unknown traps so far",
        attack.said(),
    )
    assert all(int(count) > 0 for count in reports[-1][:4]), reports
    assert 2 <= len(reports) < 40  # each tells of twice as much as the one before
    quiet = (attack.booted.logs / "client.console.log").read_text(errors="replace")
    assert "bad register accesses" not in quiet


def test_a_guest_that_crashes_at_once_waits_longer_each_time(attack: Attack) -> None:
    attack.wait_said("hostile: lives on", 3 * PATIENCE)
    timeline = attack.booted.system.timeline
    assert [event.detail for event in timeline.seen(ATTACKER, "stopped")] == ["crashed", "crashed", "reset itself"]
    # The first life may have been long, so that nothing was waited for after it.
    announced = [int(event.detail) for event in timeline.seen(ATTACKER, "delayed")]
    assert announced in ([1, 2, 4], [1, 2])
    began = [int(ms) for ms in re.findall(r"hostile: life \d at (\d+) ms", attack.said())]
    waited = [later - earlier for earlier, later in itertools.pairwise(began[1:])]
    assert len(began) == 4
    assert all(real >= 1000 * delay for real, delay in zip(waited, announced[-2:], strict=True)), (began, announced)
    assert "hostile: lives on and talks" in attack.said()


def test_an_access_to_nothing_ends_the_process_and_not_the_guest(attack: Attack) -> None:
    shown = attack.booted.run("client", "busybox devmem 0x0ff00000; echo it ended with $?")
    assert f"it ended with {128 + signal.SIGBUS}" in shown
    attack.booted.run("client", "sha256sum /dev/sda >/dev/null")


def test_a_guest_that_never_reads_cannot_keep_the_keyboard(attack: Attack) -> None:
    attack.booted.system.give_keyboard(ATTACKER)
    attack.booted.system.guests[ATTACKER].console.send(b"this is never read " * 200)
    assert attack.booted.run("client", "echo and yet", 60) == "and yet\n"
    assert wait_until(
        lambda: f"{ATTACKER}< full" in (attack.booted.logs / "serial.log").read_text(errors="replace"), 20
    )
    assert attack.booted.run("client", "echo once more", 60) == "once more\n"


def functions(attack: Attack) -> list[int]:
    """The command registers of the functions that are on the PCI bus, read from outside the system."""
    monitor = attack.booted.system.guests["server"].qmp
    found = []
    for device in range(4):
        shown = monitor.execute("human-monitor-command", command_line=f"xp /2wx {0x3F000000 + (device << 15):#x}")
        identity, command = (int(word, 16) for word in shown.split(":")[1].split())
        if identity != 0xFFFFFFFF:
            found.append(command & 0xFFFF)
    return found


def test_the_devices_of_a_guest_that_has_ended_do_not_write_into_its_memory(attack: Attack) -> None:
    system = attack.booted.system
    masters = 1 << 2
    assert any(command & masters for command in functions(attack))
    attack.booted.run("server", "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 </dev/null &")
    end = time.monotonic() + 2 * PATIENCE
    while not system.timeline.seen("server", "stopped") and time.monotonic() < end:
        system.poll(0.05)
    # It takes Linux more than a second to come to its devices again.
    assert not any(command & masters for command in functions(attack))
    attack.booted.wait("client", "sha256sum /dev/sd?", 120)
    assert any(command & masters for command in functions(attack))
