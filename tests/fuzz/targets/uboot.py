# SPDX-License-Identifier: BSD-2-Clause
"""A board's boot loader, or what pretends to be one: prompts, echoes, numbers and errors on the serial line.

Whatever it says, a step of the conversation ends in its time, by a result or a MachineError that can be shown.
"""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable
from typing import Any
from unittest import mock

from router.deploy import advice, boot, events, script, uboot, ymodem
from router.deploy.boot import Watcher
from router.deploy.plan import DeployPlan, Payload
from router.deploy.uboot import ECHO_TIMEOUT_S, UBoot
from router.errors import MachineError

from ._clock import FakeTime, fake_time
from ._reader import Reader

SECONDS = 10.0
PAYLOAD = Payload(file="loader.img", address=0x40480000, size=1 << 20, crc32=0, sha256="0" * 64)
PLAN = DeployPlan(
    system="s",
    board="qemu",
    payloads=(PAYLOAD,),
    start="go 0x40480000",
    failures=("panic",),
    boot_seconds=20.0,
    quiet_seconds=5.0,
)
READ_S = 0.05
"""From one piece of what the board says to the next."""
MAX_OUTPUT = 1 << 14
"""In the place of router.deploy.uboot's, so that an input reaches it soon."""
PHRASES = (
    *(b"=> ", b"\r\n=> ", b"u-boot=> ", b"\r\n", b"U-Boot 2024.01\r\n", b"\nU-Boot SPL 2024.01\n"),
    *(b"Hit any key to stop autoboot:  3 ", b"Starting kernel ...\r\n", b"\x08\x08 1 ", b"login: "),
    *(b"crc32 for 40480000 ... 4057ffff ==> 0badcafe\r\n", b"Bytes transferred = 1048576 (100000 hex)\r\n"),
    *(b"-> start    = 0x0000000040000000\r\n", b"-> size     = 0x0000000080000000\r\n"),
    *(b"relocaddr   = 0x00000000bffd0000\r\n", b"## Total Size      = 0x00100000 = 1048576 Bytes\r\n"),
    *(b"Unknown command 'crc32' - try 'help'\r\n", b"TFTP error: 'no such file' (1)\r\n", b"T T T "),
    *(b"C", b"\x06", b"\x15", b"\x18\x18", b"resetting ...\r\n", b"Kernel panic - not syncing\r\n"),
)


class Board:
    """The serial port with the board at its other end."""

    device, baud = "/dev/null", 115200

    def __init__(self, reader: Reader, clock: FakeTime) -> None:
        self.reader, self.clock = reader, clock
        self.total_received = 0
        self.said: list[bytes] = []
        self.waiting: list[bytes] = []
        self.mark = b"r"
        self.echoes = True
        self.flood: bytes | None = None

    def write(self, data: bytes) -> None:
        self.clock.now += 0.0001 * len(data)
        if self.echoes:
            self.waiting.append(data)
        if found := re.search(rb"echo (r[0-9]{6})", data):
            self.mark = found[1]

    def read(self, seconds: float) -> bytes:
        data = self.waiting.pop(0) if self.waiting else self.speak()
        self.clock.now += READ_S if data else max(seconds, 0.001)
        self.total_received += len(data)
        self.said.append(data)
        return data

    def speak(self) -> bytes:
        if not self.reader:
            return self.flood or b""
        kind = self.reader.number(1)
        match kind % 8:
            case 0:
                return PHRASES[(kind >> 3) % len(PHRASES)]
            case 1:
                return self.mark + b"-begin\r\n"
            case 2:
                return self.mark + b"-end=%d\r\n=> " % (kind >> 3)
            case 3:
                return b""
            case 4:
                self.echoes = not self.echoes
                return b""
            case 5:
                self.flood = self.reader.take((kind >> 3) + 1) * 16
                return self.flood
            case 6:
                return self.mark + (b"-end=$?\r\n" if kind & 8 else b"-end=" + self.reader.take(kind >> 4))
            case _:
                return self.reader.take(kind >> 3)


