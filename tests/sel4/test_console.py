# SPDX-License-Identifier: BSD-2-Clause
"""On seL4 with a release kernel, a guest that floods its console and its control channel slows no other's down.

A device listing is compared with what it takes while all other guests are idle, and beside one that computes.

`pytest -s` shows the times.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from router.control.system import state
from router.testing import Setup
from router.usb.view import Guests, snapshot
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.booted import OncePerBoot
from tests.support.end_to_end import BOOT, Booted, MiB, set_up

LONG = "a-guest-whose-name-is-as-long-as"
TEXT = f"""
system: flooded
board: qemu
microkit: {{config: release}}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: 256 MiB}}
  {LONG}: {{image: usb-client, memory: 256 MiB}}
usb:
  - {{class: mass-storage, to: client}}
"""
LINES = "while true; do echo 'server| router: guest server: listening'; echo 'server.control| 1 x 0'; done"
FLOODS = {
    "lines": f"({LINES}) >/dev/hvc0",
    "no line ends": "cat /dev/zero | tr '\\0' x >/dev/hvc0",
    "control channel": f"({LINES}) >/dev/hvc1",
    "both": f"({LINES}) >/dev/hvc0 & ({LINES}) >/dev/hvc1",
}
MAX_RATIO = 1.5
PAIRS = 3
LISTINGS = 15
SOON = 1.0
"""Seconds in which `true` is answered."""
pytestmark = pytest.mark.timeout(2 * BOOT + 300)


@dataclass
class Times:
    """Seconds that several `true` took in a guest, and several device listings."""

    command: list[float]
    listing: list[float]

    def __str__(self) -> str:
        pairs = (("true", self.command), ("usb list", self.listing))
        return ", ".join(f"{what} {statistics.median(took):.2f} s (slowest {max(took):.2f} s)" for what, took in pairs)


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Seconds of each."""
    took = []
    for _ in range(count):
        start = time.monotonic()
        work()
        took.append(time.monotonic() - start)
    return took


class Direct:
    """The running system, as a connection to it."""

    def __init__(self, booted: Booted) -> None:
        self._booted = booted

    def execute(
        self, guest: str, command: str, timeout: float = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> tuple[int, bytes]:
        return self._booted.system.execute(guest, command, timeout, on_output)

    def state(self) -> dict[str, Any]:
        return state(self._booted.system, "microkit", os.getpid())


def times(booted: Booted) -> Times:

    def connect() -> contextlib.AbstractContextManager[Guests]:
        return contextlib.nullcontext(Direct(booted))

    seen: list[Any] = []
    listing = timed(lambda: seen.append(snapshot(connect, ("server", "client"))), LISTINGS)
    assert [(each.troubles, len(each.devices)) for each in seen] == [({}, 1)] * len(seen)
    return Times(timed(lambda: booted.run("client", "true"), 8), listing)


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Three guests; the one that floods has the longest name that a guest may have."""
    need_sdk(config="release")
    need_qemu()
    assert len(LONG) == 32
    return set_up(tmp_path_factory.mktemp("flooded"), TEXT, MiB)


def beside_one_that_computes(booted: Booted) -> Times:
    """What it takes beside a guest that only computes."""
    busy = booted.run(LONG, "(while true; do :; done) >/dev/null 2>&1 </dev/null & echo $!").split()[-1]
    found = times(booted)
    booted.run(LONG, f"kill -9 {busy}")
    print(f"\nbeside one that computes: {found}")
    return found


def beside_a_flood(booted: Booted, kind: str) -> Times:
    """What it takes beside that flood, which forges no line of another guest's."""
    before = len(booted.system.timeline.events)
    leader = booted.run(LONG, f'setsid sh -c "{FLOODS[kind]}" </dev/null >/dev/null 2>&1 & echo $!').split()[-1]
    time.sleep(2)
    size = (booted.logs / "serial.log").stat().st_size
    start = time.monotonic()
    found = times(booted)
    rate = ((booted.logs / "serial.log").stat().st_size - size) / (time.monotonic() - start)
    print(f"\nbeside the flood '{kind}': {found}; {rate / 1024:.0f} KiB/s on the line")
    code, _ = booted.system.execute(LONG, f"kill -9 -{leader}", 60)
    assert code == 0
    assert [event.guest for event in booted.system.timeline.events[before:] if event.guest != LONG] == []
    return found


@dataclass
class Usual:
    """What the floods are compared with: the others idle, and one that computes."""

    idle: Times
    computing: Times

    def __str__(self) -> str:
        return f"idle: {self.idle}; beside one that computes: {self.computing}"


def measure_usual(booted: Booted) -> Usual:
    time.sleep(2)  # whatever ran before has been paid for
    idle = times(booted)
    print(f"\nquiet: {idle}")
    return Usual(idle, beside_one_that_computes(booted))


@pytest.fixture(scope="module")
def first() -> OncePerBoot[Usual]:
    """The first measurement of a boot."""
    return OncePerBoot()


@pytest.fixture
def usual(booted: Booted, first: OncePerBoot[Usual]) -> Usual:
    """What the floods are compared with at first."""
    return first.get(booted, measure_usual)


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_one_guest_delays_no_answer_of_another(booted: Booted, usual: Usual, kind: str) -> None:
    """The guests share one core: the one that floods has its share of it, as one that computes has.

    Other load on this computer comes and goes: where a pair is over the limit, all is measured again, in turn.
    """
    pairs = [(usual, beside_a_flood(booted, kind))]
    while not any(is_fair(*pair) for pair in pairs) and len(pairs) < PAIRS:
        pairs.append((measure_usual(booted), beside_a_flood(booted, kind)))
    assert any(is_fair(*pair) for pair in pairs), [f"{fair}; flood: {flood}" for fair, flood in pairs]


def is_fair(usual: Usual, flood: Times) -> bool:
    """Whether every command is answered soon, and a listing takes at most half as long again as it usually does."""
    usually = min(statistics.median(each.listing) for each in (usual.idle, usual.computing))
    return max(flood.command) < SOON and statistics.median(flood.listing) < MAX_RATIO * usually
