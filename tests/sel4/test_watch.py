# SPDX-License-Identifier: BSD-2-Clause
"""A protection domain that ends or hangs is noticed on a release kernel, where neither the kernel nor Microkit's
monitor prints anything.

The bug is planted: one domain's program is compiled with another `notified`, which goes wrong some seconds after its
first call.
"""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.session import microkit_run
from router.microkit import compile as compiling
from router.microkit.programs import ROOT, Program, programs
from router.plan.models import SystemPlan
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, build_text
from tests.support.patience import PATIENCE

GOES_WRONG = 15.0
"""Seconds after the domain's first notification, which comes early."""
LIMIT = 12.0
"""Seconds after that, within which the console multiplexer says so (drivers/watch.h)."""
ASKED_LIMIT = 20.0
"""The same for the timer: without it only this side's questions wake the multiplexer (router.console.silence)."""
HOST_LIMIT = 25.0
"""The same for the multiplexer itself, which only this side can miss."""
TEXT = """
system: watched
board: qemu
microkit: {config: release}
guests:
  one: {image: usb-client, memory: 128 MiB}
  two: {image: usb-client, memory: 128 MiB}
"""
PLANTED = """
#define notified planted_notified
#include "%s"
#undef notified
#include "timer.h"

void notified(microkit_channel channel)
{
    static uint64_t first;
    first = first == 0 ? timer_now() : first;
    if (timer_now() > first + %.0fULL * timer_frequency()) {
        %s
    }
    planted_notified(channel);
}
"""
FAULT = "__builtin_trap();"
HANG = "for (;;) {\n        }"

pytestmark = pytest.mark.timeout(900)


def plant(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, bug: str) -> None:
    """Have the program of that domain compiled with the bug."""

    def planted(plan: SystemPlan) -> tuple[Program, ...]:
        return tuple(with_bug(each) if each.name == name else each for each in programs(plan))

    def with_bug(program: Program) -> Program:
        main = next(source for source in program.sources if re.search(r"(^|/)(main|console|timer_pd)\.c$", source))
        wrapped = folder / f"planted_{name}.c"
        wrapped.write_text(PLANTED % (ROOT / main, GOES_WRONG, bug))
        sources = tuple(str(wrapped) if source == main else source for source in program.sources)
        return dataclasses.replace(program, sources=sources)

    monkeypatch.setattr(compiling, "programs", planted)


def run_until_it_is_noticed(folder: Path) -> tuple[MachineError, float, Timeline]:
    """Boot and wait: the error, the seconds from the start until it came, what was seen before."""
    built = build_text(TEXT, folder, loader_image=True)
    timeline = Timeline()
    start = time.monotonic()
    with pytest.raises(MachineError) as noticed, microkit_run(built, (), folder / "logs", timeline) as system:
        end = start + BOOT
        while time.monotonic() < end:
            system.poll(0.2)
    took = time.monotonic() - start
    print(f"{noticed.value} after {took:.1f} s, {took - GOES_WRONG:.1f} s after it went wrong")
    return noticed.value, took, timeline


@pytest.mark.parametrize(
    ("domain", "bug", "said", "limit"),
    [
        ("vmm_two", FAULT, "protection domain 'vmm_two' does not answer", LIMIT),
        # VMMs have a lower priority and do not answer either, but the switch is named first.
        ("vswitch", HANG, "protection domain 'vswitch' does not answer", LIMIT),
        # All others call it, and never return.
        ("timer", FAULT, "protection domain 'timer' does not answer", ASKED_LIMIT),
        ("console", FAULT, "the console multiplexer does not answer any more", HOST_LIMIT),
        # It keeps the multiplexer from running, so that this side misses that one and cannot say which it was.
        pytest.param("timer", HANG, "a domain of higher priority runs in a loop", HOST_LIMIT, marks=pytest.mark.long),
    ],
    ids=[
        "a VMM that faults",
        "a switch that hangs",
        "a timer that faults",
        "a multiplexer that faults",
        "a timer that hangs",
    ],
)
def test_a_domain_that_goes_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str, bug: str, said: str, limit: float
) -> None:
    need_sdk(config="release")
    need_qemu()
    plant(monkeypatch, tmp_path, domain, bug)
    error, took, timeline = run_until_it_is_noticed(tmp_path)
    assert said in error.message
    assert GOES_WRONG < took < GOES_WRONG + limit + PATIENCE
    for guest in ("one", "two"):
        assert [event.name for event in timeline.events if event.guest == guest][:2] == ["loading", "started"]
    named = re.findall(rb"protection domain '(\w+)'", (tmp_path / "logs" / "serial.log").read_bytes())
    assert named[:1] == ([] if limit == HOST_LIMIT else [domain.encode()])
    assert domain != "vmm_two" or set(named) == {b"vmm_two"}
