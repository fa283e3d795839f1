# SPDX-License-Identifier: BSD-2-Clause
"""A system runs once at a time, in a place that is its user's alone, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from router.control import place
from router.control.client import Connection, choose
from router.control.place import Claim, folder, own_name, running, socket_path, sweep
from router.errors import DescriptionError, HostError
from tests.support.patience import PATIENCE

HOLD = (
    "import sys, socket; from router.control.place import Claim\n"
    "claim = Claim(sys.argv[1]).__enter__(); s = socket.socket(socket.AF_UNIX); s.bind(str(claim.socket))\n"
    "print('held', flush=True); sys.stdin.read()"
)


def test_a_second_run_is_refused_with_the_pid_of_the_first() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, "desk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(HostError) as caught, Claim("desk"):
            pass
        assert caught.value.message == f"the system 'desk' runs already, in process {other.pid}"
        assert caught.value.hint is not None and f"kill -INT {other.pid}" in caught.value.hint
        assert running() == ["desk"]
        with Claim("shelf"):
            assert choose(None) == "desk"
        other.communicate("")


def test_what_a_killed_run_left_is_replaced() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, "desk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        other.send_signal(signal.SIGKILL)
    assert socket_path("desk").exists()
    assert running() == []
    with pytest.raises(HostError, match="does not answer"):
        Connection("desk")
    with Claim("desk") as claim:
        assert not claim.socket.exists()
    assert list(folder().iterdir()) == []


def test_the_lock_lasts_as_long_as_the_run() -> None:
    for _ in range(3):
        with Claim("desk"), pytest.raises(HostError), Claim("desk"):
            pass
    assert list(folder().iterdir()) == []


def test_who_looks_what_runs_keeps_no_run_from_starting() -> None:
    """Looking takes a lock for a moment, and somebody who looks may be stopped in just that moment."""
    looking = os.open(folder() / "desk.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(looking, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, os.close, (looking,))
    timer.start()
    with Claim("desk"), pytest.raises(HostError, match=f"in process {os.getpid()}"), Claim("desk"):
        pass
    timer.join()


def test_without_a_runtime_folder_there_is_one_of_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert folder() == tmp_path / f"router.{os.getuid()}"
    assert folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_a_place_that_is_not_ours_alone_is_refused(kind: str, runtime_folder: Path) -> None:
    path = runtime_folder / "router"
    if kind == "open to others":
        path.mkdir()
        path.chmod(0o755)
    elif kind == "a link":
        (runtime_folder / "elsewhere").mkdir(mode=0o700)
        path.symlink_to(runtime_folder / "elsewhere")
    else:
        path.write_text("")
    with pytest.raises(HostError) as caught:
        folder()
    assert caught.value.where == str(path)


def test_the_only_running_system_is_meant_when_none_is_named() -> None:
    with pytest.raises(DescriptionError, match="no system runs"):
        choose(None)
    with Claim("desk") as desk, Claim("shelf") as shelf, socket.socket(socket.AF_UNIX) as one:
        one.bind(str(desk.socket))
        assert choose(None) == "desk"
        with pytest.raises(DescriptionError) as caught:
            choose("shelf")
        assert (caught.value.message, caught.value.hint) == ("no system 'shelf' runs", "running: desk")
        with socket.socket(socket.AF_UNIX) as two:
            two.bind(str(shelf.socket))
            with pytest.raises(DescriptionError) as caught:
                choose(None)
    assert (caught.value.message, caught.value.hint) == ("2 systems run", "choose by --system: desk, shelf")


def test_what_a_killed_process_leaves_under_a_name_of_its_own_is_swept_away(runtime_folder: Path) -> None:
    for name in ("desk.4711", "desk", "@board.1"):
        (runtime_folder / "router").mkdir(mode=0o700, exist_ok=True)
        (runtime_folder / "router" / f"{name}.lock").touch()
        (runtime_folder / "router" / f"{name}.sock").touch()
    with Claim(own_name("desk")) as claim:
        claim.socket.touch()
        sweep()
        left = {path.name for path in (runtime_folder / "router").iterdir()}
    mine = {f"{own_name('desk')}.{kind}" for kind in ("lock", "sock")}
    assert left == mine | {f"{name}.{kind}" for name in ("desk", "@board.1") for kind in ("lock", "sock")}


CLAIM = """
import sys
from router.control.place import Claim
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    with Claim(sys.argv[1]) as claim:
        claim.socket.touch()
        assert claim.socket.exists() and claim.socket.with_suffix(".lock").exists()
"""


def test_those_who_sweep_keep_no_run_from_starting_and_take_nothing_of_it() -> None:
    claiming = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, f"desk.{number}", "300"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    over = threading.Event()

    def sweep_on() -> None:
        while not over.is_set():
            sweep()

    sweeping = [threading.Thread(target=sweep_on) for _ in range(2)]
    try:
        for one in claiming:
            assert one.stdout is not None and one.stdout.readline() == "ready\n"
        for thread in sweeping:
            thread.start()
        said = [one.communicate("go\n", timeout=PATIENCE)[1] for one in claiming]
    finally:
        over.set()
        for one in claiming:
            one.kill()
            one.wait()
        for thread in sweeping:
            thread.join()
    assert [(one.returncode, text) for one, text in zip(claiming, said, strict=True)] == [(0, ""), (0, "")]


def test_a_lock_that_is_about_to_be_taken_is_waited_for_by_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep comes between the making of the file and its locking, and is stopped while it has the file."""
    locked, go_on = threading.Event(), threading.Event()
    is_at = place._is_at

    def stopped(handle: int, path: Path) -> bool:
        if threading.current_thread() is sweeping:
            locked.set()
            go_on.wait(PATIENCE)
        return is_at(handle, path)

    monkeypatch.setattr(place, "_is_at", stopped)
    fresh = folder() / "desk.4711.lock"
    fresh.touch()
    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    assert locked.wait(PATIENCE)
    timer = threading.Timer(0.2, go_on.set)
    timer.start()
    with Claim("desk.4711"):
        sweeping.join()
        assert fresh.read_text() == f"{os.getpid()}\n"
    timer.join()
