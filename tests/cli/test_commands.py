# SPDX-License-Identifier: BSD-2-Clause
"""The command line: fast to start, the same everywhere, and honest in its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from router.cli import COMMANDS, build_parser, load, main
from tests.support.patience import PATIENCE, processor_seconds

ROOT = Path(__file__).parents[2]


def router(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "router", *words],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_worth_reading(name: str) -> None:
    shown = router(load(name).NAME, "--help")
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) > 5
    assert shown.stdout.splitlines()[0].startswith(f"usage: router {load(name).NAME}")


def test_help_starts_without_the_heavy_packages() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "router", "--help"],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
        cwd=ROOT,
    )
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert imported.isdisjoint({"pydantic", "jinja2", "fabric", "paramiko", "serial", "yaml", "pyfdt"})


def test_check_takes_less_than_half_a_second_of_processor_time(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "router", "check", "qemu.yaml")
    assert processor_seconds(*command, PYTHONPYCACHEPREFIX=str(tmp_path)) < 0.5


@pytest.mark.parametrize(
    ("words", "code"),
    [(["check"], 2), (["check", "no-such.yaml"], 2), (["run", "qemu.yaml", "--usb", "lamp"], 2), (["board", "pi"], 2)],
)
def test_what_the_user_got_wrong_is_exit_code_2_and_says_what_to_do(words: list[str], code: int) -> None:
    shown = router(*words)
    assert shown.returncode == code
    assert "error: " in shown.stderr
    assert shown.stdout == ""
    assert "Traceback" not in shown.stderr


def test_a_missing_program_is_exit_code_3_with_its_package(tmp_path: Path) -> None:
    shown = router("doctor", PATH=str(tmp_path))
    assert shown.returncode == 3
    assert "apt-get install device-tree-compiler" in shown.stdout
    assert "apt-get install qemu-system-arm" in shown.stdout


def test_doctor_is_data_for_programs() -> None:
    findings = json.loads(router("doctor", "--json").stdout)
    assert {"state", "what", "detail", "mend"} == set(findings[0])
    assert {finding["state"] for finding in findings} <= {"ok", "partly", "missing"}


def test_output_that_nobody_reads_is_no_error() -> None:
    shown = subprocess.run(
        f"{sys.executable} -m router check --list | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=True,
        cwd=ROOT,
    )
    assert len(shown.stdout.splitlines()) == 1
    assert shown.stderr == ""


def test_no_color_and_pipes_give_plain_text() -> None:
    assert "\x1b" not in router("check", "qemu.yaml").stdout


def test_the_invariants_are_listed_with_their_promises() -> None:
    rows = json.loads(router("check", "--list", "--json").stdout)
    assert len(rows) >= 30
    assert all(row["promise"] for row in rows)


def test_the_readme_names_only_commands_and_options_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text() + (ROOT / "docs/guide/getting-started.md").read_text()
    parser = build_parser()
    lines = [line.partition("#")[0] for line in text.splitlines() if line.startswith("router ")]
    assert len(lines) >= 10
    for line in lines:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)][1:]
        assert parser.parse_args(words).command in {load(name).NAME for name in COMMANDS}


def test_the_documents_link_only_to_files_that_exist() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document}: {target}"


@pytest.mark.packages
def test_the_picture_in_the_readme_is_what_the_program_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without an SDK the newest known one is planned for, whatever this computer has.
    monkeypatch.setattr("router.pipeline.inputs.find_sdk", lambda *_: None)
    assert main(["check", "maaxboard.yaml", "--picture", str(tmp_path / "system.svg")]) == 0
    assert (tmp_path / "system.svg").read_text() == (ROOT / "docs/system.svg").read_text()
