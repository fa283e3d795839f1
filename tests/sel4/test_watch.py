# SPDX-License-Identifier: BSD-2-Clause
"""A protection domain that ends or hangs is noticed on a release kernel, where neither the kernel nor Microkit's
monitor prints anything.

The bug is planted: one domain's program is compiled with another `notified`, which goes wrong some seconds after the
machine has started.
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
"""Seconds after the machine's start."""
LIMIT = 12.0
"""Seconds after that, within which the console multiplexer says so (drivers/watch.h)."""
HOST_LIMIT = 25.0
"""The same for the multiplexer itself, which only this side can miss (router.console.serial_line)."""
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
    if (timer_now() > %.0fULL * timer_frequency()) {
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
        main = next(source for source in program.sources if re.search(r"(^|/)(main|console)\.c$", source))
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


def ready() -> None:
    need_sdk(config="release")
    need_qemu()


def test_a_vmm_that_faults_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready()
    plant(monkeypatch, tmp_path, "vmm_two", FAULT)
    error, took, timeline = run_until_it_is_noticed(tmp_path)
    assert "protection domain 'vmm_two' does not answer" in error.message
    assert GOES_WRONG < took < GOES_WRONG + LIMIT + PATIENCE
    for guest in ("one", "two"):
        assert [event.name for event in timeline.events if event.guest == guest][:2] == ["loading", "started"]
    assert b"vmm_one" not in (tmp_path / "logs" / "serial.log").read_bytes()


def test_a_switch_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VMMs have a lower priority and do not answer either, but the switch is named first."""
    ready()
    plant(monkeypatch, tmp_path, "vswitch", HANG)
    error, took, _ = run_until_it_is_noticed(tmp_path)
    assert "protection domain 'vswitch' does not answer" in error.message
    assert GOES_WRONG < took < GOES_WRONG + LIMIT + PATIENCE


def test_a_console_multiplexer_that_faults_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready()
    plant(monkeypatch, tmp_path, "console", FAULT)
    error, took, _ = run_until_it_is_noticed(tmp_path)
    assert "the console multiplexer does not answer any more" in error.message
    assert GOES_WRONG < took < GOES_WRONG + HOST_LIMIT + PATIENCE
