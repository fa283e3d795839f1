# SPDX-License-Identifier: BSD-2-Clause
"""Sending a file over the serial line by YMODEM (Forsberg, 1988), to U-Boot's `loady`."""

from __future__ import annotations

import binascii
import time
from collections.abc import Callable

from router.console.serial_port import SerialPort
from router.errors import MachineError

SOH, STX, EOT, ACK, NAK, CAN, CRC = 0x01, 0x02, 0x04, 0x06, 0x15, 0x18, 0x43
PAD = b"\x1a"
MAX_TRIES = 10
ANSWER_TIMEOUT_S = 5.0


def frame(number: int, data: bytes) -> bytes:
    """One block: start byte (128 or 1024 bytes), number, its complement, data, CRC-16 (0x1021), big-endian."""
    start = SOH if len(data) == 128 else STX
    return bytes((start, number & 0xFF, ~number & 0xFF)) + data + binascii.crc_hqx(data, 0).to_bytes(2, "big")


class Sender:
    """Sends one file over `line` to a receiver that has just been started. progress gets the bytes acknowledged so far.

    heard: what the receiver has said already; its first request may be the end of it.
    """

    def __init__(self, line: SerialPort, progress: Callable[[int], None] = lambda _: None, heard: bytes = b"") -> None:
        self._line = line
        self._progress = progress
        self._pending = heard

    def send(self, name: str, data: bytes) -> None:
        """Name, size and contents, then the empty name that ends a batch. MachineError when the receiver gives up."""
        self._await(CRC)
        self._block(0, (name.encode() + b"\0" + str(len(data)).encode()).ljust(128, b"\0"))
        self._await(CRC)
        self._contents(data)
        self._await(CRC)
        self._block(0, bytes(128))

    def _contents(self, data: bytes) -> None:
        for number, at in enumerate(range(0, len(data), 1024), 1):
            piece = data[at : at + 1024]
            self._block(number, piece.ljust(128 if len(piece) <= 128 else 1024, PAD))
            self._progress(min(at + 1024, len(data)))
        for _ in range(MAX_TRIES):
            self._line.write(bytes((EOT,)))
            if self._answer((ACK, NAK)) == ACK:
                return
        raise self._failed("it does not acknowledge the end of the file")

    def _block(self, number: int, data: bytes) -> None:
        for _ in range(MAX_TRIES):
            self._line.write(frame(number, data))
            if self._answer((ACK, NAK)) == ACK:
                return
        raise self._failed(f"block {number} was refused {MAX_TRIES} times")

    def _await(self, wanted: int) -> None:
        for _ in range(MAX_TRIES):
            if self._answer((wanted,)) == wanted:
                return
        raise self._failed("it never asked for the file")

    def _answer(self, wanted: tuple[int, ...]) -> int | None:
        """The next byte among `wanted`, or None when none came in time. Two CANs end everything."""
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        cancelled = 0
        while True:
            while self._pending:
                byte, self._pending = self._pending[0], self._pending[1:]
                if byte in wanted:
                    return byte
                cancelled = cancelled + 1 if byte == CAN else 0
                if cancelled == 2:
                    raise self._failed("the board cancelled it")
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._pending = self._line.read(left)

    def _failed(self, why: str) -> MachineError:
        return MachineError(
            f"the upload over the serial line failed: {why}",
            hint="a lower baud rate, or loading by TFTP, gets around a line that loses bytes",
            where=self._line.device,
        )
