# SPDX-License-Identifier: BSD-2-Clause
"""The stages of a first start on boards that misbehave: what was not seen, and what to look at on this board."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from router import files
from router.boards import board as board_of
from router.boards import names
from router.cli import main
from router.deploy.board_clock import BoardClock
from router.deploy.boot import Watcher
from router.deploy.emulated import SocketWire
from router.deploy.events import DeployEvent, Reporter
from router.deploy.plan import AwaitedMilestone, DeployPlan, Payload, parse_plan
from router.deploy.stages import done, serial_milestones, stage_milestones
from router.description.load import load
from router.errors import HostError, MachineError
from router.lab.records import to_json
from router.machines.process import Child
from router.microkit.sdk import require_sdk
from router.microkit.toolchain import find_toolchain
from router.plan.stages import CLIENT, GUESTS, SERIAL, TIMER, stage_description
from router.plan.system import plan_system
from tests.deploy.fakeboard import FakeBoard, Faults
from tests.deploy.lab import LabOfOne, MakeLab, write_build
from tests.unit.test_own_kernel import KERNEL

DRIVEN = "system< bring-up: the serial port is driven `08M001KHSlG"
HEARD = "system< bring-up: heard 1 bytes `08M001KHSlG"


def ticks(seconds: float) -> str:
    return (
        f"system< bring-up: timer: 10 ticks in 1.0 s, {seconds:.1f} s since the first, counter of 8333333 Hz `0kg001Guy"
    )


class Clock:
    """Time that goes on only as the board speaks."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Board:
    """Says each line after the time that goes with it; with `waits`, no second one before something was typed."""

    def __init__(self, clock: Clock, lines: Sequence[tuple[float, str]], waits: bool = False) -> None:
        self.clock, self.lines, self.waits = clock, list(lines), waits
        self.typed = b""
        self.said = 0

    def read(self, seconds: float) -> bytes:
        if not self.lines or (self.waits and self.said and not self.typed):
            self.clock.now += seconds
            return b""
        after, text = self.lines.pop(0)
        self.clock.now += after
        self.said += 1
        return text.encode() + b"\r\n"

    def write(self, data: bytes) -> None:
        self.typed += data


