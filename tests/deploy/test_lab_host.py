# SPDX-License-Identifier: BSD-2-Clause
"""Boards behind a lab host: a real sshd on loopback, with the fake board on its side."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.deploy.archive import make_archive
from router.deploy.remote import event_of
from router.errors import HostError
from router.lab import lock
from tests.deploy.fakeboard import FakeBoard, Faults
from tests.deploy.lab import LabOfOne, MakeLab, write_build
from tests.deploy.ssh import Host, keygen, lab_host, through
from tests.support.patience import PATIENCE, wait_until

pytestmark = pytest.mark.deploy


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with lab_host(folder) as one:
        yield one


def part_of(host: Host, data: bytes) -> Path:
    """Where an upload of `data` is put together on the lab host."""
    blobs = host.home / ".cache/router/lab/blobs"
    blobs.mkdir(parents=True)
    return blobs / f"{hashlib.sha256(data).hexdigest()}.part"


def lock_is_free(host: Host, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(host.home.parent / "locks"))
    return wait_until(lambda: lock.holder_of("desk") is None)


def test_a_board_behind_a_lab_host_comes_up_and_files_are_uploaded_once(
    build: Path, lab: MakeLab, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeBoard() as board:
        one = lab(board, via="bench")
        done = through(one, host, "deploy", str(build))
        assert done.returncode == 0
        assert "● client up" in done.stdout
        assert board.memory[0x50000000] == (build / "loader.img").read_bytes()
        assert lock_is_free(host, monkeypatch)
        assert "client| up" in (build / "logs" / "console-desk.log").read_text()
    with FakeBoard() as board:
        again = through(lab(board, via="bench"), host, "deploy", str(build))
        assert again.returncode == 0 and "everything was there already" in again.stdout


def test_an_error_on_the_lab_host_is_the_users_error(build: Path, lab: MakeLab, host: Host) -> None:
    with FakeBoard(Faults(corrupt=True)) as board:
        done = through(lab(board, via="bench"), host, "deploy", str(build))
        assert done.returncode == 4
        assert "loader.img arrived damaged" in done.stderr and "Traceback" not in done.stderr


def test_a_broken_upload_goes_on_where_it_stopped(build: Path, lab: MakeLab, host: Host) -> None:
    data = (build / "loader.img").read_bytes()
    part = part_of(host, data)
    part.write_bytes(data[:123_456])
    inode = part.stat().st_ino
    with FakeBoard() as board:
        assert through(lab(board, via="bench"), host, "deploy", str(build)).returncode == 0
    whole = part.with_suffix("")
    assert whole.stat().st_ino == inode and whole.read_bytes() == data


def test_what_a_broken_upload_left_is_not_trusted(build: Path, lab: MakeLab, host: Host) -> None:
    data = (build / "loader.img").read_bytes()
    part = part_of(host, data)
    part.write_bytes(bytes(1000))
    with FakeBoard() as board:
        assert through(lab(board, via="bench"), host, "deploy", str(build)).returncode == 0
        assert board.memory[0x50000000] == data


def test_a_file_that_changed_on_the_lab_host_is_not_deployed(build: Path, lab: MakeLab, host: Host) -> None:
    data = (build / "loader.img").read_bytes()
    part_of(host, data).with_suffix("").write_bytes(bytes(len(data)))
    with FakeBoard() as board:
        done = through(lab(board, via="bench"), host, "deploy", str(build))
        assert done.returncode == 2 and board.commands == []
        assert "the file has changed since it was built" in done.stderr


def started(one: LabOfOne, host: Host, build: Path) -> subprocess.Popen[str]:
    """A deployment that has reached its first milestone."""
    process = subprocess.Popen(
        one.command("deploy", str(build)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**one.environment(), **host.environment},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "●" in line:
            return process
    raise AssertionError(f"no milestone: {process.communicate()}")


def test_a_broken_connection_is_mended_and_the_deployment_goes_on(
    build: Path, lab: MakeLab, host: Host, tmp_path: Path
) -> None:
    write_build(build, quiet_seconds=120.0, boot_seconds=120.0)
    gate = tmp_path / "gate"
    with FakeBoard(Faults(boot=("LDR|INFO: x",), gate=str(gate))) as board:
        with started(lab(board, via="bench"), host, build) as process:
            host.cable.cut()
            time.sleep(0.3)
            gate.touch()
            out, err = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, err
        assert "the connection to bench broke" in out and "● client up" in out
        assert host.cable.connections >= 2


def test_a_client_that_died_is_resumed(build: Path, lab: MakeLab, host: Host, tmp_path: Path) -> None:
    write_build(build, quiet_seconds=120.0, boot_seconds=120.0)
    gate = tmp_path / "gate"
    with FakeBoard(Faults(boot=("LDR|INFO: x",), gate=str(gate))) as board:
        one = lab(board, via="bench")
        with started(one, host, build) as process:
            process.kill()
            process.communicate()
        busy = through(one, host, "deploy", str(build))
        assert busy.returncode == 4 and re.search(
            r"board 'desk' is held by \S+ \(process \d+, deploying demo\)", busy.stderr
        )
        gate.touch()
        resumed = through(one, host, "deploy", str(build), "--resume")
        assert resumed.returncode == 0 and "● loader" in resumed.stdout and "● client up" in resumed.stdout


def test_ctrl_c_ends_the_deployment_on_the_lab_host_too(
    build: Path, lab: MakeLab, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_build(build, quiet_seconds=120.0, boot_seconds=120.0)
    with FakeBoard(Faults(boot=("LDR|INFO: x",))) as board, started(lab(board, via="bench"), host, build) as process:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 130
        assert lock_is_free(host, monkeypatch)


def test_a_host_whose_key_is_not_known_is_refused(build: Path, lab: MakeLab, host: Host) -> None:
    (host.client / ".ssh" / "known_hosts").write_text("")
    with FakeBoard() as board:
        done = through(lab(board, via="bench"), host, "deploy", str(build))
        assert done.returncode == 3 and "the host key of bench is not known" in done.stderr


def test_a_host_whose_key_has_changed_is_refused(build: Path, lab: MakeLab, host: Host, tmp_path: Path) -> None:
    keygen(tmp_path / "other")
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    (host.client / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{host.cable.port} {other}\n")
    with FakeBoard() as board:
        done = through(lab(board, via="bench"), host, "deploy", str(build))
        assert done.returncode == 3 and "the host key of bench is not the known one" in done.stderr


def test_a_host_that_does_not_know_us_is_said(build: Path, lab: MakeLab, host: Host) -> None:
    (host.home.parent / "authorized_keys").write_text("")
    with FakeBoard() as board:
        done = through(lab(board, via="bench"), host, "deploy", str(build))
        assert done.returncode == 3 and "bench does not let us in" in done.stderr


def test_power_boards_console_and_undeploy_work_through_the_lab_host(
    build: Path, lab: MakeLab, host: Host, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    power = {"cycle": f"echo cycle $ROUTER_BOARD >> {marks}", "off": f"echo off >> {marks}"}
    with FakeBoard() as board:
        one = lab(board, via="bench", power=power)
        assert through(one, host, "power", "cycle", "--on", "desk").returncode == 0
        listed = through(one, host, "boards")
        assert listed.returncode == 0 and "via bench  ready" in listed.stdout
        typed = through(one, host, "console", "--on", "desk", data="printenv board\r")
        assert typed.returncode == 0 and "board=qemu-arm" in typed.stdout
        assert through(one, host, "undeploy", str(build)).returncode == 0
    assert marks.read_text().split() == ["cycle", "desk", "off"]


def test_the_runner_needs_nothing_but_python(tmp_path: Path) -> None:
    archive = make_archive()
    assert archive == make_archive()
    path = tmp_path / archive.name
    path.write_bytes(archive.data)
    base = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run([base, "-I", "-S", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("usage: runner {admit,latest,start,")
    assert len(archive.data) < 200_000
    assert os.fsencode("pydantic") not in archive.data


def test_an_old_python_on_the_lab_host_is_said(tmp_path: Path) -> None:
    source = zipfile.ZipFile(io.BytesIO(make_archive().data)).read("__main__.py").decode()
    stub = "import sys; sys.version_info = (3, 9, 2); exec(compile(sys.stdin.read(), 'main', 'exec'))"
    done = subprocess.run([sys.executable, "-c", stub], input=source, capture_output=True, text=True, check=False)
    found = event_of(done.stdout)
    assert done.returncode == 3 and isinstance(found, HostError)
    assert str(found) == "error: this host has Python 3.9\n  Python 3.11 or newer is needed there"
