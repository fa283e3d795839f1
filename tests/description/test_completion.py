# SPDX-License-Identifier: BSD-2-Clause
"""Shell completion of the command line."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from router.cli import build_parser, completion
from tests.support.patience import PATIENCE


def command_line() -> argparse.ArgumentParser:
    """A command line of the shape that all commands with a description have."""
    parser = argparse.ArgumentParser(prog="router")
    commands = parser.add_subparsers()
    check = commands.add_parser("check", help="check a description")
    check.add_argument("file", metavar="FILE", help="a description")
    check.add_argument("-o", "--output", metavar="DIR", help="a folder")
    check.add_argument("--mode", choices=("split", "microkit"))
    completion.add_arguments(commands.add_parser("completion", help="print a script"))
    return parser


def complete_in_bash(script: str, words: list[str], folder: Path) -> set[str]:
    """What bash offers for the last word."""
    probe = f"""
{script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_shtab_router
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", probe], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_descriptions_folders_and_choices(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "systems").mkdir()
    script = completion.script(command_line(), "bash")
    offered = complete_in_bash(script, ["router", "check", ""], tmp_path)
    assert {"mine.yaml", "qemu.yaml", "maaxboard.yaml"} <= offered
    assert any(word.rstrip("/") == "systems" for word in offered)
    assert "notes.txt" not in offered
    assert complete_in_bash(script, ["router", "check", "maax"], tmp_path) == {"maaxboard.yaml"}
    assert complete_in_bash(script, ["router", "check", "--mode", "s"], tmp_path) == {"split"}
    assert {"check", "completion"} <= complete_in_bash(script, ["router", "c"], tmp_path)
    assert set(completion.SHELLS) == complete_in_bash(script, ["router", "completion", ""], tmp_path)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_gets_a_script_that_knows_the_commands(shell: str) -> None:
    script = completion.script(command_line(), shell)
    for word in ("check", "completion", "split"):
        assert word in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shipped_descriptions_are_offered(shell: str) -> None:
    assert "maaxboard.yaml" in completion.script(command_line(), shell)


def test_the_real_command_line_can_be_completed(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.run(argparse.Namespace(shell="bash")) == 0
    assert "_shtab_router" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_the_verbs_of_sdk_and_an_archive_to_install(tmp_path: Path) -> None:
    (tmp_path / "sdk.tar.gz").touch()
    script = completion.script(build_parser(), "bash")
    assert {"sdk", "init"} <= complete_in_bash(script, ["router", ""], tmp_path)
    assert {"install", "list"} <= complete_in_bash(script, ["router", "sdk", ""], tmp_path)
    assert {"--from", "--digest"} <= complete_in_bash(script, ["router", "sdk", "install", "--"], tmp_path)
    assert "sdk.tar.gz" in complete_in_bash(script, ["router", "sdk", "install", "--from", ""], tmp_path)
