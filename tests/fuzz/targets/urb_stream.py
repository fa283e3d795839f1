# SPDX-License-Identifier: BSD-2-Clause
"""A client's URB stream to a session in user space, with each virtual device behind it."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from typing import Any

from router.usbip.engines.session import MAX_WAITING_OUT, UserSession
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import parse_alternates
from router.usbip.protocol.device import Device
from router.usbip.protocol.handshake import WireError
from router.usbip.runtime.event_loop import Loop
from router.usbip.server.statistics import Statistics
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.device import MAX_UNFETCHED, VirtualDevice
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial

from ._reader import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

_loop = Loop()
_disk = tempfile.NamedTemporaryFile()  # noqa: SIM115  (it lives as long as the process)
os.truncate(_disk.name, 1 << 16)


class Strict(UserSession):
    """A session that lets an exception out that is none of a peer's making."""

    def fail(self, error: Exception) -> None:
        if not isinstance(error, (OSError, EOFError, WireError)):
            raise error
        super().fail(error)

    def complete(self, submit: urb.Submit, status: int, data: Buffer = b"", *more: Any, **other: Any) -> bool:
        assert len(data) <= submit.length, "no answer is larger than the buffer that it is for"
        return super().complete(submit, status, data, *more, **other)


def device(number: int) -> VirtualDevice:
    return (Serial, Microphone, lambda: Keyboard("aB"), lambda: Disk(_disk.name))[number % 4]()


def stream_of(reader: Reader) -> bytes:
    """PDUs that a few bytes each describe, so that the fuzzer gets to what they do."""
    parts: list[bytes] = []
    while reader and len(parts) < 64:
        kind, seqnum = reader.number(1), len(parts) + 1
        endpoint = (kind >> 3) & 3
        match kind & 7:
            case 0 | 1:
                setup = reader.take(8).ljust(8, b"\0")
                length = min(int.from_bytes(setup[6:8], "little"), 512)
                way = setup[0] >> 7
                parts.append(_submit(seqnum, way, 0, length, b"" if way else bytes(length), setup=setup))
            case 2:
                parts.append(_submit(seqnum, urb.IN, endpoint, reader.number(2)))
            case 3:
                parts.append(_submit(seqnum, urb.OUT, endpoint, data=reader.take(reader.number(1))))
            case 4:
                parts.append(urb.pack_unlink(urb.Unlink(seqnum, 1, reader.number(1))))
            case 5:
                iso = [(reader.number(1), reader.number(1)) for _ in range(reader.number(1) % 8 + 1)]
                length = reader.number(2)
                parts.append(_submit(seqnum, kind >> 7, endpoint, length, b"" if kind >> 7 else bytes(length), iso=iso))
            case 6:
                command = struct.pack("<4sIIBBB", b"USBC", seqnum, reader.number(2), kind & 0x80, 0, 16)
                parts.append(_submit(seqnum, urb.OUT, 2, data=command + reader.take(16).ljust(16, b"\0")))
            case _:
                parts.append(reader.take(reader.number(1)))
    return b"".join(parts)


def one_input(data: bytes) -> None:
    if not data:
        return
    target = device(data[0])
    if data[0] & 0x20:
        data = data[:1] + stream_of(Reader(data[1:]))
    # The stream comes in one part or in two.
    cut = len(data) // 2 if data[0] & 0x80 else len(data)
    mine, theirs = socket.socketpair()
    ended: list[int] = []
    statistics = Statistics().tap(Device("90-1", 3, 90, 1, 1, 1)) if data[0] & 0x40 else None
    session = Strict(_loop, theirs, target, lambda: ended.append(1), statistics)
    mine.setblocking(False)
    for part in (data[1:cut], data[cut:]):
        try:
            mine.send(part)
        except OSError:
            break
        for _ in range(3):
            _loop.run_once(0)
        assert target._unfetched <= MAX_UNFETCHED + urb.MAX_TRANSFER + (1 << 16)
        assert session._waiting_out <= MAX_WAITING_OUT + urb.MAX_TRANSFER + (1 << 16)
        try:
            while mine.recv(1 << 16):
                pass
        except OSError:
            continue
    mine.close()
    for _ in range(3):
        _loop.run_once(0)
    session.close()
    target.close()
    assert ended == [1] and not session.pending


def _submit(seqnum: int, direction: int, endpoint: int, length: int = 0, data: bytes = b"", **more: object) -> bytes:
    return urb.pack_submit(urb.Submit(seqnum, 1, direction, endpoint, length or len(data), data, **more))  # type: ignore[arg-type]


def seeds() -> list[bytes]:
    found = []
    for number in range(4):
        one = device(number)
        parts = [
            _submit(1, urb.IN, 0, 18, setup=struct.pack("<BBHHH", 0x80, 6, 0x100, 0, 18)),
            _submit(2, urb.OUT, 0, setup=struct.pack("<BBHHH", 0, 9, 1, 0, 0)),
            _submit(3, urb.OUT, 0, setup=struct.pack("<BBHHH", 1, 11, 300, 0, 0)),
            _submit(4, urb.IN, 0, 1, setup=struct.pack("<BBHHH", 0x81, 10, 0, 0, 1)),
        ]
        for (_, _), endpoints in parse_alternates(one.config_descriptor, 1).items():
            for address, kind in endpoints.items():
                iso = [(0, 8), (8, 8)] if kind == 1 else None
                way = address >> 7
                parts.append(_submit(10 + address, way, address & 15, 16, b"" if way else bytes(16), iso=iso))
                parts.append(urb.pack_unlink(urb.Unlink(1000 + address, 1, 10 + address)))
        found.append(bytes([number | 0x40]) + b"".join(parts))
        one.close()
    read = struct.pack("<4sIIBBB16s", b"USBC", 7, 512, 0x80, 0, 10, struct.pack(">BBIBHB", 0x28, 0, 0, 0, 1, 0))
    found += [
        bytes([number | 0x20]) + bytes([0, 0, 9, 1, 0, 0, 0, 0, 0, 2, 8, 0, 4, 2, 3, 1, 7]) for number in range(4)
    ]
    found.append(b"\x03" + _submit(1, urb.OUT, 2, data=read) + _submit(2, urb.IN, 1, 512) + _submit(3, urb.IN, 1, 13))
    return found
