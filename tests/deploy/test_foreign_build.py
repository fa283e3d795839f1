# SPDX-License-Identifier: BSD-2-Clause
"""A build folder from another computer is sent to no board before its user has agreed to what is in it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from router import trusted
from router.cli import main
from router.deploy.plan import read_plan
from router.errors import DescriptionError
from router.lab import file as lab_file
from router.microkit.loader_image import IMAGE, MADE_OF_IT, REPORT, discard_ours
from tests.deploy.lab import write_build


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
    with pytest.raises(DescriptionError, match="another user or on another computer, or long ago"):
        read_plan(foreign, ours=True)


def test_a_payload_that_was_exchanged_is_not_what_was_agreed_to(foreign: Path, lab: Path) -> None:
    assert main(["trust", str(foreign)]) == 0
    image = foreign / "loader.img"
    data = image.read_bytes()
    image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(DescriptionError, match="has changed since it was built"):
        read_plan(foreign, ours=True)
    assert deploy(foreign, lab) == 2


def test_ones_own_build_needs_no_agreement(build: Path, lab: Path) -> None:
    assert deploy(build, lab) == 3


def test_a_log_folder_that_leads_elsewhere_is_not_written_through(
    build: Path, lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (build / "logs").symlink_to(elsewhere)
    assert deploy(build, lab) == 3
    assert f"{build / 'logs'}: error: this is not a folder but a symbolic link" in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_everything_that_is_agreed_to_is_shown(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads((foreign / "deploy.json").read_text())
    plan |= {"failures": ["(evil+)+$"], "prompt": "evil> ", "prepare": ["run\x1bevil"]}
    (foreign / "deploy.json").write_text(json.dumps(plan))
    assert main(["trust", str(foreign)]) == 0
    shown = capsys.readouterr().out.splitlines()
    for line in (
        "  => run\\x1bevil",
        "  => go 0x50000000",
        "  failures[0]: (evil+)+$",
        "  prompt: evil> ",
        "  identity: qemu-arm",
        "  milestones[0] name: loader",
        "  milestones[0] pattern: LDR\\|INFO",
    ):
        assert line in shown


class Person(io.StringIO):
    """A terminal at which an answer is typed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "agrees"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_on_a_terminal_nothing_is_recorded_before_the_answer(
    answer: str,
    agrees: bool,
    foreign: Path,
    lab: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (foreign / "boards.yaml").write_text(lab.read_text())
    for what in (foreign, foreign / "boards.yaml"):
        monkeypatch.setattr("sys.stdin", Person(answer))
        assert main(["trust", str(what)]) == (0 if agrees else 1)
        said = capsys.readouterr()
        assert "do you agree" in said.err.lower() and ("trusted" in said.out) == agrees
    assert deploy(foreign, foreign / "boards.yaml") == (3 if agrees else 2)
    found = contextlib.nullcontext() if agrees else pytest.raises(DescriptionError, match="not trusted yet")
    with found:
        lab_file.load(lab_file.LabFile(foreign / "boards.yaml", needs_trust=True))


def test_what_is_recorded_is_what_was_shown_whatever_the_file_becomes(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Person):
        def readline(self, *_: object) -> str:  # type: ignore[override]
            plan = json.loads((foreign / "deploy.json").read_text())
            (foreign / "deploy.json").write_text(json.dumps(plan | {"start": "run evil"}))
            return "y\n"

    monkeypatch.setattr("sys.stdin", Slow())
    assert main(["trust", str(foreign)]) == 0
    with pytest.raises(DescriptionError, match="not trusted yet"):
        read_plan(foreign, ours=True)


def test_without_an_sdk_a_build_that_was_copied_in_is_left_as_it_is(
    foreign: Path, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.pipeline.inputs.find_sdk", lambda *_: None)
    before = {path.name: path.read_bytes() for path in foreign.iterdir()}
    assert main(["deploy", "qemu.yaml", "-o", str(foreign), "--lab", str(lab)]) == 3
    said = capsys.readouterr().err
    assert "making one needs a Microkit SDK" in said
    assert f"--no-build takes the build that is in {foreign}" in said
    assert {path.name: path.read_bytes() for path in foreign.iterdir()} == before


def test_the_error_names_no_build_to_take_where_there_is_none(
    tmp_path: Path, lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.pipeline.inputs.find_sdk", lambda *_: None)
    assert main(["deploy", "qemu.yaml", "-o", str(tmp_path / "none"), "--lab", str(lab)]) == 3
    assert "--no-build" not in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_build_without_an_sdk_removes_what_an_earlier_one_made_and_nothing_else(build: Path, tmp_path: Path) -> None:
    for name in (IMAGE, REPORT):
        (build / name).write_text("made here")
        trusted.remember(build / name, name)
    write_build(build)
    copy = tmp_path / "from-elsewhere"
    copy.mkdir()
    for name in MADE_OF_IT:
        (copy / name).write_text("made elsewhere")
    for folder in (build, copy):
        discard_ours(folder)
    assert sorted(path.name for path in build.iterdir()) == []
    assert sorted(path.name for path in copy.iterdir()) == sorted(MADE_OF_IT)


def test_what_was_only_agreed_to_is_not_ours_to_remove(foreign: Path) -> None:
    assert main(["trust", str(foreign)]) == 0
    discard_ours(foreign)
    assert (foreign / "deploy.json").exists() and (foreign / "loader.img").exists()
    read_plan(foreign, ours=True)
