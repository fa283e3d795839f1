# SPDX-License-Identifier: BSD-2-Clause
"""On seL4, a guest's kernel that lies to its vsock device and to the switch harms no other guest's connections.

The attacker is tests/sel4/c/hostile_vsock.c. Its neighbour, tests/sel4/c/witness.c, takes the connections that the
rules let the attacker make, and judges each packet that is delivered. The server and the client are Linux, with
listeners at ports that no rule allows.

ROUTER_HOSTILE_SECONDS (2) is how long the attack by chance lasts, ROUTER_HOSTILE_SEED what it begins with. QEMU counts
instructions instead of reading a clock, as in test_fairness.py: a client that is held up for 10 s loses its devices
(docs/reference/usbip.md), and what a busy computer does to the guests is not the attacker's doing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from bench.counters import VIRTUAL
from router.testing import Setup
from tests.sel4 import hostile_guest
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.booted import OncePerBoot
from tests.support.end_to_end import Booted, MiB, set_up

SEED = int(os.environ.get("ROUTER_HOSTILE_SEED", "20261"))
SECONDS = int(os.environ.get("ROUTER_HOSTILE_SECONDS", "2"))
ATTACKER = hostile_guest.NAME
LISTEN = """
import select, socket, sys
socks = []
for port in map(int, sys.argv[1:]):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.bind((socket.VMADDR_CID_ANY, port))
    sock.listen(64)
    socks.append(sock)
print("ready", flush=True)
while True:
    for sock in select.select(socks, [], [])[0]:
        taken, peer = sock.accept()
        print(f"{peer} at {sock.getsockname()[1]}", flush=True)
        taken.close()
"""
FORBIDDEN = {"server": "22 5000", "client": "3240 5000 22"}
"""Ports of Linux guests at which something listens, and that the attacker asks for."""

pytestmark = pytest.mark.timeout(40 * SECONDS + 1200)


@dataclass
class Attack:
    """What was seen while it lasted."""

    booted: Booted
    reads: list[str] = field(default_factory=list)
    """Checksums of the routed disk, read by the client again and again."""

    def said(self, guest: str = ATTACKER) -> str:
        """A guest's console so far."""
        self.booted.system.pump()
        return (self.booted.logs / f"{guest}.console.log").read_text(errors="replace")

    def found(self, pattern: str, guest: str = ATTACKER) -> list[int]:
        """The numbers of the one line of a guest's console."""
        found = re.search(pattern, self.said(guest))
        assert found is not None, self.said(guest)[-2000:]
        return [int(number) for number in found.groups()]


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Four guests with vsock devices; the server has a disk that the client reads."""
    need_sdk(config="release")
    need_qemu()
    folder = tmp_path_factory.mktemp("hostile-vsock")
    text = hostile_guest.prepare(
        folder,
        seed=SEED,
        seconds=SECONDS,
        config="release",
        system=hostile_guest.VSOCK,
        source=hostile_guest.VSOCK_SOURCE,
    )
    with hostile_guest.trapping():
        yield set_up(folder, text, 4 * MiB, qemu=VIRTUAL)


@pytest.fixture(scope="module")
def attacks() -> OncePerBoot[Attack]:
    return OncePerBoot()


@pytest.fixture
def attack(booted: Booted, attacks: OncePerBoot[Attack]) -> Attack:
    """After the attack: the client has read a disk of the server's all along."""
    return attacks.get(booted, under_attack)


def under_attack(booted: Booted) -> Attack:
    """Let the attacker begin, and read the disk until it says that it has ended."""
    seen = Attack(booted)
    for guest, ports in FORBIDDEN.items():
        command = f"python3 -I -S -c {shlex.quote(LISTEN)} {ports} >/tmp/accepted 2>&1 </dev/null &"
        booted.run(guest, f"({command}); until grep -q ready /tmp/accepted; do sleep 0.1; done")
    booted.system.give_keyboard(ATTACKER)
    booted.system.guests[ATTACKER].console.send(b"\n")
    end = time.monotonic() + 30 * SECONDS + 400
    while "hostile: has ended" not in seen.said() and time.monotonic() < end:
        shown = booted.run("client", "echo 3 >/proc/sys/vm/drop_caches; sha256sum /dev/sda", 2 * SECONDS + 300)
        seen.reads.append(shown.split()[0])
    assert "hostile: has ended" in seen.said(), seen.said()[-2000:]
    while "witness: packets" not in seen.said("witness") and time.monotonic() < end:
        booted.system.poll(0.2)
    print(f"\n{len(seen.reads)} reads of 4 MiB\n{seen.said()}\n{seen.said('witness')}")
    return seen


def test_the_connection_of_the_other_guests_stays_and_carries_what_was_sent(attack: Attack) -> None:
    assert attack.reads
    assert set(attack.reads) == {hashlib.sha256(attack.booted.disk.read_bytes()).hexdigest()}
    timeline = attack.booted.system.timeline
    assert len(timeline.seen("client", "attached")) == 1
    assert not timeline.seen("client", "detached")
    assert not [guest for guest in ("server", "client", "witness") if timeline.seen(guest, "stopped")]


def test_what_no_rule_allows_is_refused_and_reaches_no_listener(attack: Attack) -> None:
    assert attack.found(r"hostile: asked (\d+) refused (\d+) opened (\d+)") == [14, 14, 0]
    for guest in FORBIDDEN:
        assert attack.booted.run(guest, "cat /tmp/accepted") == "ready\n"


def test_each_lie_on_a_connection_ends_it(attack: Attack) -> None:
    assert attack.found(r"hostile: lies (\d+) caught (\d+)") == [17, 17]


def test_each_queue_that_breaks_a_rule_stops_until_the_device_is_reset(attack: Attack) -> None:
    assert attack.found(r"hostile: broken queues (\d+) noticed (\d+) short packets taken (\d+)") == [22, 22, 2]


def test_every_packet_that_is_delivered_obeys_the_rules_and_the_receivers_credit(attack: Attack) -> None:
    said = attack.said("witness")
    packets, requests, data, size, resets, bad = attack.found(
        r"witness: packets (\d+) requests (\d+) data (\d+) bytes (\d+) resets (\d+) bad (\d+)", "witness"
    )
    assert bad == 0, said[-2000:]
    assert "bad: " not in said
    # What is judged must be there: of each lie's connection the request, 32 bytes and the reset; and more by chance.
    assert min(requests, data, resets) > 20
    assert size > 20 * 32
    assert packets > requests + data + resets


def test_a_guest_that_takes_nothing_hears_that_its_connections_are_gone(attack: Attack) -> None:
    assert attack.found(r"hostile: transport resets (\d+)") == [1]


def test_the_attacker_gets_nothing_from_where_no_rule_leads_and_can_talk_afterwards(attack: Attack) -> None:
    rounds, _, opened, ended, _, foreign = attack.found(
        r"hostile: rounds (\d+) aborts (\d+) opened (\d+) ended (\d+) stalls (\d+) foreign (\d+)"
    )
    assert rounds >= 7  # each way once
    assert opened > 20  # not only those before the attack by chance
    assert ended > 40
    assert foreign == 0
    assert "hostile: reaches the server" in attack.said()


def test_the_vmm_counts_and_reports_the_broken_queues(attack: Attack) -> None:
    reports = re.findall(
        rf"vmm {ATTACKER}: (\d+) bad register accesses, (\d+) broken queues, (\d+) bad frames", attack.said()
    )
    assert all(int(count) > 0 for count in reports[-1]), reports
    assert "bad register accesses" not in attack.said("client") + attack.said("server") + attack.said("witness")
