# SPDX-License-Identifier: BSD-2-Clause
"""Random frames against the core: libFuzzer for a minute, the model checker's harness on random values, and CBMC.

ROUTER_FUZZ_SECONDS sets how long the fuzzer runs (60; 0 skips it).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from vswitch_cc import CORE, CORE_UNITS, PROGRAMS, SANITIZE, compile_c, need
from vswitch_frames import (
    CLIENT,
    ECHO_REQUEST,
    OTHER,
    SERVER,
    SYN,
    arp,
    icmp_frame,
    packet,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    unreachable,
)

FUZZ_SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "60"))
SEEDS = [
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240)),
    (SERVER, tcp_frame(SERVER, CLIENT, 3240, 40000, SYN)),
    (SERVER, udp_frame(SERVER, OTHER, 5000, 53, b"question")),
    (CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, bytes(40))),
    (CLIENT, unreachable(CLIENT, SERVER, 6, tcp(3240, 40000))),
    (OTHER, unreachable(OTHER, SERVER, 17, udp(5000, 53))),
    (CLIENT, packet(CLIENT, SERVER, 6, tcp(40000, 3240, 16, bytes(2000)), total=0)),
    (SERVER, arp(SERVER, SERVER)),
    (CLIENT, arp(CLIENT, SERVER)),
]


@pytest.mark.timeout(FUZZ_SECONDS + 600)
@pytest.mark.skipif(FUZZ_SECONDS == 0, reason="ROUTER_FUZZ_SECONDS is 0")
def test_the_fuzzer_breaks_no_promise(tmp_path: Path) -> None:
    """The promises are in c/invariants.h; the corpus starts from frames that pass. The fuzzer must get somewhere."""
    flags = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
    fuzzer = compile_c(tmp_path / "fuzz", [PROGRAMS / "fuzz_decide.c", *CORE_UNITS], *flags, compiler="clang")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, (port, frame) in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(bytes([port, 0]) + len(frame).to_bytes(3, "little") + frame[:70])
    command = [fuzzer, corpus, f"-max_total_time={FUZZ_SECONDS}", "-max_len=75", "-print_final_stats=1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    executed = next(line for line in run.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) > 1000 * FUZZ_SECONDS
    assert len(list(corpus.iterdir())) > len(SEEDS)


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


@pytest.mark.timeout(1500)
def test_cbmc_proves_the_core_free_of_bad_accesses_and_true_to_its_promises(tmp_path: Path) -> None:
    command = [need("cbmc"), "--function", "harness", "-I", str(CORE), "-DVSWITCH_MAX_PORTS=3", "--slice-formula"]
    command += ["--bounds-check", "--pointer-check", "--pointer-overflow-check", "--div-by-zero-check"]
    command += ["--undefined-shift-check", "--unwind", "5", "--unwindset", UNWIND, "--unwinding-assertions"]
    command += [str(PROGRAMS / "check_decide.c"), *map(str, CORE_UNITS)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    failed = [line for line in run.stdout.splitlines() if line.endswith(": FAILURE")]
    # That a frame passes is claimed to be impossible: if that held, the rest would be proved about nothing.
    assert len(failed) == 1, "\n".join(failed) + run.stdout[-3000:]
    assert "REACHED" in failed[0], failed
