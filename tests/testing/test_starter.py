# SPDX-License-Identifier: BSD-2-Clause
"""What `router init` writes for tests: they run as they are, and the workflows' commands are ones that exist."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.cli import build_parser
from router.requirements import DISTRIBUTION, packages
from router.starter import DESCRIPTION, WORKFLOWS
from tests.support.skips import skip
from tests.testing.fake import Boots

Says = Callable[..., str]
EXAMPLE = Path(__file__).parents[2] / "examples/usb-in-the-right-guest"


def commands(ci: str, text: str) -> list[str]:
    """The shell lines of a workflow."""
    flow: dict[str, Any] = yaml.safe_load(text)
    if ci == "gitlab":
        return [*flow["test"]["before_script"], *flow["test"]["script"]]
    runs = (step.get("run", "") for step in flow["jobs"]["test"]["steps"])
    return [line for run in runs for line in run.splitlines()]


@pytest.mark.parametrize("ci", WORKFLOWS)
def test_the_commands_of_a_workflow_install_everything_and_run_the_tests(
    pytester: pytest.Pytester, boots: Boots, says: Says, ci: str
) -> None:
    says("init", ".", "--ci", ci)
    lines = commands(ci, (pytester.path / WORKFLOWS[ci][0]).read_text())
    (installed,) = (line.split() for line in lines if line.startswith("apt-get install"))
    assert set(packages(tests=False)) <= set(installed)
    assert any(f"pip install {DISTRIBUTION} pytest" in line for line in lines)
    assert any("router sdk install" in line for line in lines)
    assert build_parser().parse_args(["sdk", "install"]).command == "sdk"
    (run,) = (line for line in lines if line.startswith("pytest "))
    words = shlex.split(run.replace("${{ matrix.mode }}", "$MODE").replace("$MODE", "microkit"))[1:]
    (pytester.path / "test_system.py").write_text('def test_one(router): assert router.mode == "microkit"')
    pytester.runpytest_inprocess(*words).assert_outcomes(passed=1)
    assert (pytester.path / "report.xml").is_file() and boots.setups[0].description.name == "system.yaml"


@pytest.mark.parametrize("ci", WORKFLOWS)
def test_a_workflow_keeps_logs_and_caches_what_takes_long(tmp_path: Path, says: Says, ci: str) -> None:
    says("init", str(tmp_path), "--ci", ci)
    text = (tmp_path / WORKFLOWS[ci][0]).read_text()
    home = "$CI_PROJECT_DIR/.home" if ci == "gitlab" else ""
    assert home in text
    for kept in ("logs/", "report.xml", ".cache/router", ".cache/pip", ".local/share"):
        assert kept in text


def problems(ci: str, file: Path) -> str:
    """What is wrong with a workflow by the schema that its service publishes; empty if nothing is.

    check-jsonschema brings the schemas: nothing is fetched.
    """
    if importlib.util.find_spec("check_jsonschema") is None:
        skip("schemas", "check-jsonschema is not installed: pip install -e '.[test]'")
    schema = {
        "github": ("vendor.github-workflows",),
        "gitlab": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
    }[ci]
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("ci", WORKFLOWS)
def test_a_workflow_is_as_the_services_own_schema_wants_it(tmp_path: Path, says: Says, ci: str) -> None:
    says("init", str(tmp_path), "--ci", ci)
    file = tmp_path / WORKFLOWS[ci][0]
    assert problems(ci, file) == ""
    wrong = {"github": ("runs-on:", "runs-at:"), "gitlab": ("when: always", "when: sometimes")}[ci]
    assert wrong[0] in file.read_text()
    file.write_text(file.read_text().replace(*wrong))
    assert "Schema validation errors" in problems(ci, file)


@pytest.mark.parametrize("ci", WORKFLOWS)
def test_the_example_project_has_the_workflows_that_are_written_today(tmp_path: Path, says: Says, ci: str) -> None:
    says("init", str(tmp_path), "--ci", ci)
    name = WORKFLOWS[ci][0]
    assert (EXAMPLE / name).read_text() == (tmp_path / name).read_text()
    assert (EXAMPLE / DESCRIPTION).is_file()


def test_a_project_that_is_there_gets_the_workflow_alone_and_once(tmp_path: Path, says: Says) -> None:
    (tmp_path / "system.yaml").write_text("mine\n")
    assert "next:" not in says("init", str(tmp_path), "--ci", "gitlab")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitlab-ci.yml", "system.yaml"]
    assert (tmp_path / "system.yaml").read_text() == "mine\n"
    assert ".gitlab-ci.yml exists: nothing is written" in says("init", str(tmp_path), "--ci", "gitlab", code=2)


def test_the_first_tests_are_collected_with_the_description_beside_them(
    pytester: pytest.Pytester, boots: Boots, says: Says
) -> None:
    says("init", ".")
    result = pytester.runpytest_inprocess("--router", "system.yaml", "--collect-only", "-q")
    result.stdout.fnmatch_lines(["test_system.py::test_every_guest_is_up", "3 tests collected*"])
    assert boots.setups == []
