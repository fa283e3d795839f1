# SPDX-License-Identifier: BSD-2-Clause
"""Serial ports that select cannot wait on, as pyserial's rfc2217:// is."""

from __future__ import annotations

import time

import pytest
import serial

from router.console.serial_port import SerialPort
from router.errors import MachineError


class Port:
    """A port without a descriptor that gives a byte at a time, and negotiates whenever its time-out is set."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.negotiations = 0

    @property
    def timeout(self) -> float:
        return 0.0

    @timeout.setter
    def timeout(self, _: float) -> None:
        self.negotiations += 1

    def read(self, _: int) -> bytes:
        if not self.pieces:
            return b""
        first, self.pieces[0] = self.pieces[0][:1], self.pieces[0][1:]
        if not first:
            self.pieces.pop(0)
        return first

    def write(self, data: bytes) -> int:
        return len(data)

    def close(self) -> None:
        """Nothing to close."""


def opened(monkeypatch: pytest.MonkeyPatch, port: Port) -> None:
    monkeypatch.setattr(serial, "serial_for_url", lambda *_, **__: port)


def test_reading_negotiates_nothing_and_gives_all_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    port = Port(b"=> ", b"later")
    opened(monkeypatch, port)
    with SerialPort("rfc2217://lab:1", 115200) as line:
        assert line.read(60.0) == b"=> "
        assert line.read(60.0) == b"later"
        began = time.monotonic()
        assert line.read(0.05) == b"" and time.monotonic() - began >= 0.05
    assert port.negotiations == 0


def test_a_line_that_is_ours_no_more_is_neither_read_nor_written(monkeypatch: pytest.MonkeyPatch) -> None:
    port = Port(b"another's")
    opened(monkeypatch, port)

    def check() -> None:
        raise MachineError("alice has it")

    with SerialPort("rfc2217://lab:1", 115200, None, check) as line:
        with pytest.raises(MachineError, match="alice has it"):
            line.read(1.0)
        with pytest.raises(MachineError, match="alice has it"):
            line.write(b"reset\r")
    assert port.pieces == [b"another's"]
