# SPDX-License-Identifier: BSD-2-Clause
"""A build folder from another computer is sent to no board before its user has agreed to what is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.cli import main
from router.deploy.plan import read_plan
from router.errors import DescriptionError


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A lab file with a board that nothing answers for."""
    path = tmp_path / "boards.yaml"
    entry = {"board": "fake", "serial": str(tmp_path / "tty"), "load": "ymodem"}
    path.write_text(json.dumps({"boards": {"desk": entry}}))
    return path


@pytest.fixture
def foreign(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build folder, as a user who has not made it has it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-users-state"))
    return build


def deploy(build: Path, lab: Path, *words: str) -> int:
    return main(["deploy", str(build), "--lab", str(lab), *words])


def test_a_foreign_build_is_refused_with_what_to_do(
    foreign: Path, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(foreign, lab) == 2
    said = capsys.readouterr().err
    assert "was made by another user or on another computer" in said
    assert f"router trust {foreign}" in said


def test_its_commands_can_be_looked_at_before(foreign: Path, lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert deploy(foreign, lab, "--dry-run") == 0
    assert "=> go 0x50000000" in capsys.readouterr().out


def test_what_was_agreed_to_is_shown_and_used_until_it_changes(
    foreign: Path, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trust", str(foreign)]) == 0
    shown = capsys.readouterr().out
    digest = read_plan(foreign, ours=True).payloads[0].sha256
    assert f"SHA-256 {digest}" in shown and "=> go 0x50000000" in shown
    assert deploy(foreign, lab) == 3  # there is no such serial device
    plan = json.loads((foreign / "deploy.json").read_text())
    plan["start"] = "run evil"
    (foreign / "deploy.json").write_text(json.dumps(plan))
    assert deploy(foreign, lab) == 2
    with pytest.raises(DescriptionError, match="another user or on another computer"):
        read_plan(foreign, ours=True)


def test_a_payload_that_was_exchanged_is_not_what_was_agreed_to(foreign: Path, lab: Path) -> None:
    assert main(["trust", str(foreign)]) == 0
    image = foreign / "loader.img"
    image.write_bytes(image.read_bytes()[:-1] + b"!")
    with pytest.raises(DescriptionError, match="has changed since it was built"):
        read_plan(foreign, ours=True)
    assert deploy(foreign, lab) == 2


def test_ones_own_build_needs_no_agreement(build: Path, lab: Path) -> None:
    assert deploy(build, lab) == 3
