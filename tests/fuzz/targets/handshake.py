# SPDX-License-Identifier: BSD-2-Clause
"""The handshake, both ends: what a server makes of a client's bytes, and a client of a server's."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from typing import Any

from router.errors import MachineError
from router.usbip.client.exchange import devlist_steps, import_steps, watch_steps
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.protocol.handshake import Grant, ImportRefused, WireError
from router.usbip.runtime.event_loop import Loop
from router.usbip.server.conversation import Conversation

DEVICE = Device("1-1", 3, 1, 2, 0x46F4, 1, interfaces=((8, 6, 0x50),), path="/sys/devices/usb1/1-1")
_loop = Loop()


class Host:
    """A server with one device, which refuses imports."""

    def __init__(self) -> None:
        self.loop = _loop
        self.conversations: set[Conversation] = set()

    def devices_for(self, client: str) -> list[Device]:
        return [DEVICE]

    def grants_for(self, client: str) -> list[Grant]:
        return [(DEVICE, 1, handshake.WATCH_AVAILABLE)]

    def import_device(self, client: str, busid: str, sock: socket.socket) -> None:
        raise ImportRefused(busid)

    def end_sessions(self, client: str) -> None:
        raise AssertionError("no interval of beats has passed")

    def forget_sessions(self, client: str, held: list[int]) -> None:
        assert all(0 <= devid < 1 << 32 for devid in held)


class Strict(Conversation):
    """A conversation that lets an exception out that is none of a peer's making."""

    def fail(self, error: Exception) -> None:
        if not isinstance(error, (OSError, WireError)):
            raise error
        super().fail(error)


def serve(data: bytes) -> None:
    """The server's end."""
    mine, theirs = socket.socketpair()
    theirs.setblocking(False)
    host = Host()
    conversation = Strict(host, theirs, "10.77.0.3")
    host.conversations.add(conversation)
    with mine:
        mine.sendall(data[:4096])
        for _ in range(8):
            _loop.run_once(0)
        conversation.close()
    assert not host.conversations


def ask(steps: Generator[int, bytes, Any], data: bytes) -> None:
    """The client's end."""
    need = next(steps)
    at = 0
    while at + need <= len(data):
        assert 0 < need < 1 << 20, "no more is read than an honest server can have to say"
        part, at = data[at : at + need], at + need
        need = steps.send(part)


def record(data: bytes) -> None:
    """A device record that is accepted is the same when it was packed again."""
    device, _ = handshake.unpack_device(data[: handshake.DEVICE_SIZE])
    again, _ = handshake.unpack_device(handshake.pack_device(device))
    device.speed = again.speed = min(device.speed, again.speed)
    assert again == device
    repr(again).encode()


CLIENTS: list[Callable[[bytes], None]] = [
    lambda data: ask(devlist_steps(), data),
    lambda data: ask(import_steps("1-1"), data),
    lambda data: ask(watch_steps(lambda grants: None), data),
    record,
]


def one_input(data: bytes) -> None:
    if not data:
        return
    if data[0] % 5 == 4:
        serve(data[1:])
        return
    try:
        CLIENTS[data[0] % 5](data[1:])
    except (MachineError, StopIteration):
        return


def seeds() -> list[bytes]:
    watch = handshake.pack_watch_reply() + handshake.pack_watch_list([(DEVICE, 2, handshake.WATCH_YOURS)])
    return [
        b"\0" + handshake.pack_devlist_reply([DEVICE]),
        b"\1" + handshake.pack_import_reply(DEVICE),
        b"\1" + handshake.pack_common(handshake.OP_IMPORT, handshake.ST_NODEV),
        b"\2" + watch,
        b"\3" + handshake.pack_device(DEVICE),
        b"\4" + handshake.pack_devlist_request(),
        b"\4" + handshake.pack_import_request("1-1.2"),
        b"\4" + handshake.pack_watch_request([0x10002, 3]),
    ]
