# SPDX-License-Identifier: BSD-2-Clause
"""A guest that prints without pause delays no other, hides nothing and takes a bounded part of the host."""

from __future__ import annotations

import contextlib
import socket
import stat
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from router import files
from router.console import consoles
from router.console.consoles import Console, Lines
from router.console.serial_line import SerialLine, control
from router.control import timeline as timelines
from router.control.facts import GuestFacts, SystemFacts
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.agent import AgentChannel
from router.machines.live import MAX_PUMPED, LiveGuest, LiveSystem
from router.testing.qemu import QemuMachine
from tests.support.patience import PATIENCE, wait_until

FLOODER, QUIET = "flooder", "quiet"


class TwoGuests(LiveSystem[LiveGuest]):
    """Two guests whose consoles the test speaks through (`said`)."""

    broken = False

    def _start(self) -> None:
        self.said: dict[str, socket.socket] = {}
        for name in self.facts.names:
            near, self.said[name] = socket.socketpair()
            control, agent = socket.socketpair()
            for stream in (self.said[name], control, agent):
                self._stack.callback(stream.close)
            self.guests[name] = LiveGuest(
                consoles=(self._read(name, near, f"{name}.console"),), agent=AgentChannel(control, name)
            )

    def _check_alive(self) -> None:
        if self.broken:
            raise MachineError("the machine is gone")


@pytest.fixture
def system(tmp_path: Path) -> Iterator[TwoGuests]:
    guests = [
        GuestFacts(name=name, role="none", address="", usb_version=2, usb_ports=0, owns_devices=False)
        for name in (FLOODER, QUIET)
    ]
    timeline = Timeline()
    timeline.mute()
    with TwoGuests(SystemFacts(system="two", board="qemu", guests=tuple(guests)), tmp_path, timeline) as running:
        yield running


def flood(system: TwoGuests, line: bytes = b"more and more\n") -> threading.Event:
    """Print in the first guest until the event is set, from a thread; returns once its room for lines is full."""
    enough = threading.Event()

    def print_on() -> None:
        with contextlib.suppress(OSError):  # the system has ended
            while not enough.is_set():
                system.said[FLOODER].sendall(line * 1000)

    threading.Thread(target=print_on, daemon=True).start()
    assert wait_until(lambda: len(system._lines) >= consoles.MAX_LINES)
    return enough


def test_a_line_of_another_guest_is_seen_at_once_while_one_floods(system: TwoGuests) -> None:
    enough = flood(system)
    try:
        system.said[QUIET].sendall(b"router: guest quiet: userspace up\n")
        assert wait_until(lambda: len(system._lines._waiting.get(QUIET, ())) == 1)
        looked = 0
        while not system.timeline.seen(QUIET, "userspace"):
            assert system.poll(PATIENCE)
            looked += 1
    finally:
        enough.set()
    assert looked <= 2  # one line of each guest


def test_lines_that_find_no_room_are_in_the_log(system: TwoGuests, tmp_path: Path) -> None:
    enough, log = flood(system), tmp_path / f"{FLOODER}.console.log"
    try:
        assert wait_until(lambda: log.stat().st_size > consoles.MAX_LINES * len("more and more\n"))
    finally:
        enough.set()
    assert len(system._lines) <= consoles.MAX_LINES


