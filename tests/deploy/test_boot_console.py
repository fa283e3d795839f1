# SPDX-License-Identifier: BSD-2-Clause
"""A deployment attributes each line to the guest that printed it, so that no guest speaks for another or for seL4."""

from __future__ import annotations

import dataclasses
import time
from typing import cast

import pytest

from router.console import silence
from router.console.serial_line import ports
from router.console.serial_port import SerialPort
from router.control import milestones
from router.deploy.boot import MAX_WARNINGS, ConsoleLines, Line, Watcher
from router.deploy.events import DeployEvent, Reporter
from router.deploy.plan import AwaitedMilestone, DeployPlan
from router.errors import MachineError
from tests.deploy.lab import FACTS
from tests.support.fake_mux import FakeMux

GUESTS = [guest.name for guest in FACTS.guests]


def framed(*lines: tuple[str, bytes]) -> bytes:
    """What the line carries for these lines of guests."""
    sent: list[bytes] = []
    mux = FakeMux(ports(GUESTS), sent.append)
    for port, text in lines:
        mux.say(port, text)
    return b"".join(sent)


def watcher() -> tuple[Watcher, list[DeployEvent]]:
    """One that waits for the server's user space and seL4."""
    awaited = (
        AwaitedMilestone(name="seL4", pattern=milestones.of_system("seL4"), port=""),
        AwaitedMilestone(name="server up", pattern=milestones.of_guest("server", "userspace"), port="server"),
    )
    seen: list[DeployEvent] = []
    plan = DeployPlan(system="demo", board="fake", payloads=(), start="go", milestones=awaited, facts=FACTS)
    return Watcher(plan, Reporter(seen.append)), seen


class Board:
    """A serial line whose multiplexer says a guest's line and then nothing more. answers: it still takes frames."""

    def __init__(self, *, answers: bool, text: bytes = b"") -> None:
        self._out: list[bytes] = []
        self._mux = FakeMux(ports(GUESTS), self._out.append)
        self._mux.say("client", b"hello")
        self._out.append(text)
        self._answers = answers
        self.sent = b""

    def read(self, seconds: float) -> bytes:
        data, self._out[:] = b"".join(self._out), []
        if not data:
            time.sleep(seconds / 10)
        return data

    def write(self, data: bytes) -> None:
        self.sent += data
        if self._answers:
            self._mux.take(data)


def follow(board: Board, monkeypatch: pytest.MonkeyPatch, quiet: float = 2.0) -> str:
    """The error that ends the watch."""
    monkeypatch.setattr(silence, "SILENCE_S", 0.2)
    monkeypatch.setattr(silence, "MAX_UNANSWERED", 2)
    watching, _ = watcher()
    watching._plan = dataclasses.replace(watching._plan, quiet_seconds=quiet)
    with pytest.raises(MachineError) as caught:
        watching.follow(cast(SerialPort, board))
    assert "not seen: " in f"{caught.value.message}{caught.value.hint}"
    return caught.value.message


def test_a_multiplexer_that_says_nothing_more_and_answers_nothing_ends_the_boot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = Board(answers=False)
    assert follow(board, monkeypatch, 60.0).startswith("the console multiplexer does not answer any more")
    assert board.sent


def test_answers_of_the_multiplexer_are_no_sign_of_life_of_the_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(answers=True)
    assert follow(board, monkeypatch).startswith("nothing was heard for 2 s")
    assert board.sent


def test_nothing_is_sent_to_what_may_be_a_boot_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(answers=False, text=b"Hit any key to stop autoboot: 3\r\n")
    assert follow(board, monkeypatch).startswith("nothing was heard for 2 s")
    assert not board.sent


def reached(data: bytes) -> list[str]:
    """Names of the milestones that these bytes of the line reach."""
    watching, _ = watcher()
    for line in ConsoleLines(GUESTS).feed(data):
        watching._line(line)
    return [each.name for each in watching.seen]


def test_a_guests_line_is_whole_however_its_frames_are_cut_and_mixed() -> None:
    sent: list[bytes] = []
    mux = FakeMux(ports(GUESTS), sent.append)
    sent.append(mux.frame("server", b"router: guest ser", hidden=True))
    sent.append(b"\r\n")
    mux.say("client", b"in between")
    sent.append(mux.frame("server", b"ver: userspace up", b"+"))
    found = ConsoleLines(GUESTS).feed(b"Booting all finished\r\n" + b"".join(sent))
    assert found[0] == Line(None, "Booting all finished")
    assert Line("client", "in between") in found
    assert "".join(each.text for each in found if each.port == "server") == "router: guest server: userspace up"


def test_a_guests_milestone_counts_on_its_own_console_only() -> None:
    text = b"router: guest server: userspace up"
    assert reached(framed(("server", text))) == ["server up"]
    assert reached(framed(("client", text))) == []
    assert reached(text + b"\r\n") == []


def test_a_guest_cannot_print_a_milestone_or_a_failure_of_sel4_or_of_the_boot_loader() -> None:
    assert reached(framed(("client", b"Booting all finished"))) == []
    assert reached(b"Booting all finished\r\n") == ["seL4"]
    for text in (b"LDR|ERROR: no", b"MON|ERROR: fault", b"Synchronous Abort", b"U-Boot 2024.01"):
        assert reached(framed(("client", text))) == []
    with pytest.raises(MachineError, match=r"the boot failed: LDR\|ERROR"):
        reached(b"LDR|ERROR: no\r\n")


def test_a_guest_whose_kernel_panics_fails_the_boot() -> None:
    with pytest.raises(MachineError, match=r"client\| Kernel panic"):
        reached(framed(("client", b"Kernel panic - not syncing: no init")))


def test_lines_of_control_channels_are_left_out() -> None:
    assert ConsoleLines(GUESTS).feed(framed(("client.control", b"router-agent 1 client"))) == []


def test_a_guest_that_keeps_what_it_should_give_up_is_a_warning_once_and_at_most_so_many() -> None:
    watching, seen = watcher()
    text = b"router: guest server: unhardened: the kernel goes on taking modules"
    many = [("client", b"router: guest client: deferred %d" % number) for number in range(2 * MAX_WARNINGS)]
    for line in ConsoleLines(GUESTS).feed(text + b"\r\n" + framed(("server", text), ("server", text), *many)):
        watching._line(line)
    warnings = [event.data["text"] for event in seen if event.kind == "warning"]
    assert warnings[0] == "server: not hardened: the kernel goes on taking modules"
    assert warnings[1] == "client: device waits for another one's driver: 0"
    assert len(warnings) == MAX_WARNINGS
