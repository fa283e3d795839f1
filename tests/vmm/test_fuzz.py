# SPDX-License-Identifier: BSD-2-Clause
"""The fuzzers of tests/vmm/c: hostile guests, a lying switch, lying VMMs, and two guests whose frames obey the rules.

Each has a corpus under tests/vmm/corpus, found by libFuzzer and reduced by `-merge=1 -set_cover_merge=1`. The kept
inputs run with any compiler; with clang, libFuzzer goes on from them for RUNS inputs, or for ROUTER_FUZZ_SECONDS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vmm.cc import SANITIZE, compile_cores, link_program

FUZZ = ["-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
CORPORA = Path(__file__).parent / "corpus"
FUZZERS = sorted(path.name for path in CORPORA.iterdir())
RUNS = 5000
SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "0"))


@pytest.fixture(scope="session")
def checked_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The cores with the sanitizers."""
    return compile_cores(tmp_path_factory.mktemp("replay_cores"), *SANITIZE)


@pytest.fixture(scope="session")
def fuzz_objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The cores, instrumented for libFuzzer."""
    return compile_cores(tmp_path_factory.mktemp("fuzz_cores"), *FUZZ, compiler="clang")


@pytest.mark.parametrize("name", FUZZERS)
def test_every_kept_input_is_harmless(checked_objects: list[Path], tmp_path: Path, name: str) -> None:
    kept = sorted((CORPORA / name).iterdir())
    main = str(Path(__file__).parent / "c" / "fuzz_replay.c")
    program = link_program(tmp_path / "replay", f"fuzz_{name}.c", checked_objects, *SANITIZE, main)
    run = subprocess.run([program, *kept], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) == len(kept) >= 10


@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("name", FUZZERS)
def test_no_new_input_breaks_a_core(fuzz_objects: list[Path], tmp_path: Path, name: str) -> None:
    link = [flag.replace("fuzzer-no-link", "fuzzer") for flag in FUZZ]
    program = link_program(tmp_path / "fuzz", f"fuzz_{name}.c", fuzz_objects, *link, compiler="clang")
    shutil.copytree(CORPORA / name, tmp_path / "corpus")
    budget = f"-max_total_time={SECONDS}" if SECONDS else f"-runs={RUNS}"
    run = subprocess.run(
        [program, "corpus", budget, "-timeout=60", "-max_len=2000", "-seed=1", "-print_final_stats=1"],
        capture_output=True,
        text=True,
        timeout=SECONDS + 600,
        check=False,
        cwd=tmp_path,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    executed = int(run.stderr.split("stat::number_of_executed_units:")[1].split()[0])
    assert executed >= min(RUNS, 1000), f"only {executed} inputs"
