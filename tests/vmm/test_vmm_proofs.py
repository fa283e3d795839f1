"""The CBMC proofs of tests/vmm/c/prove.c and prove_offload.c. Skipped where the model checker is not installed.

Each proof has one assertion, REACHED, that must fail: else what is proved would be about nothing.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from vmm_cc import PROGRAMS, ROOT, need

SOURCES = [PROGRAMS / "prove.c", ROOT / "vmm" / "virtqueue.c", ROOT / "vmm" / "mmio.c", ROOT / "common" / "netq.c"]
OFFLOAD_SOURCES = [
    PROGRAMS / "prove_offload.c",
    *(ROOT / "vmm" / f"{name}.c" for name in ("segment", "virtqueue", "account")),
    ROOT / "common" / "netq.c",
]
CHECKS = [
    "-DVIRTQ_MAX_SEGS=4",
    "--object-bits",
    "12",
    "--bounds-check",
    "--pointer-check",
    "--undefined-shift-check",
    "--signed-overflow-check",
]


def assert_proved(proof: str, unwind: int, sources: list[Path]) -> None:
    """Fails with the assertions that do not hold; REACHED must be the only one."""
    command = [need("cbmc"), "--function", f"prove_{proof}", f"-I{ROOT / 'vmm'}", f"-I{ROOT / 'common'}", *CHECKS]
    command += ["--unwind", str(unwind), "--unwinding-assertions", "--unwindset", "walk:3", "--slice-formula"]
    command += map(str, sources)
    run = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    failed = [line for line in run.stdout.splitlines() if line.endswith(": FAILURE")]
    assert len(failed) == 1, "\n".join(failed) + run.stdout[-3000:] + run.stderr[-1000:]
    assert "REACHED" in failed[0], failed


@pytest.mark.timeout(1300)
@pytest.mark.parametrize(
    ("proof", "unwind"),
    [("guest_memory", 4), ("decoding", 4), ("ring", 4), ("rings", 4), ("pool", 8), ("virtqueue", 8)],
)
def test_the_model_checker_finds_no_counterexample(proof: str, unwind: int) -> None:
    assert_proved(proof, unwind, SOURCES)


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("proof", ["segments", "completion"])
def test_a_receivers_device_changes_nothing_that_was_judged(proof: str) -> None:
    """For any metadata and any bytes of a frame of up to 60 bytes."""
    assert_proved(proof, 35, OFFLOAD_SOURCES)
