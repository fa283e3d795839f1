# SPDX-License-Identifier: BSD-2-Clause
"""The fuzzers in C: what was found once is harmless, and a short search breaks no promise.

The promises are in the fuzzers: hostile guests, a lying switch, lying VMMs, a console that anybody writes to, two
guests whose frames obey the rules. ROUTER_FUZZ_SECONDS makes each search last that long.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fuzz.native import EXECUTED, NATIVE, command, fuzzer, replayer
from tests.vmm.cc import PROGRAMS as VMM_PROGRAMS
from tests.vswitch.cc import PROGRAMS as SWITCH_PROGRAMS

SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "0"))
MIN_CORPUS = 10


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the fuzzers are made, so that those of the VMM share its cores' objects."""
    return tmp_path_factory.mktemp("fuzzers")


def test_every_fuzzer_is_run() -> None:
    sources = {path for folder in (VMM_PROGRAMS, SWITCH_PROGRAMS) for path in folder.glob("fuzz_*.c")}
    assert {target.source for target in NATIVE.values()} == sources - {VMM_PROGRAMS / "fuzz_replay.c"}


@pytest.mark.parametrize("name", NATIVE)
def test_every_kept_input_is_harmless(programs: Path, name: str) -> None:
    kept = sorted(NATIVE[name].corpus.iterdir())
    run = subprocess.run([replayer(name, programs), *kept], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) == len(kept) >= MIN_CORPUS


@pytest.mark.timeout(SECONDS + 900)
@pytest.mark.parametrize("name", NATIVE)
def test_no_new_input_breaks_a_promise(programs: Path, tmp_path: Path, name: str) -> None:
    budget = f"-max_total_time={SECONDS}" if SECONDS else f"-runs={NATIVE[name].runs}"
    words = command(name, fuzzer(name, programs), tmp_path, budget, "-seed=1")
    run = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS + 600, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    executed = EXECUTED.search(run.stderr)
    assert executed is not None
    assert int(executed[1]) >= min(NATIVE[name].runs, 1000)
