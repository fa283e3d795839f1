# SPDX-License-Identifier: BSD-2-Clause
"""The far end of a port's socket: what QEMU is to the switch."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from router.vswitch import PortCounters, SwitchProcess
from tests.support.patience import PATIENCE


class Link:
    """A connection that speaks QEMU's stream protocol: a length in 4 bytes, then the frame."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._pending = bytearray()

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def fill(self, frame: bytes, switch: SwitchProcess, name: str) -> int:
        """Send until the switch no longer reads this port; how many frames, the one broken off included."""
        message = struct.pack(">I", len(frame)) + frame
        end = time.monotonic() + PATIENCE
        sent = 0
        self.socket.settimeout(0.1)
        while True:
            blocked = switch.counters()[name].blocked
            try:
                sent += self.socket.send(message[sent % len(message) :])
            except TimeoutError:
                if blocked:
                    break
            assert time.monotonic() < end, "the switch never stops to read"
        self.socket.settimeout(PATIENCE)
        whole, rest = divmod(sent, len(message))
        self.unsent = message[rest:] if rest else b""
        return whole + bool(rest)

    def finish(self) -> None:
        """Send what fill() had to break off."""
        self.socket.sendall(self.unsent)

    def receive(self) -> bytes:
        """The next frame; ConnectionError at the end, TimeoutError when none comes."""
        while True:
            if len(self._pending) >= 4:
                length = int.from_bytes(self._pending[:4], "big")
                if len(self._pending) >= 4 + length:
                    frame = bytes(self._pending[4 : 4 + length])
                    del self._pending[: 4 + length]
                    return frame
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the switch has closed the link")
            self._pending += data

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Nothing comes for so long."""
        self.socket.settimeout(seconds)
        try:
            self.receive()
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    def close(self) -> None:
        self.socket.close()


@contextlib.contextmanager
def links(switch: SwitchProcess, *names: str) -> Iterator[list[Link]]:
    """One link to each port, once the switch knows of them all."""
    opened = [Link(switch.socket(name)) for name in names]
    try:
        wait_for(switch, lambda ports: all(ports[name].connected for name in names))
        yield opened
    finally:
        for link in opened:
            link.close()


def wait_for(switch: SwitchProcess, true: object) -> dict[str, PortCounters]:
    """Ask for the counters until `true(counters)`; they, or an AssertionError."""
    assert callable(true)
    end = time.monotonic() + PATIENCE
    while not true(counters := switch.counters()):
        assert time.monotonic() < end, counters
        time.sleep(0.01)
    return counters
