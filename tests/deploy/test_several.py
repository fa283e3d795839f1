# SPDX-License-Identifier: BSD-2-Clause
"""`router deploy --on a,b`: boards side by side, each with a time line, each with its own end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from router.deploy import remote
from router.lab import lock
from tests.deploy.fakeboard import FakeBoard, Faults
from tests.deploy.lab import SERVER, LabOfOne, write_build
from tests.deploy.ssh import lab_host
from tests.support.patience import PATIENCE, free_port, wait_until

NEVER = Faults(gate="/nonexistent", boot=("LDR|INFO: altloader",))
"""A board that begins to boot and goes no further."""


class LabOfTwo(LabOfOne):
    """The boards `desk` and `rack`, which ask one TFTP port of this computer, or each its own."""

    def __init__(self, folder: Path, desk: FakeBoard, rack: FakeBoard, one_port: bool = True, **extra: object) -> None:
        super().__init__(folder, desk)
        first, second = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        ports = {"desk": first, "rack": first if one_port else second}
        boards = {"desk": desk, "rack": rack}
        self.write(
            {
                name: {
                    "board": "fake",
                    "serial": board.device,
                    "network": {"board": f"127.0.0.{number}/8", "server": SERVER},
                    "tftp": {"port": ports[name]},
                    **extra,
                }
                for number, (name, board) in enumerate(boards.items(), 2)
            }
        )


@pytest.fixture
def desk() -> Iterator[FakeBoard]:
    with FakeBoard() as board:
        yield board


@pytest.fixture
def rack() -> Iterator[FakeBoard]:
    with FakeBoard() as board:
        yield board


@pytest.fixture
def two(tmp_path: Path, desk: FakeBoard, rack: FakeBoard) -> LabOfTwo:
    return LabOfTwo(tmp_path, desk, rack)


def test_two_boards_come_up_from_one_tftp_port_and_each_has_its_time_line(
    two: LabOfTwo, build: Path, desk: FakeBoard, rack: FakeBoard
) -> None:
    done = two.run("deploy", str(build), "--on", "desk,rack", timeout=4 * PATIENCE)
    assert done.returncode == 0
    image = (build / "loader.img").read_bytes()
    assert desk.memory[0x50000000] == rack.memory[0x50000000] == image
    lines = done.stdout.splitlines()
    for name in ("desk", "rack"):
        mine = [line for line in lines if line.startswith(f"{name:<16} ")]
        assert any("● client up" in line for line in mine)
        assert any("TFTP sent 300000 bytes" in line for line in mine)
        (last,) = (line for line in lines[-2:] if line in mine)
        assert " up " in last and ", loader 0." in last and ", client up 0." in last
        assert (build / "logs" / f"console-{name}.log").is_file()


def test_the_failure_of_one_board_leaves_the_other_alone_and_is_the_exit_code(
    two: LabOfTwo, build: Path, rack: FakeBoard
) -> None:
    rack.faults = Faults(corrupt=True)
    done = two.run("deploy", str(build), "--on", "desk,rack", "--json", timeout=4 * PATIENCE)
    assert done.returncode == 4
    events = [json.loads(line) for line in done.stdout.splitlines()]
    results = {event["board"]: event for event in events if event["event"] == "result"}
    assert results["desk"]["ok"] and not results["rack"]["ok"]
    assert "arrived damaged" in results["rack"]["error"]["message"]


def test_one_interrupt_ends_all_of_them_and_every_board_is_free(
    two: LabOfTwo, build: Path, desk: FakeBoard, rack: FakeBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_build(build, boot_seconds=600.0, quiet_seconds=600.0)
    desk.faults = rack.faults = NEVER
    log = tmp_path / "log"
    with log.open("wb") as out, ExitStack() as stack:
        process = subprocess.Popen(
            two.command("deploy", str(build), "--on", "desk,rack"), stdout=out, stderr=out, env=two.environment()
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert wait_until(lambda: log.read_text().count("● loader") == 2, 4 * PATIENCE), log.read_text()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(2 * PATIENCE) == 130
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(two.locks))
    assert lock.holder_of("desk") is None and lock.holder_of("rack") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_also_ends_the_deployments_behind_a_lab_host(
    number: int, build: Path, desk: FakeBoard, rack: FakeBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_build(build, boot_seconds=600.0, quiet_seconds=600.0)
    desk.faults = rack.faults = NEVER
    two = LabOfTwo(tmp_path, desk, rack, one_port=False, via="bench")
    log, folder = tmp_path / "log", tmp_path / "sshd"
    folder.mkdir()
    with log.open("wb") as out, lab_host(folder) as host, ExitStack() as stack:
        process = subprocess.Popen(
            two.command("deploy", str(build), "--on", "desk,rack"),
            stdout=out,
            stderr=out,
            env={**two.environment(), **host.environment},
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_until(lambda: process.poll() is not None or log.read_text().count("● loader") == 2, 6 * PATIENCE)
        assert log.read_text().count("● loader") == 2, log.read_text()
        os.kill(process.pid, number)
        assert process.wait(2 * PATIENCE) == 130
        monkeypatch.setenv("ROUTER_LOCK_DIR", str(folder / "locks"))
        assert wait_until(lambda: lock.holder_of("desk") is None and lock.holder_of("rack") is None)
        runs = sorted((host.home / ".cache/router/lab/runs").glob(f"*/{remote.EVENTS}"))
        results = [json.loads(run.read_text().splitlines()[-1]) for run in runs]
    # Else a board that says nothing for long ends its deployment too.
    assert [result["error"]["kind"] for result in results] == ["Stopped", "Stopped"]


def test_two_boards_behind_one_lab_host_that_ask_one_tftp_port_begin_nothing(
    build: Path, desk: FakeBoard, rack: FakeBoard, tmp_path: Path
) -> None:
    done = LabOfTwo(tmp_path, desk, rack, via="nowhere.invalid").run("deploy", str(build), "--on", "desk,rack")
    assert done.returncode == 2 and "tftp.port" in done.stderr
    assert "boards 'desk' and 'rack' ask port" in done.stderr and "on lab host nowhere.invalid" in done.stderr
    assert desk.received == rack.received == b""


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("desk,desk", "board 'desk' is named twice"),
        ("desk,rock", "no board 'rock' in the lab file"),
        ("desk,", "no board '' in the lab file"),
    ],
)
def test_a_list_of_boards_with_a_mistake_begins_nothing(
    names: str, message: str, two: LabOfTwo, build: Path, desk: FakeBoard
) -> None:
    done = two.run("deploy", str(build), "--on", names)
    assert done.returncode == 2 and message in done.stderr
    assert desk.received == b""
