# SPDX-License-Identifier: BSD-2-Clause
"""`router deploy --on a,b`: boards side by side, each with a time line, each with its own end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from router.deploy import remote
from router.lab import lock
from tests.deploy.fakeboard import FakeBoard, Faults
from tests.deploy.lab import SERVER, LabOfOne, seeds_in, with_room_for_seeds, write_build
from tests.deploy.ssh import lab_host
from tests.support.patience import PATIENCE, free_port, wait_until

NEVER = Faults(gate="/nonexistent", boot=("LDR|INFO: altloader",))
"""A board that begins to boot and goes no further."""


class LabOfSeveral(LabOfOne):
    """Boards by name, which ask one TFTP port of this computer, or each its own."""

    def __init__(self, folder: Path, boards: Mapping[str, FakeBoard], one_port: bool = True, **extra: object) -> None:
        super().__init__(folder, next(iter(boards.values())))
        self.on = ",".join(boards)
        shared = free_port(socket.SOCK_DGRAM)
        self.write(
            {
                name: {
                    "board": "fake",
                    "serial": board.device,
                    "network": {"board": f"127.0.0.{number}/8", "server": SERVER},
                    "tftp": {"port": shared if one_port else free_port(socket.SOCK_DGRAM)},
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
def two(tmp_path: Path, desk: FakeBoard, rack: FakeBoard) -> LabOfSeveral:
    return LabOfSeveral(tmp_path, {"desk": desk, "rack": rack})


@pytest.fixture
def ten() -> Iterator[dict[str, FakeBoard]]:
    with ExitStack() as stack:
        yield {f"board-{number}": stack.enter_context(FakeBoard()) for number in range(10)}


def test_two_boards_come_up_from_one_tftp_port_and_each_has_its_time_line(
    two: LabOfSeveral, build: Path, desk: FakeBoard, rack: FakeBoard
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


@pytest.mark.parametrize("place", ["one port", "one folder"])
def test_each_board_gets_seeds_of_its_own_from_one_tftp_port_or_folder(
    place: str, build: Path, desk: FakeBoard, rack: FakeBoard, tmp_path: Path
) -> None:
    image = with_room_for_seeds(build)
    write_build(build)
    folder = tmp_path / "tftpboot"
    folder.mkdir()
    boards = {"desk": desk, "rack": rack}
    if place == "one port":
        two = LabOfSeveral(tmp_path, boards)
        dry = two.run("deploy", str(build), "--on", two.on, "--dry-run").stdout
        done = two.run("deploy", str(build), "--on", two.on, timeout=4 * PATIENCE)
        assert done.returncode == 0, done.stderr
        sent = [board.memory[0x50000000] for board in boards.values()]
        # What would be sent is what was sent.
        for board in boards.values():
            (load,) = (each for each in board.commands if each.startswith("tftpboot "))
            assert f"=> {load}\n" in dry
    else:
        # No TFTP server has this folder.
        desk.faults = rack.faults = Faults(tftp="\r\nTFTP error: 'File not found' (1)\r\nNot retrying...\r\n")
        two = LabOfSeveral(tmp_path, boards, tftp={"root": str(folder)})
        two.run("deploy", str(build), "--on", two.on, timeout=4 * PATIENCE)
        sent = [path.read_bytes() for path in folder.iterdir()]
    assert len(sent) == 2
    assert len({seed for each in sent for seed in seeds_in(each, image)}) == 8
    assert (build / "loader.img").read_bytes() == image


def test_the_failure_of_one_board_is_a_result_of_its_own_in_json(
    two: LabOfSeveral, build: Path, rack: FakeBoard
) -> None:
    rack.faults = Faults(corrupt=True)
    done = two.run("deploy", str(build), "--on", two.on, "--json", timeout=4 * PATIENCE)
    assert done.returncode == 4
    events = [json.loads(line) for line in done.stdout.splitlines()]
    results = {event["board"]: event for event in events if event["event"] == "result"}
    assert results["desk"]["ok"] and not results["rack"]["ok"]
    assert "arrived damaged" in results["rack"]["error"]["message"]


def test_of_ten_boards_from_one_job_the_failure_of_one_leaves_the_others_alone_and_is_the_exit_code(
    build: Path, ten: dict[str, FakeBoard], tmp_path: Path
) -> None:
    write_build(build, boot_seconds=600.0, quiet_seconds=600.0)
    lab, image = LabOfSeveral(tmp_path, ten), (build / "loader.img").read_bytes()
    ten["board-3"].faults = Faults(corrupt=True)
    done = lab.run("deploy", str(build), "--on", lab.on, timeout=10 * PATIENCE)
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    for name, board in ten.items():
        assert board.memory[0x50000000] == image
        assert any(line.startswith(f"{name} ") and "TFTP sent 300000 bytes" in line for line in lines)
    # Then one time line of each, in the order of the command line.
    verdicts = {line.split()[0]: line for line in lines[-len(ten) :]}
    assert list(verdicts) == list(ten)
    failed = verdicts.pop("board-3")
    assert " failed " in failed and ", client up " not in failed
    assert all(" up " in line and ", loader 0." in line and ", client up " in line for line in verdicts.values())
    assert "arrived damaged" in done.stderr


def test_one_interrupt_ends_all_ten_and_every_board_is_free(
    build: Path, ten: dict[str, FakeBoard], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_build(build, boot_seconds=600.0, quiet_seconds=600.0)
    lab = LabOfSeveral(tmp_path, ten)
    for board in ten.values():
        board.faults = NEVER
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(lab.locks))
    log = tmp_path / "log"
    with log.open("wb") as out, ExitStack() as stack:
        process = subprocess.Popen(
            lab.command("deploy", str(build), "--on", lab.on), stdout=out, stderr=out, env=lab.environment()
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert wait_until(lambda: log.read_text().count("● loader") == len(ten), 10 * PATIENCE), log.read_text()
        assert None not in map(lock.holder_of, ten)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(2 * PATIENCE) == 130
    assert [lock.holder_of(name) for name in ten] == [None] * len(ten)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_also_ends_the_deployments_behind_a_lab_host(
    number: int, build: Path, desk: FakeBoard, rack: FakeBoard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_build(build, boot_seconds=600.0, quiet_seconds=600.0)
    desk.faults = rack.faults = NEVER
    two = LabOfSeveral(tmp_path, {"desk": desk, "rack": rack}, one_port=False, via="bench")
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
    two = LabOfSeveral(tmp_path, {"desk": desk, "rack": rack}, via="nowhere.invalid")
    done = two.run("deploy", str(build), "--on", two.on)
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
    names: str, message: str, two: LabOfSeveral, build: Path, desk: FakeBoard
) -> None:
    done = two.run("deploy", str(build), "--on", names)
    assert done.returncode == 2 and message in done.stderr
    assert desk.received == b""
