# SPDX-License-Identifier: BSD-2-Clause
"""`router exec`, `usb` and `console` against a system that runs on a board: over its one line, for several at once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.control.place import socket_path
from router.deploy import holder_client as reach
from router.deploy import state
from router.deploy.job import DeployOptions, Job
from router.deploy.plan import DeployPlan, read_plan
from router.deploy.state import place_name
from router.lab.file import LabFile, choose, load
from router.lab.lock import BoardLock, holder_of
from tests.control.running import FakeSystem
from tests.deploy.lab import FACTS, LabOfOne, MakeLab, write_build
from tests.deploy.running_board import RunningBoard
from tests.deploy.ssh import lab_host, through
from tests.support.patience import PATIENCE, wait_until
from tests.support.screen import Screen
from tests.support.switch_counts import counts_of


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """State, sockets and locks of the test's own; paths of unix sockets are limited to 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="brd") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        monkeypatch.setenv("ROUTER_LOCK_DIR", str(tmp_path / "locks"))
        yield
        assert is_free(), "the process that served the board is still there"


def is_free() -> bool:
    """Whether nobody holds the board, now or soon."""
    return wait_until(lambda: holder_of("desk") is None)


@pytest.fixture
def plan(build: Path) -> DeployPlan:
    write_build(build, facts=FACTS)
    return read_plan(build)


@pytest.fixture
def board() -> Iterator[RunningBoard]:
    with RunningBoard() as one:
        yield one


@pytest.fixture
def one(lab: MakeLab, board: RunningBoard, plan: DeployPlan) -> LabOfOne:
    """A lab whose board runs what the plan describes, as a deployment would have noted."""
    state.remember("desk", plan)
    return lab(board)


