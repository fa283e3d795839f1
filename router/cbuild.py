# SPDX-License-Identifier: BSD-2-Clause
"""Runs compilers and linkers, and only for what has changed: for the protection domains, the switch's host programs and
the plugin for QEMU.

A step is one command with its one product. The user's record (`router.trusted`) has a hash of the product and of all
that went into it: command, compiler, sources and headers by their content. With both unchanged nothing is to be done.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from router import files, trusted
from router.errors import HostError
from router.hardening import accepted

PRODUCT = "%"
"""Stands for the product in a step's command."""
STEP_TIMEOUT_S = 600.0
"""For one command; the longest takes a few seconds on a quiet computer."""


@dataclass(frozen=True)
class Step:
    """One command and what it makes.

    what: for messages, as in "gcc fails at WHAT". inputs: a hash of all that the product depends on (`digest`).
    hint: what to do when the command fails; None: read the log.
    """

    what: str
    product: Path
    command: tuple[str, ...]
    inputs: str
    hint: str | None = None

    def is_done(self) -> bool:
        """Whether the product was made from the same inputs, and by this user: a build folder may be another's."""
        return trusted.is_ours(self.product, self.inputs)


def digest(parts: Iterable[str | bytes]) -> str:
    """One hash of several parts, each with its length so that no two lists run together."""
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(b"%d:" % len(raw) + raw)
    return found.hexdigest()


def contents(paths: Iterable[Path]) -> list[str | bytes]:
    """Name and content of each file, as parts of a digest."""
    return [part for path in paths for part in (path.name, path.read_bytes())]


def headers(folders: Iterable[Path]) -> list[Path]:
    """All headers in these folders: what a source with these include folders can depend on."""
    return [path for folder in folders for path in sorted(folder.glob("*.h"))]


def find_host_compiler(use: str) -> list[str]:
    """The command of `CC`, or the first of cc, gcc and clang on the PATH; HostError when there is none for that use."""
    wanted = shlex.split(os.environ.get("CC", ""))
    for command in [wanted] if wanted else [["cc"], ["gcc"], ["clang"]]:
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    name = f"'{wanted[0]}', which CC names, is not on the PATH" if wanted else "there is no C compiler"
    raise HostError(f"{name}: {use} cannot be built", hint="apt-get install gcc libc6-dev")


def host_step(
    use: str, product: Path, flags: Sequence[str], sources: Sequence[Path], optional: Sequence[str] = ()
) -> Step:
    """Making a program or library for this computer out of C files; the other sources are their headers.

    optional: flags for compilers that know them.
    """
    compiler = find_host_compiler(use)
    flags = (*flags, *accepted(compiler, optional))
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=False).stdout
    command = (*compiler, *flags, *(str(path) for path in sources if path.suffix == ".c"), "-o", PRODUCT)
    return Step(
        f"building {use}",
        product,
        command,
        digest([version, *command, *contents(sources)]),
        hint="the C library's headers may be missing: apt-get install libc6-dev",
    )


def run_step(step: Step, log: Path | None = None, root: Path | None = None) -> None:
    """Run a step's command; its product is written aside and renamed. HostError with the first error line.

    log: a file to which the whole output of a command that fails is added. root: left out of paths in the error.
    """
    aside = step.product.with_name(f".{step.product.name}.{os.getpid()}.new")
    command = [str(aside) if word == PRODUCT else word for word in step.command]
    tool = Path(command[0]).name
    try:
        step.product.parent.mkdir(parents=True, exist_ok=True)
        run = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=STEP_TIMEOUT_S, check=False
        )
        if run.returncode:
            output = run.stderr.strip() or run.stdout.strip()
            if log is not None:
                with files.open_private(log, append=True) as file:
                    file.write(f"$ {' '.join(command)}\n{output}\n".encode())
            hint = step.hint or (f"the compiler's whole output: {log}" if log is not None else None)
            raise HostError(f"{tool} fails at {step.what}: {first_error(output, run.returncode, root)}", hint)
        aside.replace(step.product)
        trusted.remember(step.product, step.inputs)
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{tool} did not end within {STEP_TIMEOUT_S:g} s at {step.what}") from error
    except OSError as error:
        raise HostError(f"cannot make {step.product}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            aside.unlink()


def first_error(output: str, code: int, root: Path | None) -> str:
    """The first line of a compiler's or linker's output that tells of an error, else the last one."""
    lines = output.splitlines() or [f"exit code {code}"]
    first = next((line for line in lines if "error" in line.lower() or "undefined" in line), lines[-1])
    return first.removeprefix(f"{root}/")


def run_steps(steps: Sequence[Step], log: Path | None = None, root: Path | None = None) -> None:
    """Run those that are not done, as many at a time as there are processors; the first error ends it."""
    todo = [step for step in steps if not step.is_done()]
    if not todo:
        return
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(run_step, step, log, root) for step in todo]
        try:
            for each in running:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
