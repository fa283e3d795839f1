# SPDX-License-Identifier: BSD-2-Clause
"""A trimmed CPython for the guests: interpreter, the library modules that the programs use, and the programs.

Start-up time under emulation is what counts, so the library is one stored (not deflated) zip of .pyc files on the
interpreter's default path, and nothing is compiled or searched for in the guest.
"""

from __future__ import annotations

import io
import marshal
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from router import resources
from router.errors import HostError
from router.imports import imports

_COMPILER = Path(__file__).with_name("_compile.py")
_IMPORTER = Path(__file__).with_name("_imports.py")
_PROJECT = resources.PACKAGE
# Imported by the interpreter itself at start, or by its C code on the way to an error message.
_ALWAYS = (
    "encodings",
    "encodings.aliases",
    "encodings.utf_8",
    "encodings.ascii",
    "encodings.latin_1",
    "encodings.idna",  # every host name that is a str goes through it, an IP address too
    "os",
    "runpy",
    "__future__",
)
_MAIN = "from router.usbip.__main__ import main\nraise SystemExit(main())\n"

Item = tuple[str, str, str, int]  # module name, path in the guest, source, level as of compile()
Compiler = Callable[[list[Item]], dict[str, bytes]]
Importer = Callable[[list[tuple[str, str, bool]]], list[list[str]]]
"""Of each library module (name, source, whether it is a package) the names that it imports at its top level."""
OPTIMISED = 2  # as -OO: without assertions and docstrings
_WITH_DOCSTRINGS = 1  # the programs' --help is made of docstrings


def stdlib_closure(
    programs: Mapping[str, str],
    library: Mapping[str, bool],
    read: Callable[[str], str],
    extra: Iterable[str],
    exclude: Collection[str],
    importer: Importer | None = None,
) -> list[str]:
    """Names of the library modules that `programs` (module name -> source) and `extra` need, sorted.

    Of a program every import counts, also inside functions; of a library module those at its top level, which run
    whenever it is imported. library: the names that exist as Python source, True
    for packages; what else is imported is built in. read: a library module's source. importer: reads the library's
    modules, by default as this interpreter does; a newer Python's library may use syntax that this one does not know.
    """
    importer = importer or _own_imports
    found: set[str] = set()
    queue = [*_ALWAYS, *extra]
    packages = packages_of(programs)
    for name, source in programs.items():
        queue += imports(source, name, name in packages, whole=True)
    while queue:
        wanted = {name for name in queue if name in library and name not in exclude}
        wanted |= {name.rpartition(".")[0] for name in wanted if "." in name}
        new = sorted(name for name in wanted - found if name in library and name not in exclude)
        found.update(new)
        items = [(name, read(name), library[name]) for name in new]
        queue = [name for names in importer(items) for name in names] if items else []
    return sorted(found)


def _own_imports(items: list[tuple[str, str, bool]]) -> list[list[str]]:
    return [imports(source, name, package, whole=False) for name, source, package in items]


def program_sources(project: Path = _PROJECT) -> dict[str, str]:
    """Source by module name of what the guests run: router.usbip and the error type; {} while there is none."""
    package = project / "usbip"
    if not (package / "__init__.py").is_file():
        return {}
    files = [project / "__init__.py", project / "errors.py", project / "display.py", *sorted(package.rglob("*.py"))]
    sources = {}
    for file in files:
        parts = file.relative_to(project.parent).with_suffix("").parts
        sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return sources


def packages_of(modules: Iterable[str]) -> set[str]:
    """Of module names those that have modules below them."""
    return {name.rpartition(".")[0] for name in modules if "." in name}


def make_zip(pyc: Mapping[str, bytes], packages: Collection[str]) -> bytes:
    """A zip of compiled modules: module name -> .pyc; those in `packages` become `<name>/__init__.pyc`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(pyc):
            path = name.replace(".", "/") + ("/__init__.pyc" if name in packages else ".pyc")
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, pyc[name])
    return buffer.getvalue()


def make_zipapp(sources: Mapping[str, str], compiler: Compiler) -> bytes:
    """The guests' programs as one zip that `python3 usbip.pyz` runs."""
    everything = {**sources, "__main__": _MAIN}
    pyc = compiler(
        [(name, f"{name.replace('.', '/')}.py", text, _WITH_DOCSTRINGS) for name, text in sorted(everything.items())]
    )
    return make_zip(pyc, packages_of(sources))


def interpreter_for(version: str, debian_python: Callable[[str], list[str]]) -> list[str]:
    """The command of a Python of the guests' `version` ("3.11").

    No other minor version can make or read its .pyc files, and an older one may not know its library's syntax.
    That is this interpreter if it is of that version, else one on PATH, else `debian_python(version)`: the command of
    Debian's own for this computer's architecture.
    """
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        return [sys.executable]
    there = shutil.which(f"python{version}")
    return [there] if there and _runs(there, version) else debian_python(version)


def compiler_for(command: list[str]) -> Compiler:
    """What compiles as `command` does, a Python of the guests' version."""

    def compile_all(items: list[Item]) -> dict[str, bytes]:
        compiled: list[tuple[str, bytes]] = _ask(command, items, "compile the guests' programs", _COMPILER)
        return dict(compiled)

    return compile_all


def importer_for(command: list[str]) -> Importer:
    """What reads imports as `command` does, a Python of the guests' version."""

    def read_all(items: list[tuple[str, str, bool]]) -> list[list[str]]:
        names: list[list[str]] = _ask(
            command, items, "read its library's modules", _IMPORTER, str(_PROJECT / "imports.py")
        )
        return names

    return read_all


def _ask(command: list[str], items: list[Any], task: str, *words: Path | str) -> Any:
    """The answer of one of our scripts, run by `command`."""
    done = subprocess.run(
        [*command, "-I", "-S", *words],
        input=marshal.dumps(items, 2),
        capture_output=True,
        check=False,
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
    )
    if done.returncode:
        why = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[-1]
        raise HostError(f"{command[0]} cannot {task}: {why}")
    return marshal.loads(done.stdout)


def _runs(command: str, version: str) -> bool:
    """A python3.X on PATH may be the shim of a version manager that has no such version active."""
    test = f"import sys; sys.exit(sys.version_info[:2] != ({version.replace('.', ', ')}))"
    return subprocess.run([command, "-I", "-S", "-c", test], capture_output=True, check=False).returncode == 0
