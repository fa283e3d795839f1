# SPDX-License-Identifier: BSD-2-Clause
"""What the hostile tests play with: a server of virtual devices, a header to bend, a relay between two ends."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from router.usbip.client.relay import Relay
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import urb
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.device import VirtualDevice
from router.usbip.virtual.engine import VirtualEngine
from tests.support.patience import PATIENCE
from tests.usbip.fakes import run_for
from tests.usbip.remote import running

ALL = "allow any all"


class World:
    """A server of virtual devices on loopback."""

    def __init__(self, loop: Loop, *devices: VirtualDevice) -> None:
        self.loop = loop
        self.engine = VirtualEngine(loop)
        self.busids = [self.engine.plug(device).busid for device in devices]
        self.server = Server(loop, [self.engine], parse_policy(ALL))
        port = self.server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1]
        self.address = Address("tcp", "127.0.0.1", port)
        self.server.rescan()

    def close(self) -> None:
        self.server.close(release=True)
        self.engine.close()


@contextmanager
def serving(*devices: VirtualDevice) -> Iterator[World]:
    loop = Loop()
    world = World(loop, *devices)
    try:
        with running(loop):
            yield world
    finally:
        world.close()
        loop.close()


def header(**changes: int | bytes) -> bytes:
    """A CMD_SUBMIT header of a bulk IN transfer of 64 bytes, with changes."""
    fields: dict[str, int | bytes] = {
        "command": 1,
        "seqnum": 1,
        "devid": 1,
        "direction": 1,
        "endpoint": 2,
        "flags": 0,
        "length": 64,
        "start": 0,
        "packets": 0,
        "interval": 0,
        "setup": bytes(8),
    }
    assert set(changes) <= set(fields)
    return struct.pack(">5I I4i8s", *(fields | changes).values())


class Between:
    """A relay with a kernel's and a server's end in the test's hands."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.kernel, kernel = socket.socketpair()
        self.server, server = socket.socketpair()
        self.over: list[int] = []
        self.relay = Relay(loop, server, kernel, lambda: self.over.append(1))
        for sock in (self.kernel, self.server):
            sock.settimeout(PATIENCE)
        self.alternates = bytes.fromhex(
            "09022000010100c032 0904000002ff000000 07058103640001 07058102000200".replace(" ", "")
        )
        self.seqnum = 0

    def close(self) -> None:
        self.relay.close()
        self.kernel.close()
        self.server.close()

    def submit(self, **words: object) -> urb.Submit:
        self.seqnum += 1
        submit = urb.Submit(self.seqnum, 1, **words)  # type: ignore[arg-type]
        self.kernel.sendall(urb.pack_submit(submit))
        run_for(self.loop, 0.03)
        assert self.server.recv(65536) == urb.pack_submit(submit), "what the kernel says goes through as it is"
        return submit

    def answer(self, data: bytes) -> bytes:
        """What the kernel gets of it; b"" if the connection is cut."""
        self.server.sendall(data)
        run_for(self.loop, 0.05)
        self.kernel.settimeout(0)
        try:
            return self.kernel.recv(1 << 20)
        except BlockingIOError:
            return b""
        finally:
            self.kernel.settimeout(PATIENCE)

    def configure(self, descriptors: bytes) -> None:
        """Lets the relay see a configuration descriptor go by, as a kernel asks for it."""
        setup = struct.pack("<BBHHH", 0x80, 6, 0x0200, 0, len(descriptors))
        submit = self.submit(direction=1, endpoint=0, length=len(descriptors), setup=setup)
        self.answer(urb.pack_return(submit.seqnum, 0, len(descriptors)) + descriptors)
        submit = self.submit(direction=0, endpoint=0, length=0, setup=struct.pack("<BBHHH", 0, 9, 1, 0, 0))
        self.answer(urb.pack_return(submit.seqnum, 0, 0))
        submit = self.submit(direction=0, endpoint=0, length=0, setup=struct.pack("<BBHHH", 1, 11, 1, 1, 0))
        self.answer(urb.pack_return(submit.seqnum, 0, 0))
