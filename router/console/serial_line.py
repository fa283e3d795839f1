# SPDX-License-Identifier: BSD-2-Clause
"""A serial line shared by several guests, as one socket for each port: a thread carries the bytes both ways."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from router import files
from router.console.counts import Counts, Question
from router.console.frames import give_keyboard
from router.console.line_input import PortInput
from router.console.multiplexer import SYSTEM as OWN_NAME
from router.console.multiplexer import Demultiplexer
from router.console.silence import Silence, is_dead
from router.errors import MachineError

SYSTEM = "seL4"
"""Who speaks in lines that are no guest's: the loader, the kernel, Microkit's monitor."""
OWN = f"{OWN_NAME}: ".encode()
"""What the multiplexer says itself begins so."""
ENDED = "the serial line has ended"
COUNTS_PAUSE_S = 300.0
"""After a question for counters without an answer, until the next is asked: who shows them all the time waits for
nothing then."""
CHUNK = 1024
"""Bytes taken from a port's writer before the guest has taken those before them (its ring holds as many)."""
READ = 1 << 14
"""Bytes taken from the line at a time."""
MAX_UNREAD = 1 << 18
"""Bytes kept for a port whose reader does not read; what comes beyond is dropped: a guest may write to its control
channel for ever while no command runs there."""
MAX_ANSWER = 64 << 20
"""The same while a command runs: its output may go to a pager that a person reads."""


def control(guest: str) -> str:
    """The name of a guest's control channel on the serial line."""
    return f"{guest}.control"


def ports(guests: Sequence[str]) -> list[str]:
    """The serial line's ports in the multiplexer's order: each guest's console, then its control channel."""
    return [name for guest in guests for name in (guest, control(guest))]


