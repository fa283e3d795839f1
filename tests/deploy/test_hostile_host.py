# SPDX-License-Identifier: BSD-2-Clause
"""Another user's links, a foreign build folder and a board that prints without end lead nothing astray."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router import files
from router.console.serial_port import SerialPort
from router.deploy import remote, script, uboot
from router.deploy.events import Reporter
from router.deploy.job import Job, from_text, to_text
from router.deploy.lab_connection import LabHost
from router.deploy.lab_host import Lab
from router.deploy.plan import parse_plan, read_plan
from router.errors import DescriptionError, HostError, MachineError
from router.lab import power
from router.lab.board import Board, Power
from router.lab.lock import BoardLock, holder_of
from tests.deploy.lab import FACTS, write_build
from tests.support.patience import alive, wait_until


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the locks are."""
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(tmp_path / "locks"))
    return tmp_path / "locks"


def test_a_lock_folder_that_is_a_link_is_refused_and_what_it_points_to_stays(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(0o700)
    folder.symlink_to(victim)
    with pytest.raises(HostError, match="cannot use the lock file"), BoardLock("desk", "testing"):
        pass
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    assert list(victim.iterdir()) == []


@pytest.mark.parametrize("kind", ["symbolic", "hard", "pipe"])
def test_a_lock_file_that_is_a_link_or_a_pipe_is_refused(kind: str, folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    victim.chmod(0o600)
    folder.mkdir()
    lock = folder / "desk.lock"
    if kind == "symbolic":
        lock.symlink_to(victim)
    elif kind == "hard":
        os.link(victim, lock)
    else:
        os.mkfifo(lock)
    with pytest.raises(HostError), BoardLock("desk", "testing"):
        pass
    with pytest.raises(HostError):
        holder_of("desk")
    assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == ("kept", 0o600)


def test_the_lock_folder_is_made_for_all_users_who_cannot_remove_each_others_locks(folder: Path) -> None:
    with BoardLock("desk", "testing"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert holder_of("desk") is not None
    folder.chmod(0o777)
    with pytest.raises(HostError, match="other users can remove what is in this folder"), BoardLock("desk", "testing"):
        pass


def test_a_folder_of_ones_own_stays_ones_own(folder: Path) -> None:
    folder.mkdir(0o700)
    with BoardLock("desk", "testing"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", "x" * 64, "new\nline", ".hidden"])
def test_a_build_whose_guests_names_are_no_names_is_refused(name: str, build: Path) -> None:
    plan = write_build(build, facts=FACTS)
    raw = json.loads((build / "deploy.json").read_text())
    raw["facts"]["guests"][0]["name"] = name
    with pytest.raises(DescriptionError, match="is not a guest's name"):
        parse_plan(raw, "deploy.json")
    job = json.loads(to_text(Job(plan=plan, board=Board(name="desk", kind="qemu", serial="x"), files={})))
    job["plan"]["facts"]["guests"][0]["name"] = name
    with pytest.raises(DescriptionError, match="is not a guest's name"):
        from_text(json.dumps(job))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_a_plan_that_is_too_much_to_read_is_no_plan(text: str, build: Path) -> None:
    (build / "deploy.json").write_text(text)
    with pytest.raises(DescriptionError, match="not JSON"):
        read_plan(build)


def test_numbers_of_any_length_from_a_board_are_read_within_bounds() -> None:
    digits = "9" * 5000
    assert script.bytes_of(f"Bytes transferred = {digits}") is None
    assert script.bytes_of(f"## Total Size = 0x{digits} = {digits} Bytes") is None
    assert script.bytes_of("Bytes transferred = 28290560 (1afac00 hex)") == 28290560
    script.check_memory(f"-> start = 0x{digits}\n-> size = 0x{digits}\nrelocaddr = 0x{digits}", ())
    start = time.monotonic()
    script.check_memory("-> start" + " " * 200_000 + "\n" + "->" * 100_000, ())
    assert script.bytes_of("## Total Size" + " " * 200_000) is None
    assert time.monotonic() - start < 5


class Flood:
    """A serial port from which a board prints without end."""

    device, baud = "flood", 115200

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def read(self, seconds: float) -> bytes:
        typed, self.sent = self.sent, b""
        return typed + b"#" * 65536 if typed else b"#" * 65536


def test_a_board_that_prints_without_end_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uboot.UBoot, "_submit", lambda *_: "mark")
    monkeypatch.setattr(uboot.UBoot, "abandon", lambda *_: None)
    port: SerialPort = Flood()  # type: ignore[assignment]
    with pytest.raises(MachineError, match="prints without end") as caught:
        uboot.UBoot(port, "=> ").run("bdinfo", seconds=60)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("command", ["sleep 60", "sleep 60 & sleep 60", "sleep 60 & wait"])
def test_a_power_command_that_hangs_is_ended_with_its_children(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "HOOK_TIMEOUT_S", 0.5)
    board = Board(name="desk", kind="qemu", serial="x", power=Power(cycle=f"echo $$ > {tmp_path}/pid; {command}"))
    start = time.monotonic()
    with pytest.raises(HostError, match="did not end within"):
        power.switch(board, "cycle")
    assert time.monotonic() - start < 20
    group = int((tmp_path / "pid").read_text())
    assert wait_until(lambda: not alive(group))


def test_a_power_command_may_leave_a_child_in_the_background(tmp_path: Path) -> None:
    start = time.monotonic()
    power.switch(Board(name="desk", kind="qemu", serial="x", power=Power(on="sleep 30 & echo done")), "on")
    assert time.monotonic() - start < 20


def test_the_last_words_of_a_power_command_are_shown_as_text() -> None:
    board = Board(name="desk", kind="qemu", serial="x", power=Power(on="printf 'no relay \\033[2J\\n'; exit 3"))
    with pytest.raises(HostError) as caught:
        power.switch(board, "on")
    assert "power on failed with status 3: no relay \\x1b[2J" in str(caught.value)


class EndlessHost(LabHost):
    """A lab host that answers every command without end, and says of every file that it is 1 TB."""

    def __init__(self) -> None:
        super().__init__("lab@evil")
        self.asked: list[int] = []

    def channel(self, command: str) -> Any:
        return self

    settimeout = sendall = shutdown_write = close = prefetch = lambda *_: None

    def recv(self, size: int) -> bytes:
        return b"x" * size

    @property
    def sftp(self) -> Any:
        return SimpleNamespace(open=lambda *_: contextlib.nullcontext(self))

    def stat(self) -> Any:
        return SimpleNamespace(st_size=1 << 40)

    def read(self, size: int) -> bytes:
        self.asked.append(size)
        return b"y" * size


def test_a_lab_host_that_answers_without_end_is_given_up_on(tmp_path: Path) -> None:
    host = EndlessHost()
    with pytest.raises(MachineError, match="answers with over 4 MiB and does not end"):
        host.run("anything")
    with pytest.raises(HostError, match="with a line of over 1048576 bytes"):
        Lab(host).follow("run", Reporter(lambda _: None))
    log = tmp_path / "console.log"
    Lab(host).fetch_log("run", log)
    assert sum(host.asked) == log.stat().st_size == files.MAX_LOG_BYTES
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_events_of_a_board_that_prints_without_end_are_bounded_and_private(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(plan=read_plan(build), board=Board(name="desk", kind="fake", serial="x"), files={})
    (tmp_path / remote.JOB).write_text(to_text(job))

    def print_on(job: Job, reporter: Reporter) -> None:
        for _ in range(1000):
            reporter.say("console", text="#" * 100)
        reporter.say("result", ok=True)

    monkeypatch.setattr("router.deploy.runner.deploy", print_on)
    monkeypatch.setattr(remote, "MAX_EVENTS_BYTES", 2000)
    assert remote.work(tmp_path, []) == 0
    events = tmp_path / remote.EVENTS
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    assert events.stat().st_size < 2500
    assert [line["event"] for line in lines[:3]] == ["console"] * 3
    assert lines[-1]["event"] == "result"
    assert stat.S_IMODE(events.stat().st_mode) == 0o600