def plan(stage: int, board: str = "maaxboard", config: str = "release") -> DeployPlan:
    return DeployPlan(
        system="ladder",
        board=board,
        payloads=(Payload(file="loader.img", address=0, size=1, crc32=0, sha256=""),),
        start="go 0x50000000",
        milestones=tuple(serial_milestones(board_of(board), config, stage)),
        boot_seconds=60.0,
        quiet_seconds=20.0,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("router.deploy.boot.time", clock)
    return clock


def follow(stage: int, board: Board) -> list[str]:
    events: list[DeployEvent] = []
    return [seen.name for seen in Watcher(plan(stage), Reporter(events.append)).follow(board)]


def test_a_key_is_typed_once_the_board_has_spoken_and_not_before(clock: Clock) -> None:
    board = Board(clock, [(1.0, DRIVEN), (0.1, HEARD)], waits=True)
    assert follow(SERIAL, board) == ["serial port speaks", "serial port hears"]
    assert board.typed == b"\r"
    silent = Board(clock, [])
    with pytest.raises(MachineError, match="nothing was heard for 20 s, before the first milestone"):
        follow(SERIAL, silent)
    assert silent.typed == b""


def test_a_board_that_says_nothing_gets_its_own_addresses_to_look_at(clock: Clock) -> None:
    with pytest.raises(MachineError) as found:
        follow(SERIAL, Board(clock, []))
    hint = str(found.value)
    assert "the image runs at 0x50000000 only, started by 'go 0x50000000'" in hint
    assert "imx at 0x30860000, interrupt 58" in hint
    assert "config: debug" in hint


def test_a_board_that_speaks_and_hears_nothing_is_told_of_wire_and_interrupt(clock: Clock) -> None:
    with pytest.raises(MachineError) as found:
        follow(SERIAL, Board(clock, [(1.0, DRIVEN)]))
    assert "after 'serial port speaks'; not seen: serial port hears" in found.value.message
    assert "RX and TX" in str(found.value) and "interrupt 58" in str(found.value)


def test_a_silent_second_stage_points_at_the_timers_device(clock: Clock) -> None:
    with pytest.raises(MachineError) as found:
        follow(TIMER, Board(clock, []))
    assert "stage 1: if it prints this line and stage 2 does not" in str(found.value)
    assert "imx-gpt at 0x302d0000" in str(found.value)


def test_without_a_tick_the_timers_interrupt_is_named(clock: Clock) -> None:
    with pytest.raises(MachineError) as found:
        follow(TIMER, Board(clock, [(1.0, DRIVEN), (0.1, HEARD)]))
    assert f"the timer's interrupt: imx-gpt at 0x302d0000, interrupt {board_of('maaxboard').timer.irq}" in str(
        found.value
    )


def test_a_right_clock_is_seen_within_seconds(clock: Clock) -> None:
    lines = [(1.0, DRIVEN), (0.1, HEARD), *((1.0, ticks(n)) for n in range(1, 30))]
    assert follow(TIMER, Board(clock, lines))[-1] == "clock is right"
    assert clock.now < 1010


@pytest.mark.parametrize("factor", [3.0, 0.32, 1.1])
def test_a_wrong_frequency_is_noticed_and_both_times_are_said(clock: Clock, factor: float) -> None:
    lines = [(1.0, DRIVEN), (0.1, HEARD), *((factor, ticks(n)) for n in range(1, 200))]
    with pytest.raises(MachineError) as found:
        follow(TIMER, Board(clock, lines))
    assert "not seen: clock is right" in found.value.message
    assert "went by on the board's clock, and" in str(found.value)
    assert "CNTFRQ_EL0" in str(found.value)


def test_one_late_line_does_not_make_a_clock_wrong() -> None:
    clock = BoardClock()
    heard = [(1.0, 11.0), (2.0, 17.0), (3.0, 17.1), (4.0, 17.2), (5.0, 17.3), (6.0, 18.0)]
    assert not any(clock.hear(board, here) for board, here in heard[:-1])
    assert not clock.hear(6.0, 18.0)
    assert clock.hear(9.0, 21.0)
    assert clock.difference() == "8.0 s went by on the board's clock, and 10.0 s here"


def test_what_a_board_says_instead_of_a_number_is_no_time(clock: Clock) -> None:
    item = AwaitedMilestone(name="clock", pattern="at (.*)", port="", clock=True)
    lonely = AwaitedMilestone(name="no group", pattern="at", port="", clock=True)
    odd = DeployPlan(
        system="x", board="x", payloads=plan(SERIAL).payloads, start="go", milestones=(item, lonely), quiet_seconds=5.0
    )
    with pytest.raises(MachineError, match="not seen: clock, no group"):
        Watcher(odd, Reporter(lambda event: None)).follow(Board(clock, [(1.0, "at noon"), (1.0, "at 1e999999")]))


@pytest.mark.parametrize("stage", [SERIAL, TIMER])
@pytest.mark.parametrize("config", ["debug", "release"])
@pytest.mark.parametrize("board", names())
def test_every_milestone_says_what_to_look_at_and_travels_to_a_lab_host(board: str, config: str, stage: int) -> None:
    one = plan(stage, board, config)
    assert all(item.look.startswith("look at\n    1. ") for item in one.milestones)
    text = json.dumps({"format": 1} | to_json(one))
    assert parse_plan(json.loads(text), "here") == one


def milestones_of(description: Path, stage: int, text: str) -> list[str]:
    description.write_text(text)
    loaded = load(description).description
    roles = {"server": "server", "client": "client"}
    smaller = stage_description(loaded, stage, roles)
    return [
        item.name
        for item in stage_milestones(plan_system(smaller, board_of(loaded.board), roles=roles, sdk="2.3.0"), stage)
    ]


@pytest.mark.parametrize(("words", "printed"), [("quiet", False), ("loglevel=5", False), ("quiet loglevel=7", True)])
def test_a_quiet_kernel_need_not_say_its_version(words: str, printed: bool, tmp_path: Path) -> None:
    text = TWO.replace("image: usb-client", f"image: usb-client, bootargs: {words}")
    for stage in (CLIENT, GUESTS):
        names_of = milestones_of(tmp_path / "two.yaml", stage, text)
        assert ("client kernel" in names_of) is printed
        assert "client up" in names_of


def test_an_own_image_need_not_say_what_ours_say(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(KERNEL)
    (tmp_path / "initramfs").write_bytes(b"070701" + bytes(200))
    own = "image: {{kernel: Image, initramfs: initramfs, role: {}}}".format
    text = TWO.replace("image: usb-client", own("client")).replace("image: usb-server", own("server"))
    names_of = milestones_of(tmp_path / "two.yaml", GUESTS, text)
    assert names_of == ["server loading", "server starts", "client loading", "client starts"]


def test_a_build_of_another_stage_is_not_taken_for_the_one_that_is_asked_for(
    build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "two.yaml").write_text(TWO)
    words = ["deploy", str(tmp_path / "two.yaml"), "--no-build", "-o", str(build), "--dry-run"]
    for system, stage, wanted in (
        ("ladder", "2", "ladder-stage2"),
        ("ladder-stage1", "2", "ladder-stage2"),
        ("x", "5", "ladder"),
    ):
        write_build(build, system=system)
        assert main([*words, "--stage", stage]) == 2
        assert f"this build is of '{system}', and '{wanted}' is asked for" in capsys.readouterr().err
    write_build(build, system="ladder-stage2")
    main([*words, "--stage", "2"])
    assert "this build is of" not in capsys.readouterr().err


def test_each_stage_names_the_next_and_the_last_none() -> None:
    assert done(1).endswith("next: --stage 2, the timer")
    assert "next" not in done(5)


def test_a_qemu_that_is_killed_has_ended_whatever_its_socket_says(tmp_path: Path) -> None:
    """A Unix socket whose peer is closed with unread input reports a reset, not an end."""
    here, there = socket.socketpair()
    here.sendall(b"unread")
    there.close()
    with files.Log(tmp_path / "console.log") as log, pytest.raises(MachineError, match="QEMU has ended: killed"):
        SocketWire(here, cast(Child, SimpleNamespace(name="QEMU", errors=lambda: "killed")), log).read(5.0)
    here.close()


TWO = """
system: ladder
board: maaxboard
guests:
  server: {image: usb-server, passthrough: [usb@38100000]}
  client: {image: usb-client}
usb:
  - {class: hid, to: client}
"""


def on_a_maaxboard(one: LabOfOne) -> LabOfOne:
    """The lab with its board of that kind."""
    boards = json.loads(one.file.read_text())["boards"]
    boards["desk"]["board"] = "maaxboard"
    one.write(boards)
    return one


@pytest.mark.sel4
def test_a_stage_is_built_loaded_and_watched_and_its_failure_explained(
    lab: MakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        require_sdk("auto", "maaxboard", "release")
        find_toolchain()
    except HostError as error:
        pytest.skip(error.message)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "ladder.yaml"
    file.write_text(TWO)
    image = tmp_path / "build/ladder-stage1/loader.img"
    with FakeBoard(Faults(boot=(DRIVEN, HEARD))) as board:
        one = on_a_maaxboard(lab(board))
        dry = one.run("deploy", str(file), "--stage", "1", "--dry-run")
        assert dry.returncode == 0 and board.commands == []
        assert "=> go 0x50000000" in dry.stdout and "# waits for 'serial port hears'" in dry.stdout
        done = one.run("deploy", str(file), "--stage", "1")
        assert done.returncode == 0, done.stderr
        assert "stage 1 of 5 works" in done.stdout and "next: --stage 2" in done.stdout
        assert board.memory[0x50000000] == image.read_bytes()
        folder = one.run("deploy", str(image.parent), "--stage", "2")
        assert folder.returncode == 2 and "is a build folder, and a stage is made from a description" in folder.stderr
    with FakeBoard(Faults(boot=("",))) as board:
        one = on_a_maaxboard(lab(board))
        failed = one.run("deploy", str(file), "--stage", "1", "--no-build", "--quiet-timeout", "2")
        assert failed.returncode == 4
        assert "before the first milestone; not seen: serial port speaks, serial port hears" in failed.stderr
        assert "    2. the UART: this system speaks on the imx at 0x30860000" in failed.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--usb", "keyboard"),
        ("--exec", "client: true"),
        ("--mode", "split"),
        ("--console", "client"),
        ("--exec-timeout", "0"),
    ],
)
def test_a_stage_in_qemu_takes_nothing_that_needs_the_whole_system(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "qemu.yaml", "--stage", "1", *words]) == 2
    assert "--stage: error: " in capsys.readouterr().err


def test_a_stage_in_qemu_has_its_own_times_unless_others_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything but QEMU and the build: what the watcher gets is what the build wrote."""
    given: list[DeployPlan] = []
    built = SimpleNamespace(plan=None, loader_image=SimpleNamespace(path=tmp_path))
    planned = SimpleNamespace(plan=SimpleNamespace(name="x"), board=board_of("qemu"))
    monkeypatch.setattr("router.cli._common.plan", lambda *words, **more: planned)
    monkeypatch.setattr("router.machines.qemu.mode.check_mode", lambda *words: None)
    monkeypatch.setattr("router.deploy.prepare.make", lambda *words: built)
    monkeypatch.setattr("router.deploy.plan.read_plan", lambda *words, **more: plan(SERIAL))
    monkeypatch.setattr("router.deploy.emulated.run_stage", lambda system, deployment, *rest: given.append(deployment))
    words = ["run", "qemu.yaml", "--stage", "1", "-o", str(tmp_path / "build")]
    assert main(words) == 0
    assert main([*words, "--timeout", "200"]) == 0
    assert [(one.boot_seconds, one.quiet_seconds) for one in given] == [(60.0, 20.0), (200.0, 50.0)]
