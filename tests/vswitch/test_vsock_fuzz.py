# SPDX-License-Identifier: BSD-2-Clause
"""Random steps of the vsock core: libFuzzer, from a corpus. The promises are in c/vsock_invariants.h."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vswitch.cc import CORE, PROGRAMS, SANITIZE, compile_c

SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "0"))
RUNS = 20_000
CORPUS = Path(__file__).parent / "corpus-vsock"
"""Found by libFuzzer and reduced by `-merge=1 -set_cover_merge=1`."""
FUZZ = Path(__file__).parents[1] / "vmm" / "c"
UNITS = [CORE / "vsock.c", CORE / "vsock_init.c"]
SMALL = "-DVSOCK_MAX_CONNECTIONS=4u"
"""So that tables fill up within a short input."""


def test_every_kept_sequence_is_judged_as_promised(tmp_path: Path) -> None:
    units = [PROGRAMS / "fuzz_vsock.c", FUZZ / "fuzz_replay.c", *UNITS]
    program = compile_c(tmp_path / "replay", units, *SANITIZE, SMALL, f"-I{FUZZ}")
    kept = sorted(CORPUS.iterdir())
    run = subprocess.run([program, *kept], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) == len(kept) >= 50


@pytest.mark.timeout(SECONDS + 600)
def test_the_fuzzer_breaks_no_promise_of_the_vsock_core(tmp_path: Path) -> None:
    flags = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", SMALL, f"-I{FUZZ}"]
    fuzzer = compile_c(tmp_path / "fuzz", [PROGRAMS / "fuzz_vsock.c", *UNITS], *flags, compiler="clang")
    corpus = tmp_path / "corpus"
    shutil.copytree(CORPUS, corpus)
    budget = f"-max_total_time={SECONDS}" if SECONDS else f"-runs={RUNS}"
    command = [str(fuzzer), str(corpus), budget, "-max_len=512", "-seed=1", "-print_final_stats=1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    executed = next(line for line in run.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) >= RUNS
