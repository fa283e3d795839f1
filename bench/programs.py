# SPDX-License-Identifier: BSD-2-Clause
"""Makes shell commands that run the programs and scripts of bench/guest inside a guest.

A Python program travels as a zip (base64) of its module and the modules of bench/guest that it imports. A shell script
travels as its own text.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import inspect
import io
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

P = ParamSpec("P")

GUEST = Path(__file__).with_name("guest")
PACKAGE = "bench.guest"
USBIP = "/usr/lib/router/usbip.pyz"
"""Where a guest has `router.usbip`."""


def command(program: Callable[P, None], *args: P.args, **arguments: P.kwargs) -> str:
    """A shell command that calls `program`, an entry point in a module of bench/guest, with these arguments.

    ValueError when it is not such an entry point; TypeError when the arguments do not fit, as a call would raise it.
    """
    bound = inspect.signature(program).bind(*args, **arguments)
    if not program.__module__.startswith(f"{PACKAGE}."):
        raise ValueError(f"{program.__module__} is not in bench/guest")
    packed = archive(program.__module__.removeprefix(f"{PACKAGE}."))
    # Not `python3 archive`, which would import runpy: that takes 0.2 s and more in a guest.
    start = (
        f"import sys; sys.path.insert(0, sys.argv[1]); sys.path.append({USBIP!r}); "
        f"from {PACKAGE}.arguments import call; from {program.__module__} import {program.__name__}; "
        f"call({program.__name__}, sys.argv[2:])"
    )
    words = [f"{name}={as_word(value)}" for name, value in bound.arguments.items()]
    place = f"file=${{TMPDIR:-/tmp}}/bench-{hashlib.sha256(packed).hexdigest()[:12]}.pyz"
    unpack = f"mkdir -p /tmp; echo {base64.b64encode(packed).decode()} | base64 -d >$file"
    return f'{place}; {unpack}; python3 -I -S -c {shlex.quote(start)} "$file" {shlex.join(words)}'


def background(shell_command: str) -> str:
    """A shell command that starts another one and returns at once; its output is lost."""
    return f"{{ {shell_command}; }} >/dev/null 2>&1 </dev/null &"


def script(name: str, *words: object) -> str:
    """The text of a script of bench/guest, with $1, $2 … set to `words`; for the guest's shell to run."""
    head = f"set -- {shlex.join(map(str, words))}\n" if words else ""
    return head + (GUEST / f"{name}.sh").read_text()


def as_word(value: object) -> str:
    """An argument as bench/guest/arguments.py reads it. TypeError for a type that it does not know."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int | float | str):
        return str(value)
    raise TypeError(f"a guest's program cannot be given {value!r}")


def archive(module: str) -> bytes:
    """A zip of a module of bench/guest, all modules of it that it imports, and `arguments`. Not compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        # Packages without their text, which is for readers.
        for package in ("bench", "bench/guest"):
            file.writestr(zipfile.ZipInfo(f"{package}/__init__.py"), b"")
        for name in sorted({"arguments", *imported(module)}):
            file.writestr(zipfile.ZipInfo(f"bench/guest/{name}.py"), source(name))
    return buffer.getvalue()


def source(module: str) -> str:
    """The text of a module of bench/guest."""
    return (GUEST / f"{module}.py").read_text()


def imported(module: str) -> set[str]:
    """The module of bench/guest and those of it that it imports, directly or not."""
    found: set[str] = set()
    queue = [module]
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [
                each.removeprefix(f"{PACKAGE}.") for each in imports(source(name)) if each.startswith(f"{PACKAGE}.")
            ]
    return found


def imports(text: str) -> list[str]:
    """The modules that a text imports when it runs; `if TYPE_CHECKING:` does not count."""
    found: list[str] = []
    queue: list[ast.AST] = [ast.parse(text)]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            queue += node.orelse
        else:
            queue += ast.iter_child_nodes(node)
    return found
