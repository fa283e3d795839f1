# SPDX-License-Identifier: BSD-2-Clause
"""The agents of a running system: a silent one keeps neither its guest nor the program, a new one is asked anew."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.control.facts import GuestFacts, SystemFacts
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.agent import AgentChannel
from router.machines.clock import CLOCK_TIMEOUT_S
from router.machines.live import LiveGuest, LiveSystem
from tests.support.patience import PATIENCE, wait_until

LONG = 10 * PATIENCE
UP = b"router: guest client: userspace up\n"


class Agent:
    """The guest's end of a control channel: it greets and takes commands only while `listens`."""

    def __init__(self, stream: socket.socket) -> None:
        self.listens = True
        self.commands: list[tuple[float, str]] = []
        """What was run, and when it came."""
        self.unheard = b""
        """What came while nothing listened."""
        self._stream = stream
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._stream.recv(65536):
                if not self.listens:
                    self.unheard += data
                    continue
                for line in data.splitlines():
                    number, _, command = line.partition(b" ")
                    if command and command != b"kill":
                        self.commands.append((time.time(), base64.b64decode(command).decode()))
                        self._stream.sendall(number + b" x 0\n")
                    else:
                        self._stream.sendall(b"router-agent 1 guest\n")


class System(LiveSystem[LiveGuest]):
    """Two guests whose consoles the test speaks through (`said`), with the other ends of their agents."""

    def _start(self) -> None:
        self.said: dict[str, socket.socket] = {}
        self.agents: dict[str, Agent] = {}
        for name in self.facts.names:
            near, self.said[name] = socket.socketpair()
            control, far = socket.socketpair()
            for stream in (self.said[name], control, far):
                self._stack.callback(stream.close)
            self.agents[name] = Agent(far)
            console = self._read(name, near, f"{name}.console")
            self.guests[name] = LiveGuest(consoles=(console,), agent=AgentChannel(control, name))

    def _check_alive(self) -> None:
        pass

    def come_up(self, guest: str) -> None:
        """Its user space says so, and that is looked at."""
        before = len(self.timeline.seen(guest, "userspace"))
        self.said[guest].sendall(UP.replace(b"client", guest.encode()))

        def seen() -> bool:
            self.pump()
            return len(self.timeline.seen(guest, "userspace")) > before

        assert wait_until(seen)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    guests = tuple(
        GuestFacts(name=name, role="none", address="", usb_version=2, usb_ports=0, owns_devices=False)
        for name in ("mute", "client")
    )
    timeline = Timeline()
    timeline.mute()
    with System(SystemFacts(system="two", board="qemu", guests=guests), tmp_path, timeline) as running:
        running.agents["mute"].listens = False
        yield running


def test_a_silent_guest_delays_neither_anothers_clock_nor_who_waits_for_it_nor_the_end(system: System) -> None:
    system.come_up("mute")
    assert wait_until(lambda: bool(system.agents["mute"].unheard))
    system.come_up("client")
    assert wait_until(lambda: bool(system.agents["client"].commands))
    with pytest.raises(MachineError, match="no answer on the control channel"):  # not: busy
        system.execute("mute", "true", 3)
    began = time.monotonic()
    system._clocks.close()
    assert time.monotonic() - began < CLOCK_TIMEOUT_S / 2


def test_a_guest_whose_agent_answers_again_is_used_while_its_clock_waits(system: System) -> None:
    system.come_up("mute")
    assert wait_until(lambda: bool(system.agents["mute"].unheard))
    system.agents["mute"].listens = True
    assert system.execute("mute", "true", PATIENCE) == (0, b"")
    assert wait_until(lambda: any("date" in command for _, command in system.agents["mute"].commands))


def test_waiting_for_a_silent_agent_ends_when_it_is_not_wanted(system: System) -> None:
    began = time.monotonic()
    with pytest.raises(MachineError, match="was cancelled"):
        system.execute("mute", "true", LONG, None, lambda: time.monotonic() > began + 0.3)
    assert time.monotonic() - began < LONG / 2


def test_after_a_restart_nothing_is_sent_before_the_new_agent_has_greeted(system: System) -> None:
    agent = system.agents["client"]
    system.execute("client", "first", PATIENCE)
    agent.listens = False
    system.come_up("client")
    assert wait_until(lambda: agent.unheard.count(b"\n") >= 2)
    assert agent.unheard.strip(b"\n") == b""  # it was asked, and got no command
    agent.listens = True
    assert wait_until(lambda: len(agent.commands) == 2)
    assert "date -u -s @" in agent.commands[1][1]


def test_the_clock_is_set_to_the_time_at_which_the_command_goes_out(system: System) -> None:
    agent = system.agents["client"]
    agent.listens = False
    begun = threading.Thread(target=system.set_clock, args=("client", LONG))
    begun.start()
    assert wait_until(lambda: bool(agent.unheard))
    with system._turn("client", PATIENCE):
        agent.listens = True
        time.sleep(2.5)
        released = time.time()
    begun.join(PATIENCE)
    (_, command) = agent.commands[0]
    found = re.search(r"-s @(\d+)", command)
    assert found is not None and int(found.group(1)) >= int(released)


def test_a_greeting_of_before_a_restart_is_not_taken_for_the_new_agents() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:  # no thread answers here: what is said, and when, is this test's alone
        channel = AgentChannel(ours, "guest")
        theirs.sendall(b"router-agent 1 old\n")
        assert channel.hello(PATIENCE) == "old"
        theirs.sendall(b"router-agent 1 old\n")
        channel.forget()
        with pytest.raises(MachineError, match="no answer"):
            channel.hello(0.3)
        theirs.sendall(b"router-agent 1 new\n")
        assert channel.hello(PATIENCE) == "new"


def test_data_that_another_reader_took_first_blocks_no_reader() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        channel = AgentChannel(ours, "guest")
        channel._ready = lambda *, reading, seconds: True  # type: ignore[method-assign]
        with pytest.raises(MachineError, match="no answer"):
            channel.hello(0.3)
        assert not os.get_blocking(ours.fileno())
