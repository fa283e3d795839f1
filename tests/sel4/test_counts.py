# SPDX-License-Identifier: BSD-2-Clause
"""What a round trip, a MiB, an idle second and a start cost on seL4, in counts: each has a budget.

A budget is half as much again as what was counted when it was set, which leaves room for what varies from run to run.
`pytest -s` shows all counts with their change since then, and a failure shows those above their budget. Lower a budget
when a change lowers its count.

Traps and TLB flushes of a MiB have no budget: a guest that waits for this computer's disk sleeps and wakes meanwhile,
and two runs differed by 70 % and more. What has one differed by 25 % at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import counts
from bench.counts import BOOT, ECHO, IDLE, MEASURES, READ, TCP, WRITE, Counting
from tests.sel4.needs import need_qemu, need_sdk

pytestmark = pytest.mark.timeout(1200)


@dataclass(frozen=True)
class Budget:
    """counted: when the budget was set. why: what the count is made of."""

    phase: str
    measure: str
    counted: float
    why: str

    @property
    def limit(self) -> float:
        """The most that may be counted."""
        return 1.5 * self.counted

    def report(self, found: float) -> str:
        """One line: counted now, then, and the change."""
        change = 100 * (found / self.counted - 1)
        return (
            f"{self.phase}: {self.measure} {found:.1f}, budget {self.limit:.1f};"
            f" was {self.counted:.1f} ({change:+.0f} %): {self.why}"
        )


BUDGETS = (
    Budget(BOOT, "traps of the early console", 9300, "both guests: three for a character, until hvc0 is there"),
    Budget(BOOT, "bytes copied", 76_800, "KiB: the images of both guests, once"),
    Budget(BOOT, "ticks of 16 ns in traps", 4_200_000, "less than 1 % of all instructions until the disk is there"),
    Budget(IDLE, "traps", 65, "20 wake-ups of Linux's own timers in both guests, three traps each"),
    Budget(IDLE, "calls to the timer", 21.4, "one for each sleep of a guest, and the console's watch"),
    Budget(IDLE, "TLB flushes", 1121, "the above, and 100 ticks of the ticker"),
    Budget(ECHO, "frames", 1.96, "there and back: acknowledgements travel with data"),
    Budget(ECHO, "traps", 7.23, "a doorbell, a WFI and an interrupt's end on each side"),
    Budget(ECHO, "notifications", 4.29, "VMM to switch to VMM, twice"),
    Budget(TCP, "bytes copied", 2166, "KiB: into the pool and out of it, once each"),
    Budget(TCP, "frames", 29, "up to 64 KiB each, and their acknowledgements"),
    Budget(READ, "bytes copied", 2052, "KiB: as TCP"),
    Budget(READ, "frames", 29, "as TCP: a command of 1 MiB, its data and its status"),
    Budget(WRITE, "bytes copied", 2056, "KiB: as TCP"),
)
DAEMON_CALLS = 1.0
"""The most reads and writes of the daemon for a MiB: the kernel moves the data, the daemon sees none of it."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counting:
    need_sdk(config="release")
    need_qemu()
    folder: Path = tmp_path_factory.mktemp("counts")
    return counts.counted(folder, "release", lambda _: None)


def test_each_count_keeps_within_its_budget(counted: Counting) -> None:
    measures = {measure.name: measure for measure in MEASURES}
    found = {each: measures[each.measure].of(counted.phases[each.phase]) for each in BUDGETS}
    lines = [each.report(value) for each, value in found.items()]
    print("\n" + "\n".join(lines))
    over = [line for line, (each, value) in zip(lines, found.items(), strict=True) if value > each.limit]
    assert not over, "\n".join(over)
    # A count that has become nearly nothing is not counted any more.
    gone = [line for line, (each, value) in zip(lines, found.items(), strict=True) if value < each.counted / 10]
    assert not gone, "\n".join(gone)


def test_the_daemon_moves_no_data(counted: Counting) -> None:
    calls = {phase: counted.daemon[phase] for phase in (TCP, READ)}
    assert all(value < DAEMON_CALLS for value in calls.values()), calls


def test_no_guest_is_refused_anything(counted: Counting) -> None:
    for domain, each in counted.phases[BOOT].items():
        refused = {name: each[name] for name in ("TRAP_NOTHING", "TRAP_OTHER") if each.get(name)}
        assert not refused, (domain, refused)