@contextlib.contextmanager
def started(one: LabOfOne, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `router` that runs meanwhile, with pipes."""
    with subprocess.Popen(
        one.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=one.environment()
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_a_command_runs_in_a_guest_and_the_board_is_free_afterwards(one: LabOfOne, board: RunningBoard) -> None:
    done = one.run("exec", "--on", "desk", "client", "seq 500; exit 7")
    assert (done.returncode, done.stdout) == (7, "".join(f"{n}\n" for n in range(1, 501)))
    assert is_free()
    assert board.openings == 1


def test_the_state_tells_who_is_up_and_which_board_it_is(one: LabOfOne) -> None:
    done = one.run("usb", "list", "--on", "desk", "--json")
    # The programs of the guests are not there, which is told for each; nothing else is wrong.
    assert done.returncode == 4 and "is not up" not in done.stderr
    assert {"server", "client"} <= set(done.stderr.replace("'", " ").replace(":", " ").split())


def test_several_clients_share_a_board_and_a_watching_one_gets_events(one: LabOfOne, board: RunningBoard) -> None:
    with started(one, "usb", "watch", "--on", "desk", "--json", "--count", "1") as watcher:
        assert watcher.stdout is not None
        assert wait_until(lambda: board.openings)
        assert one.run("exec", "--on", "desk", "client", "echo both").stdout == "both\n"
        holder = holder_of("desk")
        assert holder is not None and (holder.doing, holder.leaves) == ("serving demo", True)
        board.speak("client| [   9.0] router: guest client: attached 1-2 port 4")
        event = json.loads(watcher.stdout.readline())
        assert (event["guest"], event["event"], event["detail"]) == ("client", "attached", "1-2 port 4")
        assert watcher.wait(PATIENCE) == 0
    assert board.openings == 1


def test_a_guests_console_is_shown_alone_while_others_work(one: LabOfOne, build: Path, board: RunningBoard) -> None:
    with started(one, "console", "--on", "desk", "--guest", "client") as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"ls -l\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"typed ls -l\n"
        for line in ("server| secret", "client| hello", "MON|INFO: x"):
            board.speak(line)
        assert process.stdout.readline() == b"hello\n"
        assert one.run("exec", "--on", "desk", "client", "echo meanwhile").stdout == "meanwhile\n"
        process.stdin.write(b"exit\n\x1dnot this\n")
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0
        rest = process.stdout.read()
    assert b"secret" not in rest and b"not this" not in rest


def test_the_live_view_is_about_the_board_and_a_key_leaves_to_a_console_and_back(
    one: LabOfOne, board: RunningBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in one.environment().items():
        monkeypatch.setenv(name, value)
    with Screen(one.command("top", "--on", "desk"), tmp_path, 120, 40) as screen:
        screen.until(lambda text: "demo · board · up" in text and "2 of 2 guests up" in text)
        screen.until(lambda text: "no counters: the switch is a protection domain, and" in text)
        board.speak("client| [   9.0] router: guest client: attached 1-2 port 4")
        screen.until(lambda text: "device attached: 1-2 port 4" in text)
        screen.send("c")
        screen.until(lambda text: "the console of which guest?" in text)
        screen.send("\x1b[B\r")
        screen.until(lambda text: "console of client; Ctrl-] leaves it" in text)
        screen.send("ls -l\n")
        screen.until(lambda text: "typed ls -l" in text)
        screen.send("\x1d")
        screen.until(lambda text: "2 of 2 guests up" in text and "typed" not in text)
        screen.send("q")
        assert screen.ended() == 0


def test_by_key_a_device_of_a_board_is_attached_taken_by_another_guest_and_detached(
    lab: MakeLab, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = FakeSystem("demo")
    write_build(build, facts=system.facts)
    state.remember("desk", read_plan(build))

    def answer(guest: str, command: str) -> tuple[int, bytes]:
        return system.execute(guest, command, PATIENCE)

    counts = {place: counts_of(CONNECTED=1, vlan=place) for place in range(len(system.facts.names))}
    with RunningBoard(guests=system.facts.names, answer=answer, counts=counts) as board:
        one = lab(board)
        for name, value in one.environment().items():
            monkeypatch.setenv(name, value)
        with Screen(one.command("top", "--on", "desk", "--interval", "0.5"), tmp_path, 120, 40) as screen:
            screen.until(lambda text: bool(re.search(r"1-3 +QEMU USB Mouse +no guest", text)))
            screen.until(lambda text: bool(re.search(r"client.* 1 +vlan 1", text)))
            screen.send("\x1b[B")
            for key, question, said, row in (
                ("a", "attach 1-3 (QEMU USB Mouse) to which guest?", "is on port 2 of 'client'", "client, port 2"),
                ("t", "give 1-3 (QEMU USB Mouse), which 'client' has, to", "is on port 1 of 'small'", "small, port 1"),
                ("d", "detach 1-3 (QEMU USB Mouse) from 'small'?", "is taken from port 1 of 'small'", "no guest"),
            ):
                screen.send(key)
                screen.until(lambda text, shown=question: shown in text)  # type: ignore[misc]
                screen.send("\r")
                screen.until(lambda text, shown=f"server/1-3 {said}": shown in text)  # type: ignore[misc]
                screen.until(lambda text, shown=row: bool(re.search(f"1-3 +QEMU USB Mouse +{shown}", text)))  # type: ignore[misc]
            screen.send("q")
            assert screen.ended() == 0
        assert system.held.get("1-3") is None


def test_two_consoles_at_once_do_not_mix(one: LabOfOne) -> None:
    with (
        started(one, "console", "--on", "desk", "--guest", "client") as client,
        started(one, "console", "--on", "desk", "--guest", "server") as server,
    ):
        for process, word in ((client, b"first"), (server, b"second"), (client, b"third")):
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"typed " + word + b"\n"


def test_a_console_can_say_what_runs_there(lab: MakeLab, board: RunningBoard, plan: DeployPlan, build: Path) -> None:
    one = lab(board)
    unknown = one.run("exec", "--on", "desk", "client", "true")
    assert unknown.returncode == 2
    assert "it is not known what runs on board 'desk'" in unknown.stderr
    assert "no guest 'clint'" in one.run("console", str(build), "--on", "desk", "--guest", "clint").stderr
    done = one.run("console", str(build), "--on", "desk", "--guest", "client", data="uname\n")
    assert (done.returncode, done.stdout) == (0, "typed uname\n"), done.stderr
    assert one.run("exec", "--on", "desk", "client", "echo known").stdout == "known\n"


def test_a_line_without_the_system_is_said_and_soon(lab: MakeLab, plan: DeployPlan) -> None:
    state.remember("desk", plan)
    with RunningBoard(silent=True) as board:
        start = time.monotonic()
        done = lab(board).run("exec", "--on", "desk", "client", "true")
        assert time.monotonic() - start < 40, "a guest that boots would be waited for longer"
    assert done.returncode == 4
    assert "nothing on the board's serial line is 'demo'" in done.stderr


def test_a_line_that_goes_away_ends_what_waits_for_it(one: LabOfOne, board: RunningBoard, tmp_path: Path) -> None:
    began, end = tmp_path / "began", tmp_path / "end"
    waiting = f"touch {began}; until [ -e {end} ]; do sleep 0.1; done"
    with started(one, "exec", "--on", "desk", "client", waiting) as process:
        assert wait_until(began.exists)
        board.unplug()
        assert process.wait(PATIENCE) == 4
        end.touch()


def test_a_board_with_clients_is_not_taken(one: LabOfOne) -> None:
    with BoardLock("desk", "soldering"):
        done = one.run("exec", "--on", "desk", "client", "true")
    assert done.returncode == 4
    assert f"(process {os.getpid()}, soldering)" in done.stderr


def test_a_command_that_needs_the_whole_board_waits_for_a_session_without_clients(one: LabOfOne) -> None:
    one.file.write_text(one.file.read_text().replace('"serial"', '"power": {"cycle": "true"}, "serial"'))
    assert one.run("exec", "--on", "desk", "client", "true").returncode == 0
    assert one.run("power", "cycle", "--on", "desk").returncode == 0


def test_a_board_can_be_stolen_from_who_watches_it(one: LabOfOne, board: RunningBoard) -> None:
    one.file.write_text(one.file.read_text().replace('"serial"', '"power": {"cycle": "true"}, "serial"'))
    with started(one, "usb", "watch", "--on", "desk") as watcher:
        assert wait_until(lambda: board.openings)
        assert one.run("exec", "--on", "desk", "client", "true").returncode == 0
        refused = one.run("power", "cycle", "--on", "desk")
        assert refused.returncode == 4 and "serving demo" in refused.stderr
        assert one.run("power", "cycle", "--on", "desk", "--steal").returncode == 0
        watcher.wait(PATIENCE)


def test_a_holder_that_leaves_just_then_is_replaced(
    one: LabOfOne, plan: DeployPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be gone before who has started it gets to connect, and may hang up on who connects while it leaves."""
    board = choose(load(LabFile(one.file)), "desk", None, one.file).board
    started: list[socket.socket] = []

    def start(_: Job) -> None:
        """Somebody who hangs up on the first that comes, nobody, and then somebody who stays."""
        listener = socket.socket(socket.AF_UNIX)
        path = socket_path(place_name("desk"))
        path.unlink(missing_ok=True)
        started.append(listener)
        if len(started) == 2:
            return
        listener.bind(str(path))
        listener.listen()

        def serve(greeting: bytes) -> None:
            stream, _ = listener.accept()
            with stream:
                stream.sendall(greeting)

        threading.Thread(target=serve, args=(b"" if len(started) == 1 else b"hello",), daemon=True).start()

    monkeypatch.setattr(reach, "_start", start)
    with reach.reach(Job(plan=plan, board=board, files={}, options=DeployOptions())) as stream:
        assert stream.recv(5) == b"hello"
    for each in started:
        each.close()
    assert len(started) == 3


@pytest.mark.deploy
def test_a_board_behind_a_lab_host_is_reached_as_one_on_this_desk(
    lab: MakeLab,
    board: RunningBoard,
    build: Path,
    plan: DeployPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with lab_host(folder) as host:
        one = lab(board, via="bench")
        done = through(one, host, "exec", "--on", "desk", "client", "true")
        assert done.returncode == 2 and "it is not known what runs on board 'desk'" in done.stderr
        done = through(one, host, "console", str(build), "--on", "desk", "--guest", "client", data="uname\n")
        assert (done.returncode, done.stdout) == (0, "typed uname\n"), done.stderr
        done = through(one, host, "exec", "--on", "desk", "client", "seq 500; exit 7")
        assert (done.returncode, len(done.stdout.split())) == (7, 500), done.stderr
        assert (host.home / ".local/state/router/boards/desk/plan.json").exists()
        assert not (tmp_path / "state/router/boards").exists(), "nothing is noted of the board on this side"
        monkeypatch.setenv("ROUTER_LOCK_DIR", str(folder / "locks"))
        assert is_free()
