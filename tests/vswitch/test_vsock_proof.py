# SPDX-License-Identifier: BSD-2-Clause
"""Random steps of the vsock core (libFuzzer, from a corpus), and CBMC's proof that each step keeps its promises."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cbmc import Proof, check_found, check_proved
from tests.vswitch.cc import CORE, PROGRAMS, SANITIZE, compile_c

SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "0"))
RUNS = 20_000
CORPUS = Path(__file__).parent / "corpus-vsock"
"""Found by libFuzzer and reduced by `-merge=1 -set_cover_merge=1`."""
FUZZ = Path(__file__).parents[1] / "vmm" / "c"
UNITS = [CORE / "vsock.c", CORE / "vsock_init.c"]
SMALL = "-DVSOCK_MAX_CONNECTIONS=4u"
"""So that tables fill up within a short input."""
TIMEOUT_S = 1200.0


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


def proof(function: str) -> Proof:
    """One step, under up to 2 rules between 3 ports with up to 2 connections each."""
    bounds = ("-DVSOCK_MAX_RULES=2u", "-DVSOCK_MAX_CONNECTIONS=2u", "--unwind", "5")
    sources = (PROGRAMS / "check_vsock.c", *UNITS)
    return Proof(function, sources, (CORE, PROGRAMS), (*bounds, "--unwindset", "read_number.0:9,write_number.0:9"))


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize("step", ["packet", "link_change", "reset"])
def test_the_model_checker_finds_no_step_that_breaks_a_promise(step: str) -> None:
    check_proved(proof(step), TIMEOUT_S)


BUGS = [
    ("packet", "outstanding > other->sent", "false", "the state's promise"),
    ("packet", "sender->limit - sender->sent < header->length", "sender->limit < header->length", "promise"),
    ("packet", "header->source_cid != config->ports[in].cid", "false", "a packet's promise"),
    ("packet", "header->length != judged->payload || ", "", "a packet's promise"),
    ("packet", "reason = link_reason(judged->state->links[judged->in]);", "", "the state's promise"),
    ("link_change", "state->links[port] == VSOCK_UP && link != VSOCK_UP", "false", "the state's promise"),
    ("reset", "forgive(state, rule, connection, end);\n                return true;", "return true;", "promise"),
]


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize(("step", "right", "wrong", "broken"), BUGS)
def test_the_model_checker_finds_a_planted_bug_in_the_vsock_core(
    tmp_path: Path, step: str, right: str, wrong: str, broken: str
) -> None:
    check_found(proof(step).with_bug(tmp_path, CORE / "vsock.c", right, wrong), broken, TIMEOUT_S)
