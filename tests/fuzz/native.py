# SPDX-License-Identifier: BSD-2-Clause
"""The fuzz targets in C: what each is made of, and a search in it by libFuzzer, which needs clang.

Their corpora were found by libFuzzer and reduced by `-merge=1 -set_cover_merge=1`. fuzz_replay.c runs kept inputs
without libFuzzer, with any compiler.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import NATIVE_TARGETS
from tests.vmm.cc import PROGRAMS as VMM_PROGRAMS
from tests.vmm.cc import SANITIZE, compile_cores, link_program
from tests.vswitch import honest
from tests.vswitch.cc import CORE, CORE_UNITS, compile_c
from tests.vswitch.cc import PROGRAMS as SWITCH_PROGRAMS

_TESTS = Path(__file__).resolve().parents[1]
_CHECKS = ["-fno-sanitize-recover=all", "-g", "-O1"]
_LINKED = ["-fsanitize=fuzzer,address,undefined", *_CHECKS]
_COMPILED = ["-fsanitize=fuzzer-no-link,address,undefined", *_CHECKS]
_REPLAY = VMM_PROGRAMS / "fuzz_replay.c"
EXECUTED = re.compile(r"number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True)
class NativeTarget:
    """source: the fuzzer. corpus: its kept inputs, at most `max_input` bytes each. runs: inputs of a search in `make
    test`. units: what it is about, or None for all cores of the VMM. inputs: honest ones to begin with."""

    source: Path
    corpus: Path
    max_input: int
    runs: int
    units: tuple[Path, ...] | None = None
    flags: tuple[str, ...] = ()
    inputs: Callable[[], list[bytes]] = list


def _vmm(name: str, runs: int = 5000) -> NativeTarget:
    return NativeTarget(VMM_PROGRAMS / f"fuzz_{name}.c", _TESTS / "vmm/corpus" / name, 2000, runs)


NATIVE = {
    "decide": NativeTarget(
        SWITCH_PROGRAMS / "fuzz_decide.c",
        _TESTS / "vswitch/corpus",
        85,
        200_000,
        tuple(CORE_UNITS),
        inputs=honest.inputs,
    ),
    **{name: _vmm(name) for name in ("device", "forward", "gic", "mux")},
    "packets": _vmm("packets", 2000),
    **{name: _vmm(name) for name in ("two_guests", "vsock_device")},
    "vsock": NativeTarget(
        SWITCH_PROGRAMS / "fuzz_vsock.c",
        _TESTS / "vswitch/corpus-vsock",
        512,
        20_000,
        (CORE / "vsock.c", CORE / "vsock_init.c"),
        ("-DVSOCK_MAX_CONNECTIONS=4u",),  # so that tables fill up within a short input
    ),
}
"""By name: the switch's judgement, the VMM's devices, the switch between VMMs that lie, the interrupt controller, the
console multiplexer, the switch of vsock packets between VMMs that lie, two guests whose frames must obey the rules, the
VMM's vsock device, and the vsock core."""
assert tuple(NATIVE) == NATIVE_TARGETS


def replayer(name: str, folder: Path) -> Path:
    """The program that runs the files which it is given and prints how many; objects are kept in `folder`."""
    target = NATIVE[name]
    program = folder / f"replay-{name}"
    if target.units is None:
        objects = compile_cores(_made(folder / "replay-cores"), *SANITIZE)
        return link_program(program, target.source.name, objects, *SANITIZE, str(_REPLAY))
    units = [target.source, _REPLAY, *target.units]
    return compile_c(program, units, *SANITIZE, *target.flags, f"-I{VMM_PROGRAMS}")


def fuzzer(name: str, folder: Path) -> Path:
    """The program with libFuzzer; objects are kept in `folder`."""
    target = NATIVE[name]
    program = folder / f"fuzz-{name}"
    if target.units is None:
        objects = compile_cores(_made(folder / "fuzz-cores"), *_COMPILED, compiler="clang")
        return link_program(program, target.source.name, objects, *_LINKED, compiler="clang")
    units = [target.source, *target.units]
    return compile_c(program, units, *_LINKED, *target.flags, f"-I{VMM_PROGRAMS}", compiler="clang")


def command(name: str, program: Path, new: Path, *limits: str) -> list[str]:
    """A search: what is new goes to `new`, which the honest inputs are written to; the corpus is only read."""
    target = NATIVE[name]
    for number, data in enumerate(target.inputs()):
        (new / f"honest-{number}").write_bytes(data)
    words = [f"-max_len={target.max_input}", "-timeout=60", f"-artifact_prefix={new}/", "-print_final_stats=1"]
    return [str(program), str(new), str(target.corpus), *words, *limits]


def search(name: str, new: Path, seconds: int) -> int:
    """Searches, shows what libFuzzer says, and gives its exit code."""
    program = fuzzer(name, _made(new / "program"))
    found = _made(new / "inputs")
    print(f"new inputs: {found}", flush=True)
    words = command(name, program, found, f"-max_total_time={seconds}")
    return subprocess.run(words, check=False).returncode


def merge(name: str, new: Path) -> int:
    """Brings those of `new` into the corpus that add coverage, and leaves out of the corpus what adds none."""
    target = NATIVE[name]
    program = fuzzer(name, _made(new / "program"))
    kept = _made(new / "kept")
    words = [str(program), "-merge=1", "-set_cover_merge=1", f"-max_len={target.max_input}", str(kept)]
    folders = [str(target.corpus), str(new / "inputs")]
    code = subprocess.run([*words, *folders], stderr=sys.stderr, check=False).returncode
    if code == 0:
        for path in target.corpus.iterdir():
            path.unlink()
        for path in kept.iterdir():
            shutil.copy(path, target.corpus)
    return code


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
