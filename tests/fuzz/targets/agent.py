# SPDX-License-Identifier: BSD-2-Clause
"""A guest's agent that may say anything on its control channel, and what a caller makes of it.

A command's output and exit code are those of the lines with its own number; all other lines change nothing.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
from unittest import mock

from router.control.system import MAX_OUTPUT
from router.errors import MachineError
from router.machines.agent import AgentChannel

from ._reader import Reader

MAX_CODE = 255
"""Of an exit: the agent is a shell script."""
NUMBER = 7


def answers(reader: Reader) -> bytes:
    """What the agent says: mostly lines of the protocol, with parts of the input's choice."""
    said: list[bytes] = []
    for _ in range(64):
        if not reader:
            break
        kind = reader.number(1)
        part = reader.take(kind >> 4)
        number = NUMBER if kind & 8 else kind >> 4
        match kind & 7:
            case 0 | 1:
                said.append(b"%d o %s\n" % (number, base64.b64encode(part)))
            case 2:
                said.append(b"%d x %d\n" % (number, kind >> 4))
            case 3:
                said.append(b"%d x %s\n" % (number, part))
            case 4:
                said.append(b"%d o %s\n" % (number, part))
            case 5:
                said.append(b"router-agent 1 " + part + b"\n")
            case 6:
                said.append(part + b"\r\n")
            case _:
                said.append(part)
    return b"".join(said)


def expected(lines: list[bytes]) -> tuple[int | None, bytes]:
    """Exit code (None: no valid one) and output of the command, as docs/reference/control-channel.md has it."""
    output = b""
    for line in lines:
        words = line.strip().split()
        if len(words) != 3 or words[0] != b"%d" % NUMBER:
            continue
        try:
            if words[1] == b"o":
                output += base64.b64decode(words[2], validate=True)
            elif words[1] == b"x" and 0 <= (code := int(words[2])) <= MAX_CODE:
                return code, output
        except (ValueError, binascii.Error):
            continue
    return None, output


def one_input(data: bytes) -> None:
    text = answers(Reader(data[1:])) if data[:1] < b"\x80" else data[1:]
    mine, theirs = socket.socketpair()
    with mine, theirs, mock.patch.object(secrets, "randbelow", lambda limit: NUMBER - 1):
        # The greeting is read by `hello`; the command's answers come after it, and then the channel ends.
        theirs.sendall(b"router-agent 1 guest\n")
        channel = AgentChannel(mine, "guest")
        assert channel.hello(5.0) == "guest"
        channel._discard = lambda: theirs.sendall(text) or theirs.shutdown(socket.SHUT_WR)  # type: ignore[method-assign,func-returns-value]
        streamed: list[bytes] = []
        code, output = expected(text.split(b"\n")[:-1])
        try:
            found, kept = channel.run("true", 5.0, streamed.append if data[:1] == b"\1" else None)
        except MachineError as error:
            assert error.message.isprintable() and (error.hint or " ").isprintable()
            assert code is None, error.message
            return
        assert found == code and (kept or b"".join(streamed)) == output
        assert len(kept) <= MAX_OUTPUT


def seeds() -> list[bytes]:
    return [
        bytes([0, 0x58]) + b"hello" + bytes([0x0A]),
        bytes([1, 0x38]) + b"abc" + bytes([0x38]) + b"def" + bytes([0x3A]) + b"xyz",
        bytes([0, 0x35]) + b"new" + bytes([0x36]) + b"\xff\0 " + bytes([0x4C]) + b"b64=" + bytes([0x2B]) + b"99",
        b"\x80" + b"7 o aGVsbG8=\n7 x 0\n",
        b"\x80" + b"6 x 1\n7 o ***\n\n7 o aGk=\n7 y 1\n7 x 999999999999\n",
    ]