class SerialLine(threading.Thread):
    """Carries the bytes between `stream`, which stays the caller's to close, and a socket for each port.

    ports: the multiplexer's, in its order. quiet: a control channel, which has the keyboard while no person types, so
    that no unfinished lines are shown. log: gets everything that comes, as it comes. running: the multiplexer has been
    at work before; without, nothing is sent before it has said something, since a boot loader may be listening.
    """

    def __init__(
        self, stream: socket.socket, ports: Sequence[str], quiet: str, log: Path, *, running: bool = False
    ) -> None:
        super().__init__(name="serial-line", daemon=True)
        self._stream = stream
        self._ports = tuple(ports)
        self._quiet = self._preferred = quiet
        self._log = files.Log(log)
        whole = frozenset(name for name in ports if name.endswith(control("")))
        self._demultiplexer = Demultiplexer(ports, whole)
        self._near: dict[str | None, socket.socket] = {}
        self._far: dict[str | None, socket.socket] = {}
        self._to_port: dict[str | None, bytearray] = {}
        self._inputs = {name: PortInput(index, lines=name in whole) for index, name in enumerate(ports)}
        self._to_line = bytearray()
        self._speaks = running
        self._focus: str | None = None
        """Who has the keyboard, as far as is known."""
        self._asked: str | None = None
        """Who is being given it."""
        self.heard = False
        """Whether a port has said anything."""
        self._silence = Silence(self._inputs[quiet])
        self._busy: frozenset[str] = frozenset()
        """Control channels on which a command runs."""
        self._dropped = dict.fromkeys(ports, 0)
        """Pieces of answers that were dropped."""
        self._asking = threading.Lock()
        """Held by the thread whose question `_question` is."""
        self._question: Question | None = None
        self._unanswered = 0.0
        """Until when no further question is asked, since the system has not answered the last one."""
        self._closing = False
        stream.setblocking(False)
        for name in (*ports, None):
            self._near[name], self._far[name] = socket.socketpair()
            self._far[name].setblocking(False)
            self._to_port[name] = bytearray()
        self._wake, self._woken = socket.socketpair()

    def port(self, name: str | None) -> socket.socket:
        """The near end of a port; None: of the lines that are no port's."""
        return self._near[name]

    def lost(self, name: str) -> int:
        """Frames of a port that were lost on the line so far, and pieces of answers that were not read in time."""
        return self._demultiplexer.lost(name) + self._dropped[name]

    @property
    def dead(self) -> bool:
        """Whether the multiplexer has answered nothing for some 15 s although it was asked; it was alive before."""
        return any(is_dead(port) for port in self._inputs.values())

    def expect_answer(self, name: str, expected: bool) -> None:
        """Whether a command runs on this control channel. For one thread at a time on one channel."""
        self._busy = self._busy | {name} if expected else self._busy - {name}

    def counts(self, guest: int, seconds: float) -> Counts:
        """The counters of a guest's port of the switch; any thread may ask. MachineError when no answer comes within
        that time, and without asking for COUNTS_PAUSE_S after that.
        """
        end = time.monotonic() + seconds
        if not self._asking.acquire(timeout=seconds):
            raise MachineError("others ask for the switch's counters all the time", hint="try again")
        try:
            found = None
            if time.monotonic() >= self._unanswered:
                self._question = question = Question(len(self._ports), guest)
                self._poke()
                if not self.is_alive():
                    question.fail(ENDED)
                found = question.wait(max(0.0, end - time.monotonic()))
                self._unanswered = 0.0 if found is not None else time.monotonic() + COUNTS_PAUSE_S
            if found is None:
                raise MachineError(
                    "the console does not answer when it is asked for the switch's counters",
                    hint="an image of an older router cannot; in others the switch or the console hangs, or the loader"
                    " has the line",
                )
            return found
        finally:
            self._question = None
            self._asking.release()

    def give_keyboard(self, name: str | None) -> None:
        """Show a port's unfinished lines; None: no port's."""
        self._preferred = name or self._quiet
        self._poke()

    def close(self) -> None:
        """End the thread and close the ports' near ends; the line itself stays open."""
        self._closing = True
        self._poke()
        if self.is_alive():
            self.join(timeout=5)
        for stream in (*self._near.values(), *self._far.values(), self._wake, self._woken):
            stream.close()

    def _poke(self) -> None:
        with contextlib.suppress(OSError):  # the thread has ended meanwhile
            self._wake.send(b"!")

    def run(self) -> None:
        with self._log:
            try:
                while not self._closing and self._turn():
                    pass
                if self._closing and self._speaks:
                    # For a person with a plain terminal program, who finds the first console.
                    self._to_line += give_keyboard(0, 0, release=True)
                    self._send(self._stream, self._to_line)
            finally:
                if (question := self._question) is not None:
                    question.fail(ENDED)
                self._deliver(self._demultiplexer.end())
                for far in self._far.values():
                    far.close()

    def _turn(self) -> bool:
        """Wait for something to carry, and carry it; False when the line has ended."""
        self._fill(time.monotonic())
        takes = [far for name, far in self._far.items() if name is not None and self._inputs[name].idle]
        readers = [self._stream, self._woken, *(takes if self._speaks else ())]
        writers = [self._far[name] for name, waiting in self._to_port.items() if waiting]
        writers += [self._stream] if self._to_line else []
        readable, writable, _ = select.select(readers, writers, [], self._patience())
        if self._woken in readable:
            self._woken.recv(64)
        if self._stream in readable:
            data = self._receive(self._stream, READ)
            if not data:
                return False
            self._log.write(data)
            self._deliver(self._demultiplexer.feed(data))
            self._take_answers()
        for name, far in self._far.items():
            if far in readable and name is not None:
                self._inputs[name].write(self._receive(far, CHUNK))
            if far in writable:
                self._send(far, self._to_port[name])
        self._fill(time.monotonic())
        # A machine that has ended takes nothing any more, but what it said before may still be here to be read.
        self._send(self._stream, self._to_line)
        return True

    def _patience(self) -> float | None:
        """Seconds until a frame is to be sent again."""
        if not self._speaks or self._to_line:
            return None
        due = [at for port in self._inputs.values() if (at := port.due()) is not None]
        if self._may_ask() and (question := self._question) is not None and (at := question.due()) is not None:
            due.append(at)
        if not due and (asks := self._silence.due()) is not None:
            due = [asks]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _may_ask(self) -> bool:
        """Not after text of no port: a boot loader may be counting down for a key."""
        return self._speaks and not self._silence.foreign

    @staticmethod
    def _receive(stream: socket.socket, size: int) -> bytes:
        try:
            return stream.recv(size)
        except BlockingIOError:
            return b""
        except OSError:  # the machine has ended, with data of ours on the way
            return b""

    @staticmethod
    def _send(stream: socket.socket, waiting: bytearray) -> None:
        """Send what the stream takes at once; what has no reader any more is dropped."""
        try:
            while waiting:
                del waiting[: stream.send(waiting)]
        except BlockingIOError:
            return
        except OSError:
            waiting.clear()

    def _deliver(self, parts: list[tuple[str | None, bytes]]) -> None:
        for name, data in parts:
            self.heard |= name is not None
            self._speaks |= name is not None
            self._silence.heard(time.monotonic(), framed=name is not None or data.startswith(OWN))
            waiting = self._to_port[name]
            answers = name in self._busy
            if len(waiting) + len(data) > (MAX_ANSWER if answers else MAX_UNREAD):
                if name is not None and answers:
                    self._dropped[name] += 1
                continue
            waiting += data
            self._send(self._far[name], waiting)

    def _take_answers(self) -> None:
        now = time.monotonic()
        for answer in self._demultiplexer.answers:
            self.heard = self._speaks = True
            self._silence.heard(now, framed=True)
            if self._inputs[answer.port].answered(answer.sequence, answer.taken, now):
                self._focus, self._asked = answer.port, None
        self._demultiplexer.answers.clear()
        for said in self._demultiplexer.said:
            self.heard = self._speaks = True
            self._silence.heard(now, framed=True)
            if (question := self._question) is not None:
                question.said(said.sequence, said.body, now)
        self._demultiplexer.said.clear()

    def _fill(self, now: float) -> None:
        """Put the frames that are due on their way, once those before them have gone out."""
        if not self._speaks or self._to_line:
            return
        if self._asked is None and self._focus != self._preferred:
            self._asked = self._preferred
            self._inputs[self._asked].ask_keyboard()
        if all(each.due() is None for each in self._inputs.values()):
            self._silence.ask(now)
        for port in self._inputs.values():
            self._to_line += port.take(now)
        if self._may_ask() and (question := self._question) is not None:
            self._to_line += question.take(now)