def test_the_milestone_at_the_end_of_a_burst_of_short_lines_is_seen(system: TwoGuests) -> None:
    milestone = b"router: guest flooder: network up 10.77.0.3\n"
    with system._reading:  # nothing is looked at meanwhile
        system.said[FLOODER].sendall(b"1\n" * ((consoles.READ_BYTES - len(milestone)) // 2) + milestone)
        assert wait_until(lambda: "network up 10.77.0.3" in (system.guests[FLOODER].tail() or [""])[-1])
    while system.pump():
        pass
    assert system.timeline.seen(FLOODER, "network")


def test_each_console_has_room_of_its_own_for_lines_and_characters() -> None:
    lines = Lines()
    assert all(lines.put("a", "x") for _ in range(consoles.MAX_LINES))
    assert not lines.put("a", "x")
    assert lines.put("b", "y" * consoles.MAX_CHARACTERS)
    assert not lines.put("b", "y")
    assert [lines.take(0) for _ in range(3)] == [("a", "x"), ("b", "y" * consoles.MAX_CHARACTERS), ("a", "x")]
    assert lines.put("b", "y" * consoles.MAX_CHARACTERS)


def test_taking_a_line_waits_for_one_as_long_as_it_may() -> None:
    lines = Lines()
    assert lines.take(0.01) is None
    threading.Timer(0.05, lambda: lines.put("a", "late")).start()
    assert lines.take(PATIENCE) == ("a", "late")


def test_the_end_of_a_machine_is_noticed_while_a_guest_floods(system: TwoGuests) -> None:
    enough = flood(system)
    try:
        system.broken = True

        def polled() -> bool:
            with pytest.raises(MachineError, match="is gone"):
                for _ in range(100_000):
                    system.poll(1)
            return True

        assert wait_until(polled)
    finally:
        enough.set()


def test_a_thread_with_other_work_takes_a_bounded_number_of_lines(system: TwoGuests) -> None:
    enough = flood(system)
    try:
        before = len(system._lines)
        with system._lines._news:  # nothing comes meanwhile
            system.pump()
            assert len(system._lines) == before - MAX_PUMPED
    finally:
        enough.set()


def test_a_look_whether_all_still_runs_ends_while_a_guest_floods(system: TwoGuests) -> None:
    machine = QemuMachine.__new__(QemuMachine)
    machine.system = system  # type: ignore[assignment]
    enough = flood(system)
    try:
        before = len(system._lines)
        with system._lines._news:  # nothing comes meanwhile
            machine.check()
            assert len(system._lines) == before - MAX_PUMPED
        system.broken = True
        with pytest.raises(MachineError, match="is gone"):
            machine.check()
    finally:
        enough.set()


def test_taking_lines_says_whether_there_may_be_more(system: TwoGuests) -> None:
    flood(system).set()
    assert system.pump()
    assert wait_until(lambda: not system.pump())
    with system._reading:
        assert not system.pump(), "another thread takes them"


def test_forged_milestones_are_kept_up_to_a_number_and_the_last_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timelines, "MAX_EVENTS", 20)
    timeline = Timeline()
    timeline.mute()
    for number in range(100):
        timeline.line(FLOODER, f"router: guest quiet: attached {number}-1 port 1")
    timeline.line(QUIET, "router: guest quiet: userspace up")
    kept = timeline.last(FLOODER, 100)
    assert len(kept) == 20
    assert kept[-1].text == "over 20 events: no more are kept"
    assert kept[-2:] == timeline.last(FLOODER, 2)
    assert timeline.seen(QUIET, "attached") == []
    assert len(timeline.seen(QUIET, "userspace")) == 1


def test_the_log_of_a_shared_line_is_private_and_rotates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.Log.__init__, "__defaults__", (1000,))
    near, far = socket.socketpair()
    line = SerialLine(near, [QUIET, control(QUIET)], control(QUIET), tmp_path / "serial.log")
    line.start()
    log = tmp_path / "serial.log"

    def logged(text: bytes) -> bool:
        return log.read_bytes().endswith(text)

    for number in range(50):
        text = b"%04d text of no guest's, up to its end\n" % number
        far.sendall(text)
        assert wait_until(partial(logged, text))
    far.shutdown(socket.SHUT_WR)
    line.join(PATIENCE)
    line.close()
    near.close()
    far.close()
    both = [log, tmp_path / "serial.log.1"]
    assert all(one.stat().st_size <= 1000 and stat.S_IMODE(one.stat().st_mode) == 0o600 for one in both)
    assert log.read_bytes().endswith(b"0049 text of no guest's, up to its end\n")


def test_a_console_without_line_ends_costs_time_and_memory_by_its_length_only(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    lines = Lines()
    console = Console(FLOODER, near, tmp_path / "log", lines)
    console.start()
    for _ in range(200):
        far.sendall(b"x" * 65536)
    far.close()
    console.join(PATIENCE)
    console.close()
    assert lines.take(0) == (FLOODER, "x" * consoles.MAX_LINE_BYTES)
    assert lines.take(0) is None
