# SPDX-License-Identifier: BSD-2-Clause
"""Compiles the host's C programs of the switch with the machine's own compiler, when their content has changed."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from router import resources
from router.errors import HostError

SOURCES = resources.root() / "vswitch"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra")


def find_compiler(use: str = "the switch") -> list[str]:
    """The command of `CC`, or the first of cc, gcc and clang on the PATH; HostError when there is none for that use."""
    wanted = shlex.split(os.environ.get("CC", ""))
    for command in [wanted] if wanted else [["cc"], ["gcc"], ["clang"]]:
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    name = f"'{wanted[0]}', which CC names, is not on the PATH" if wanted else "there is no C compiler"
    raise HostError(f"{name}: {use} cannot be built", hint="apt-get install gcc libc6-dev")


def switch_sources(folders: Sequence[str]) -> list[Path]:
    """The C files and headers in these folders of `vswitch/`; HostError when the package is installed without them."""
    found = [path for folder in folders for path in sorted((SOURCES / folder).glob("*.[ch]"))]
    if not found:
        raise HostError(
            f"the switch's sources are not at {SOURCES}", hint="install from a checkout: pip install --editable ."
        )
    return found


def build_host_switch(build_dir: Path) -> Path:
    """The host process as `build_dir`/vswitch, compiled unless it is there from the same sources; or a HostError."""
    return build_program(build_dir / "vswitch", ("core", "host"))


def build_program(program: Path, folders: Sequence[str]) -> Path:
    """Compile and link all C files of these folders of `vswitch/` into `program`; returns it.

    A file beside it, named *.inputs, holds a hash of the sources, the flags and the compiler's version.
    """
    compiler = find_compiler()
    files = switch_sources(folders)
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    digest = hashlib.sha256(repr((compiler, FLAGS)).encode() + version)
    for path in files:
        digest.update(f"{path.relative_to(SOURCES)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    stamp = program.with_name(f"{program.name}.inputs")
    if program.is_file() and stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vswitch-", dir=program.parent) as aside:
        built = Path(aside) / program.name
        units = [str(path) for path in files if path.suffix == ".c"]
        run = subprocess.run(
            [*compiler, *FLAGS, *units, "-o", str(built)], capture_output=True, text=True, errors="replace", check=False
        )
        if run.returncode != 0:
            first = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip()[-200:])
            raise HostError(
                f"{compiler[0]} cannot build the switch: {first}",
                hint="the C library's headers may be missing: apt-get install libc6-dev",
            )
        stamp.unlink(missing_ok=True)
        built.replace(program)
    stamp.write_text(digest.hexdigest())
    return program
