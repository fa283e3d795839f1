"""Short runs of the fuzzers: hostile guests, a lying switch, lying monitors. CI gives each a quarter of a minute."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.vmm.cc import compile_cores, link_program

FUZZ = ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
SECONDS = 15


@pytest.fixture(scope="session")
def fuzz_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The cores, instrumented for libFuzzer."""
    return compile_cores(tmp_path_factory.mktemp("fuzz_cores"), *FUZZ, compiler="clang")


@pytest.mark.parametrize("source", ["fuzz_device.c", "fuzz_gic.c", "fuzz_forward.c", "fuzz_mux.c"])
def test_no_input_breaks_a_core(fuzz_objects: list[Path], tmp_path: Path, source: str) -> None:
    link = [flag.replace("fuzzer-no-link", "fuzzer") for flag in FUZZ]
    program = link_program(tmp_path / "fuzz", source, fuzz_objects, *link, compiler="clang")
    run = subprocess.run(
        [program, f"-max_total_time={SECONDS}", "-timeout=60", "-max_len=2000", "-seed=1", "-print_final_stats=1"],
        capture_output=True,
        text=True,
        timeout=10 * SECONDS + 150,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    executed = int(run.stderr.split("stat::number_of_executed_units:")[1].split()[0])
    assert executed > 1000, f"only {executed} inputs in {SECONDS} s"
