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
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.session import microkit_run
from router.microkit import compile as compiling
from router.microkit.programs import ROOT, Program, programs
from router.pipeline.build import Built
from router.plan.models import SystemPlan
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, build_text, own_place
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
system: watched-%s
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


CASES = {
    "a VMM that faults": ("vmm_two", FAULT, "protection domain 'vmm_two' does not answer", LIMIT),
    # VMMs have a lower priority and do not answer either, but the switch is named first.
    "a switch that hangs": ("vswitch", HANG, "protection domain 'vswitch' does not answer", LIMIT),
    # All others call it, and never return.
    "a timer that faults": ("timer", FAULT, "protection domain 'timer' does not answer", ASKED_LIMIT),
    "a multiplexer that faults": ("console", FAULT, "the console multiplexer does not answer any more", HOST_LIMIT),
}
"""The domain, its bug, what is to be said, and within how many seconds."""
AT_ONCE = 2
"""Systems that run at the same time: each has one emulated core, and mostly waits."""


@dataclass(frozen=True)
class Noticed:
    """error: what ended the run. took: seconds from its start. timeline: what was seen before. logs: its folder."""

    error: MachineError
    took: float
    timeline: Timeline
    logs: Path


def run_until_it_is_noticed(built: Built, folder: Path) -> Noticed:
    """Boot and wait until an error ends the run."""
    timeline = Timeline()
    start = time.monotonic()
    with pytest.raises(MachineError) as noticed, microkit_run(built, (), folder / "logs", timeline) as system:
        end = start + BOOT
        while time.monotonic() < end:
            system.poll(0.2)
    return Noticed(noticed.value, time.monotonic() - start, timeline, folder / "logs")


def build_with(domain: str, bug: str, folders: pytest.TempPathFactory) -> tuple[Built, Path]:
    """The system with that bug in that domain, and the folder of its run."""
    folder = folders.mktemp(domain)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, folder, domain, bug)
        return build_text(TEXT % domain.replace("_", "-"), folder, loader_image=True), folder


@pytest.fixture(scope="module")
def noticed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Noticed]]]:
    """By case: its run. All are built first, and two run at a time."""
    need_sdk(config="release")
    need_qemu()
    built = {case: build_with(domain, bug, tmp_path_factory) for case, (domain, bug, _, _) in CASES.items()}
    with own_place(), ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(run_until_it_is_noticed, *each) for case, each in built.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_domain_that_goes_wrong_is_named(noticed: dict[str, Future[Noticed]], case: str) -> None:
    domain, _, said, limit = CASES[case]
    found = noticed[case].result()
    print(f"{found.error} after {found.took:.1f} s, {found.took - GOES_WRONG:.1f} s after it went wrong")
    assert said in found.error.message
    assert GOES_WRONG < found.took < GOES_WRONG + limit + PATIENCE
    for guest in ("one", "two"):
        assert [event.name for event in found.timeline.events if event.guest == guest][:2] == ["loading", "started"]
    named = re.findall(rb"protection domain '(\w+)'", (found.logs / "serial.log").read_bytes())
    assert named[:1] == ([] if domain == "console" else [domain.encode()])
    assert domain != "vmm_two" or set(named) == {b"vmm_two"}


@pytest.mark.long
def test_a_timer_that_hangs_is_noticed_and_the_error_says_what_kind_of_domain_it_may_be(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """It keeps the multiplexer from running, so that this side misses that one and cannot say which it was."""
    need_sdk(config="release")
    need_qemu()
    built, folder = build_with("timer", HANG, tmp_path_factory)
    with own_place():
        found = run_until_it_is_noticed(built, folder)
    assert "a domain of higher priority runs in a loop" in found.error.message
    assert GOES_WRONG < found.took < GOES_WRONG + HOST_LIMIT + PATIENCE
