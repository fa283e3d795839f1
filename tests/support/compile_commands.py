# SPDX-License-Identifier: BSD-2-Clause
"""Writes compile_commands.json for clangd and other tools: every C file with the flags that it is built with.

The flags are those of the builders themselves. Protection domains find `microkit.h` in the newest SDK that is
installed, else in a stub with the same declarations.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from router import boards, files
from router.cbuild import find_host_compiler
from router.errors import RouterError
from router.machines.qemu import spin_loops
from router.microkit import toolchain
from router.microkit.compile import Compilation
from router.microkit.programs import program_of
from router.microkit.sdk import installed_sdks
from router.vswitch import build as host_switch
from tests.vmm import cc as vmm_cc
from tests.vswitch import cc as vswitch_cc

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
OUTPUT = ROOT / "compile_commands.json"
STUB = TESTS / "microkit" / "sdk_stub"
PROGRAMS = ("timer", "ticker", "bringup", "console", "idle", "images", "vswitch", "guest")
"""Names of protection domains that stand for all: any that is not a driver's or the switch's is a guest's VMM."""
CHECKER = ("assume(it)", "assert(it,text)", "havoc_object(it)")
"""What the harnesses of the model checker use that only it has, as statements."""
CHECKER_VALUES = ("r_ok(it,size)", "same_object(it,other)")
"""The same, as values."""
PLAN = {
    "NAME": "guest",
    **dict.fromkeys(("NET", "GICD", "GICC", "UART", "RAM_BASE", "RAM_SIZE"), "0x1000UL"),
    **dict.fromkeys(("STRIDE", "SEED", "SECONDS", "VSOCK_IRQ"), "1u"),
    **dict.fromkeys(("SERVER_CID", "CLIENT_CID", "WITNESS_CID", "ATTACKER_CID"), "3u"),
    **dict.fromkeys(("OWN_IP", "PEER_IP"), "{10,77,0,2}"),
    "MAC": "{2,0,0,0,0,1}",
}
"""Macros of the hostile guest, which a plan gives when it is built."""


def commands() -> dict[Path, list[str]]:
    """Source file -> compiler and flags. A file that is built in several ways has those of the protection domain."""
    found: dict[Path, list[str]] = {}
    for path, words in (*protection_domains(), *host_programs(), *test_programs()):
        found.setdefault(path, list(words))
    return found


def protection_domains() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The programs of seL4 systems, for all boards."""
    tools = toolchain.find_toolchain()
    for name in boards.names():
        board = boards.board(name)
        known = [sdk.board_dir(board.microkit, "debug") for sdk in installed_sdks()]
        board_dir = next((path for path in reversed(known) if (path / "include/microkit.h").is_file()), None)
        compilation = Compilation(tools, board_dir or STUB, ROOT / "build", "")
        for program in (program_of(each, board, vsock=vsock) for each in PROGRAMS for vsock in (False, True)):
            flags = compilation.command(program)
            for source in program.sources:
                if source.endswith(".c"):
                    yield ROOT / source, flags if board_dir else (*flags, "-isystem", str(STUB))


def host_programs() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The switch as a process, its benchmark, and the plugin for QEMU."""
    compiler = find_host_compiler("the index")
    for path in host_switch.switch_sources(("core", "host", "bench")):
        if path.suffix == ".c":
            yield path, (*compiler, *host_switch.FLAGS, *host_switch.RING_FLAGS)
    yield spin_loops.SOURCE, (*compiler, *spin_loops.FLAGS, f"-DAPI={max(spin_loops.VERSIONS)}")


def test_programs() -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The tests' own C."""
    compiler = find_host_compiler("the index")
    checker = [f"-D__CPROVER_{each}=((void)(it))" for each in CHECKER]
    checker += [f"-D__CPROVER_{each}=((it) != (void *)0)" for each in CHECKER_VALUES]
    for path in sorted(vmm_cc.PROGRAMS.glob("*.c")):
        includes = (f"-I{folder}" for folder in (*vmm_cc.FOLDERS, vmm_cc.PROGRAMS))
        use = checker if path.name.startswith("prove") else []
        yield path, (*_fuzzer(path, compiler), *vmm_cc.WARNINGS, *includes, *use, "-isystem", str(STUB))
    for path in sorted(vswitch_cc.PROGRAMS.glob("*.c")):
        includes = (f"-I{folder}" for folder in (vswitch_cc.CORE, vmm_cc.PROGRAMS))
        flags = (*vswitch_cc.WARNINGS, "-D_GNU_SOURCE", *includes, *host_switch.RING_FLAGS)
        use = checker if path.name.startswith("prove") else []
        yield path, (*_fuzzer(path, compiler), *flags, *use)
    bare = (*toolchain.find_toolchain().compiler, *toolchain.FLAGS)
    for path in sorted((TESTS / "sel4" / "c").glob("*.c")):
        yield path, (*bare, *(f"-D{name}={value}" for name, value in PLAN.items()))
    for path in sorted((TESTS / "sel4" / "probe").glob("*.c")):
        yield path, bare


def _fuzzer(path: Path, compiler: list[str]) -> list[str]:
    """libFuzzer is clang's."""
    return ["clang"] if path.name.startswith("fuzz_") else compiler


def write(output: Path = OUTPUT) -> int:
    """Writes the file; returns how many C files it lists. HostError when there is no compiler."""
    entries = [
        {"directory": str(ROOT), "file": str(path), "arguments": [*words, "-c", str(path)]}
        for path, words in sorted(commands().items())
    ]
    files.write(output, json.dumps(entries, indent=1) + "\n")
    return len(entries)


if __name__ == "__main__":
    try:
        print(f"{OUTPUT}: {write()} C files")
    except RouterError as error:
        sys.exit(str(error))
