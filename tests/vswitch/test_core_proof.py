# SPDX-License-Identifier: BSD-2-Clause
"""The switch's core against its promises: CBMC for all frames, and the same harness on random values."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.cbmc import ARRAYS, Proof, check_found, check_proved
from tests.vswitch.cc import CORE, CORE_UNITS, PROGRAMS, SANITIZE, compile_c


def test_the_model_checkers_harness_holds_for_random_values(tmp_path: Path) -> None:
    """What CBMC proves for all values, tried with many: it also shows that the harness reaches the core."""
    program = compile_c(tmp_path / "check", [PROGRAMS / "check_decide.c", *CORE_UNITS], *SANITIZE)
    run = subprocess.run([program, "1000000", "12345"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 1000


# How often each loop runs at most: over the ports and rules of the harness, the bytes of a frame, the reasons.
UNWIND = "sum_of_drops.0:40,harness.0:7,harness.1:4,harness.2:4,harness.3:72,judge_arp.0:7," + ",".join(
    f"copy_head.{loop}:72" for loop in range(3)
)
PROOF = Proof(
    "harness",
    (PROGRAMS / "check_decide.c", *CORE_UNITS),
    (CORE, PROGRAMS),
    (ARRAYS, "-DVSWITCH_MAX_PORTS=3", "--unwind", "5", "--unwindset", UNWIND),
)


@pytest.mark.timeout(1300)
def test_cbmc_proves_the_core_free_of_bad_accesses_and_true_to_its_promises() -> None:
    """It takes three quarters of a minute on a quiet computer."""
    check_proved(PROOF, 1200)


@pytest.mark.timeout(1300)
def test_cbmc_finds_a_planted_bug_in_the_core(tmp_path: Path) -> None:
    right, wrong = "if (!(peers & bit(judged->out)))", "if (!(bit(judged->out)))"
    bug = PROOF.with_bug(tmp_path, CORE / "vswitch.c", right, wrong)
    check_found(bug, "a promise of invariants.h", 1200)
