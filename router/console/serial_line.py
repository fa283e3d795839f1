"""A serial line shared by several guests, as one socket for each port: a thread carries the bytes both ways."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from router.console.multiplexer import Demultiplexer, select_port, typed

SYSTEM = "seL4"
"""Who speaks in lines that are no guest's: the loader, the kernel, Microkit's monitor."""
CHUNK = 1024
"""Bytes that wait for the line at most, so that a port that is slow to read holds little of the others' up."""
SILENCE = 0.05
"""Seconds after which an unfinished line counts as ended."""


def control(guest: str) -> str:
    """The name of a guest's control channel on the serial line."""
    return f"{guest}.control"


def ports(guests: Sequence[str]) -> list[str]:
    """The serial line's ports in the multiplexer's order: each guest's console, then its control channel."""
    return [name for guest in guests for name in (guest, control(guest))]


class SerialLine(threading.Thread):
    """Carries the bytes between `stream`, which stays the caller's to close, and a socket for each port.

    ports: the multiplexer's, in its order. quiet: the one that gets the keyboard when nobody types, so that no
    unfinished lines are shown. log: gets everything that comes, as it comes. running: the multiplexer has been at work
    before; without, nothing is typed before it has said something, since a boot loader may be listening.
    """

    def __init__(
        self, stream: socket.socket, ports: Sequence[str], quiet: str, log: Path, *, running: bool = False
    ) -> None:
        super().__init__(name="serial-line", daemon=True)
        self._stream = stream
        self._ports = tuple(ports)
        self._quiet = self._preferred = quiet
        self._log = log
        self._demultiplexer = Demultiplexer(ports)
        self._near: dict[str | None, socket.socket] = {}
        self._far: dict[str | None, socket.socket] = {}
        self._to_port: dict[str | None, bytearray] = {}
        self._to_line = bytearray()
        self._speaks = running
        self.heard = False
        """Whether a port has said anything."""
        self._closing = False
        if running:
            # Who has the keyboard is not known, nor whether somebody stopped typing after an escape key.
            self._to_line += 2 * select_port(self._ports.index(quiet))
            self._demultiplexer.focus = quiet
        stream.setblocking(False)
        for name in (*ports, None):
            self._near[name], self._far[name] = socket.socketpair()
            self._far[name].setblocking(False)
            self._to_port[name] = bytearray()
        self._wake, self._woken = socket.socketpair()

    def port(self, name: str | None) -> socket.socket:
        """The near end of a port; None: of the lines that are no port's."""
        return self._near[name]

    def give_keyboard(self, name: str | None) -> None:
        """Let a port have the keyboard whenever no other is written to; None: the quiet one."""
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
        with self._log.open("ab", buffering=0) as log:
            try:
                while not self._closing and self._turn(log):
                    pass
            finally:
                self._deliver(self._demultiplexer.settle())
                for far in self._far.values():
                    far.close()

    def _turn(self, log: BinaryIO) -> bool:
        """Wait for something to carry, and carry it; False when the line has ended."""
        takes = self._speaks and len(self._to_line) < CHUNK
        readers = [self._stream, self._woken, *(self._far.values() if takes else ())]
        writers = [self._far[name] for name, waiting in self._to_port.items() if waiting]
        writers += [self._stream] if self._to_line else []
        silence = SILENCE if self._demultiplexer.owes else None
        readable, writable, _ = select.select(readers, writers, [], silence)
        if not readable and not writable:
            self._deliver(self._demultiplexer.settle())
        if self._woken in readable:
            self._woken.recv(64)
        if self._stream in readable:
            data = self._receive(self._stream)
            if not data:
                return False
            log.write(data)
            self._deliver(self._demultiplexer.feed(data))
        for name, far in self._far.items():
            if far in readable and name is not None:
                self._write(name, self._receive(far))
            if far in writable:
                self._send(far, self._to_port[name])
        # A machine that has ended takes nothing any more, but what it said before may still be here to be read.
        self._send(self._stream, self._to_line)
        self._return_keyboard()
        self._send(self._stream, self._to_line)
        return True

    @staticmethod
    def _receive(stream: socket.socket) -> bytes:
        try:
            return stream.recv(CHUNK)
        except BlockingIOError:
            return b""
        except OSError:  # the machine has ended, with data of ours on the way
            return b""

    @staticmethod
    def _send(stream: socket.socket, waiting: bytearray) -> None:
        """Send what the stream takes at once; what nobody is there for any more is dropped."""
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
            self._to_port[name] += data
            self._send(self._far[name], self._to_port[name])

    def _select(self, name: str) -> None:
        if self._demultiplexer.focus != name:
            self._to_line += select_port(self._ports.index(name))
            self._demultiplexer.focus = name

    def _write(self, name: str, data: bytes) -> None:
        if data:
            self._select(name)
            self._to_line += typed(data)

    def _return_keyboard(self) -> None:
        """Once the multiplexer listens: it starts with the keyboard at the first console."""
        if self._speaks and not self._to_line:
            self._select(self._preferred)
