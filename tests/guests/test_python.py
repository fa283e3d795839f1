# SPDX-License-Identifier: BSD-2-Clause
"""The trimmed Python: what of the library comes along, and what is made of the programs."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from router.errors import HostError
from router.guests import python
from tests.support.patience import PATIENCE

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = {
    "socket": "import os, selectors\ndef late():\n    import heavy\n",
    "selectors": "from collections import namedtuple\nif __name__ == '__main__':\n    import demo\n",
    "collections": "from . import abc\n",
    "collections.abc": "",
    "heavy": "",
    "demo": "",
    "json": "import json.decoder\n",
    "json.decoder": "",
    "os": "",
}


def chosen(program: str, extra: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> set[str]:
    library = {name: name in {"collections", "json"} for name in LIBRARY}
    return set(python.stdlib_closure({"program": program}, library, LIBRARY.__getitem__, extra, exclude)) - {"os"}


def never(version: str) -> list[str]:
    raise AssertionError(f"nobody should ask for Debian's Python {version} here")


def test_what_a_program_imports_comes_with_what_that_imports() -> None:
    assert chosen("import socket") == {"socket", "selectors", "collections", "collections.abc"}


def test_a_programs_late_imports_count_and_the_librarys_do_not() -> None:
    assert chosen("def f():\n    import json") == {"json", "json.decoder"}
    assert "heavy" not in chosen("import socket")


def test_imports_for_type_checkers_and_for_running_as_a_script_do_not_count() -> None:
    assert chosen("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import json\nelse:\n    import heavy") == {"heavy"}
    assert "demo" not in chosen("import selectors")


def test_the_library_is_read_by_a_python_of_its_version_which_may_be_newer_than_this_one() -> None:
    read: list[str] = []

    def newer(items: list[tuple[str, str, bool]]) -> list[list[str]]:
        read.extend(name for name, _, _ in items)
        return [["heavy"] if source == "a syntax of tomorrow" else [] for _, source, _ in items]

    library = {"socket": "a syntax of tomorrow", "heavy": "", "demo": ""}
    names = dict.fromkeys(library, False)
    found = python.stdlib_closure({"program": "import socket"}, names, library.__getitem__, (), (), newer)
    assert found == ["heavy", "socket"] == sorted(read)


def test_an_interpreter_reads_imports_in_a_process_of_its_own() -> None:
    importer = python.importer_for(python.interpreter_for(VERSION, never))
    assert importer([("a", "import b", False), ("c", "from . import d", True)]) == [["b"], ["c", "c.d"]]
    with pytest.raises(HostError, match=r"cannot read its library's modules: SyntaxError"):
        importer([("a", "import = b", False)])


def test_relative_imports_are_those_of_the_package() -> None:
    assert chosen("import collections") == {"collections", "collections.abc"}


def test_modules_can_be_added_and_left_out_by_name() -> None:
    assert chosen("import socket", extra=("demo",), exclude=("selectors",)) == {"socket", "demo"}


def test_compiling_twice_gives_the_same_bytes_in_one_zip() -> None:
    sources = python.program_sources()
    compiler = python.compiler_for(python.interpreter_for(VERSION, never))
    assert python.make_zipapp(sources, compiler) == python.make_zipapp(sources, compiler)


def test_the_zip_holds_only_compiled_modules_uncompressed_and_undated() -> None:
    compiler = python.compiler_for(python.interpreter_for(VERSION, never))
    packed = python.make_zipapp({"router": "", "router.errors": "x = 1\n"}, compiler)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.namelist() == ["__main__.pyc", "router/__init__.pyc", "router/errors.pyc"]
        for entry in archive.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)


def test_the_zipapp_of_our_programs_runs_and_keeps_its_help(tmp_path: Path) -> None:
    sources = python.program_sources()
    assert "router.usbip.__main__" in sources
    file = tmp_path / "usbip.pyz"
    file.write_bytes(python.make_zipapp(sources, python.compiler_for(python.interpreter_for(VERSION, never))))
    for verb in ("--help", "serve"):
        words = [sys.executable, "-I", "-S", str(file), verb, *([] if verb == "--help" else ["--help"])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert (done.returncode, done.stderr) == (0, "")
        assert "usage: usbip" in done.stdout


def test_without_a_python_of_the_guests_version_debians_own_is_asked_for() -> None:
    asked = []

    def debians(version: str) -> list[str]:
        asked.append(version)
        return [sys.executable]

    compiled = python.compiler_for(python.interpreter_for("3.98", debians))([("m", "m.py", "x = 1", python.OPTIMISED)])
    assert asked == ["3.98"]
    assert list(compiled) == ["m"]


def test_a_source_that_does_not_compile_is_an_error_that_quotes_the_compiler() -> None:
    with pytest.raises(HostError, match=r"cannot compile the guests' programs: SyntaxError: invalid syntax"):
        python.compiler_for(python.interpreter_for(VERSION, never))([("m", "m.py", "x = = 1", 1)])