def run(loader: UBoot, line: Any) -> None:
    reply = loader.run("crc32 0x40480000 0x100000", SECONDS, quiet=3.0)
    assert len(reply.output) <= MAX_OUTPUT and reply.status >= 0
    said = b"".join(line.said).decode("utf-8", "replace")
    assert reply.output.replace("\n", "") in re.sub(r"[\r\n]", "", said), "an output is what the board has said"
    for number in (script.crc_of(reply.output), script.bytes_of(reply.output)):
        assert number is None or 0 <= number < 10**12
    script.check_memory(reply.output, (PAYLOAD,))
    raise advice.explain(reply.output, "crc32")


def send_file(loader: UBoot, line: Any) -> None:
    done: list[int] = []
    ymodem.Sender(line, done.append).send("loader.img", bytes(2500))
    assert done == [1024, 2048, 2500], "every block was acknowledged, in its turn"


def watch(loader: UBoot, line: Any) -> None:
    told: list[events.DeployEvent] = []
    Watcher(PLAN, events.Reporter(told.append), loader.start("go 0x40480000")).follow(line)


def catch(loader: UBoot, line: Any) -> None:
    loader.catch(SECONDS)
    assert re.search(r"=>\s*$", b"".join(line.said).decode("utf-8", "replace")), "there was a prompt"


STEPS: tuple[tuple[Callable[[UBoot, Any], object], float], ...] = (
    (lambda loader, line: loader.at_prompt(SECONDS), SECONDS),
    (catch, SECONDS),
    (run, SECONDS),
    (send_file, 6 * ymodem.MAX_TRIES * ymodem.ANSWER_TIMEOUT_S),
    (watch, PLAN.boot_seconds + boot.SETTLE_S),
)
"""Each with the seconds that it may take; typing a command comes on top."""
TYPING_S = 3 * (8 * ECHO_TIMEOUT_S) + 10.0


def one_input(data: bytes) -> None:
    if not data:
        return
    step, seconds = STEPS[data[0] % len(STEPS)]
    marks = itertools.count()
    with (
        fake_time(uboot, boot, ymodem, events) as clock,
        mock.patch.object(uboot, "MAX_OUTPUT", MAX_OUTPUT),
        mock.patch.object(secrets, "token_hex", lambda size: f"{next(marks):06}"),
    ):
        line: Any = Board(Reader(data[1:]), clock)
        started = clock.now
        try:
            step(UBoot(line, "=> "), line)
        except MachineError as error:
            assert all(line.isprintable() for line in str(error).split("\n")), repr(str(error))
        assert clock.now - started <= seconds + TYPING_S, "it ends in its time"


def seeds() -> list[bytes]:
    def phrase(text: bytes) -> int:
        return PHRASES.index(text) << 3

    memory = [phrase(text) for text in PHRASES if b"->" in text or b"relocaddr" in text]
    return [
        bytes([0, phrase(b"\r\n=> ")]),
        bytes([1, phrase(b"U-Boot 2024.01\r\n"), phrase(b"Hit any key to stop autoboot:  3 "), phrase(b"\r\n=> ")]),
        bytes([1, phrase(b"Starting kernel ...\r\n")]),
        bytes([2, 3, 3, 1, phrase(PHRASES[10]), 2]),
        bytes([2, 1, *memory, 2]),
        bytes([2, 1, phrase(b"Unknown command 'crc32' - try 'help'\r\n"), 10]),
        bytes([2, 4, 1, 14, 2]),
        bytes([2, 1, 0xFD]) + b"x" * 32,
        bytes([3, phrase(b"C"), phrase(b"\x06"), phrase(b"C"), *[phrase(b"\x06")] * 4, phrase(b"C"), phrase(b"\x06")]),
        bytes([3, phrase(b"C"), phrase(b"\x18\x18")]),
        bytes([4, phrase(b"Kernel panic - not syncing\r\n")]),
        bytes([4, 0x7F]) + b"tty1| hello ",
    ]
