# SPDX-License-Identifier: BSD-2-Clause
"""Every project's pytest loads the plugin where router is installed: it must cost next to nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parents[2]
MAX_IMPORT_US = 20_000
LISTS = """
import json, sys
from pathlib import Path
def pytest_sessionfinish(): Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""


def child(*words: str, folder: Path = ROOT, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True)


def modules_after(folder: Path, *words: str) -> set[str]:
    """What pytest has imported at the end of a run without tests that want a system."""
    (folder / "conftest.py").write_text(LISTS)
    (folder / "test_alone.py").write_text("def test_alone(): pass\n")
    child("-m", "pytest", "-q", "-p", "no:hypothesispytest", *words, folder=folder)
    return set(json.loads((folder / "modules.json").read_text()))


def test_a_run_without_a_system_imports_the_plugin_and_nothing_else_of_router(tmp_path: Path) -> None:
    modules = modules_after(tmp_path)
    assert {name for name in modules if name.split(".")[0] == "router"} == {"router", "router.pytest_plugin"}
    assert modules.isdisjoint({"pydantic", "yaml", "jinja2", "fabric", "serial", "pyfdt"})


def test_with_a_description_it_is_read_at_the_start(tmp_path: Path) -> None:
    assert {"pydantic", "router.description.load"} <= modules_after(tmp_path, "--router", "qemu.yaml")


def test_the_plugin_is_imported_in_20_ms() -> None:
    def took() -> int:
        shown = child("-c", "import pytest, router.pytest_plugin", options=("-X", "importtime")).stderr
        (line,) = (line for line in shown.splitlines() if line.rstrip().endswith("router.pytest_plugin"))
        return int(line.split("|")[1])

    # Other load only ever adds to it.
    quickest = min(took() for _ in range(5))
    print(f"{quickest} microseconds")
    assert quickest < MAX_IMPORT_US


def test_it_is_the_entry_point_of_the_distribution(request: pytest.FixtureRequest) -> None:
    names = [name for name, _ in request.config.pluginmanager.list_name_plugin()]
    assert "router" in names, "pip install -e . makes the entry point known"
