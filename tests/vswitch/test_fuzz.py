# SPDX-License-Identifier: BSD-2-Clause
"""Random frames against the core: libFuzzer from a corpus, the model checker's harness on random values, and CBMC.

The corpus (tests/vswitch/corpus) was found by libFuzzer and reduced by `-merge=1 -set_cover_merge=1`. Its inputs run
with any compiler; with clang, libFuzzer goes on from them for RUNS inputs, or for ROUTER_FUZZ_SECONDS.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.cbmc import ARRAYS, Proof, check_found, check_proved
from tests.vswitch.cc import CORE, CORE_UNITS, PROGRAMS, SANITIZE, compile_c
from tests.vswitch.frames import (
    CLIENT,
    ECHO_REQUEST,
    NO_OFFLOAD,
    OTHER,
    SEGMENTED,
    SERVER,
    SYN,
    TCP_CHECKSUM,
    UDP_CHECKSUM,
    arp,
    icmp_frame,
    packet,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    unreachable,
)

SECONDS = int(os.environ.get("ROUTER_FUZZ_SECONDS", "0"))
RUNS = 200_000
CORPUS = Path(__file__).parent / "corpus"
REPLAY = Path(__file__).parents[1] / "vmm" / "c"
SEEDS = [
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240), NO_OFFLOAD),
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240), TCP_CHECKSUM),
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, data=bytes(5000)), SEGMENTED),
    (SERVER, tcp_frame(SERVER, CLIENT, 3240, 40000, SYN), NO_OFFLOAD),
    (SERVER, udp_frame(SERVER, OTHER, 5000, 53, b"question"), UDP_CHECKSUM),
    (CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, bytes(40)), NO_OFFLOAD),
    (CLIENT, unreachable(CLIENT, SERVER, 6, tcp(3240, 40000)), NO_OFFLOAD),
    (OTHER, unreachable(OTHER, SERVER, 17, udp(5000, 53)), NO_OFFLOAD),
    (CLIENT, packet(CLIENT, SERVER, 6, tcp(40000, 3240, 16, bytes(65496)), total=0), SEGMENTED),
    (SERVER, arp(SERVER, SERVER), NO_OFFLOAD),
    (CLIENT, arp(CLIENT, SERVER), NO_OFFLOAD),
]


def write_seeds(folder: Path) -> None:
    """Frames that pass, as inputs of c/fuzz_decide.c."""
    for number, (port, frame, offload) in enumerate(SEEDS):
        head = bytes([port, 0]) + len(frame).to_bytes(3, "little") + struct.pack("<BBHHHH", *offload)
        (folder / f"seed{number}").write_bytes(head + frame[:70])


def test_every_kept_frame_is_judged_as_promised(tmp_path: Path) -> None:
    units = [PROGRAMS / "fuzz_decide.c", REPLAY / "fuzz_replay.c", *CORE_UNITS]
    program = compile_c(tmp_path / "replay", units, *SANITIZE, f"-I{REPLAY}")
    kept = sorted(CORPUS.iterdir())
    run = subprocess.run([program, *kept], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert int(run.stdout) == len(kept) >= 10


@pytest.mark.timeout(SECONDS + 600)
def test_the_fuzzer_breaks_no_promise(tmp_path: Path) -> None:
    """The promises are in c/invariants.h; the corpus starts from frames that pass."""
    flags = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
    fuzzer = compile_c(tmp_path / "fuzz", [PROGRAMS / "fuzz_decide.c", *CORE_UNITS], *flags, compiler="clang")
    corpus = tmp_path / "corpus"
    shutil.copytree(CORPUS, corpus)
    write_seeds(corpus)
    budget = f"-max_total_time={SECONDS}" if SECONDS else f"-runs={RUNS}"
    command = [str(fuzzer), str(corpus), budget, "-max_len=85", "-seed=1", "-print_final_stats=1"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    executed = next(line for line in run.stderr.splitlines() if "number_of_executed_units" in line)
    assert int(executed.split()[-1]) >= RUNS


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
