# SPDX-License-Identifier: BSD-2-Clause
"""A board's first steps on this computer (tests/vmm/c/bringup_alone.c): what they say of a timer, and of none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from router.deploy.stages import DRIVEN, HEARD, TICKS
from tests.vmm.cc import ROOT, SANITIZE, compile_cores, link_program

STUB = ROOT / "tests/microkit/sdk_stub"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bringup")
    objects = compile_cores(folder, *SANITIZE)
    return link_program(folder / "bringup", "bringup_alone.c", objects, *SANITIZE, "-isystem", str(STUB))


def said(program: Path, frequency: int, notifications: int) -> str:
    run = subprocess.run(
        [program, str(frequency), str(notifications)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_ten_ticks_are_a_second(program: Path) -> None:
    text = said(program, 8_000_000, 11)
    assert re.search(DRIVEN, text) and re.search(HEARD, text) and re.search(TICKS, text)
    assert "no frequency" not in text


def test_a_counter_without_a_frequency_is_said_and_no_tick_asked_for(program: Path) -> None:
    """The firmware has left CNTFRQ_EL0 at zero: each tick would be due at once, and its time a division by zero."""
    text = said(program, 0, 30)
    assert re.search(DRIVEN, text)
    assert text.count("bring-up: the counter has no frequency") == 1
    assert "calls of the timer: 0" in text and "ticks in" not in text
