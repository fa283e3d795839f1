# SPDX-License-Identifier: BSD-2-Clause
"""The other side of usbredir, as QEMU is: a test says what it sends and reads what it gets."""

from __future__ import annotations

import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.usbredir import protocol
from bench.usbredir.plug import Plug
from bench.usbredir.protocol import Bulk, Cap, Control, Data, Kind, Packet
from router.usbip.virtual.device import VirtualDevice
from tests.support.patience import PATIENCE

ALL = frozenset(Cap)
"""What QEMU 7.2 can."""
IN, OUT = 0x80, 0x00


class Peer:
    """A connected QEMU. `hello` goes first."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self.sock.settimeout(PATIENCE)
        self.caps: frozenset[Cap] = frozenset()
        self._reader = protocol.Reader()
        self._waiting: list[Packet] = []
        self._unread: Iterator[Packet] = iter(())
        self._ident = 0

    def send(self, kind: int, body: bytes = b"", ident: int | None = None) -> int:
        """Send a packet; its id."""
        if ident is None:
            self._ident += 1
            ident = self._ident
        self.sock.sendall(protocol.pack(Packet(kind, ident, body), self._reader.wide))
        return ident

    def next(self) -> Packet:
        """The next packet; EOFError once the connection is closed."""
        while True:
            for packet in self._unread:
                return packet
            data = self.sock.recv(1 << 16)
            if not data:
                raise EOFError
            self._unread = self._reader.packets(data)

    def find(self, kind: int) -> Packet:
        """The next packet of that kind; others are left out."""
        while (packet := self.next()).kind != kind:
            pass
        return packet

    def hello(self, caps: frozenset[Cap] = ALL) -> None:
        """Greet, and be greeted."""
        bits = sum(1 << cap for cap in caps)
        self.send(Kind.HELLO, b"a test".ljust(64, b"\0") + struct.pack("<I", bits), 0)
        theirs = self.next()
        assert theirs.kind == Kind.HELLO
        self.caps = protocol.common_caps(theirs) & caps
        self._reader.wide = Cap.IDS_64BIT in self.caps

    def control(self, kind: int, request: int, value: int, index: int, length: int, data: bytes = b"") -> Control:
        """A control transfer and its answer."""
        ident = self.send(Kind.CONTROL_PACKET, Control(request, kind, value, index, length, data).pack())
        answer = self.find(Kind.CONTROL_PACKET)
        assert answer.ident == ident
        return Control.parse(answer)

    def configure(self, number: int = 1) -> bytes:
        """Choose a configuration; the answer's body."""
        self.send(Kind.SET_CONFIGURATION, bytes([number]))
        return self.find(Kind.CONFIGURATION_STATUS).body

    def bulk(self, endpoint: int, data: bytes = b"", length: int = 0) -> Bulk:
        """A bulk transfer and its answer."""
        ident = self.ask_bulk(endpoint, data, length)
        answer = self.find(Kind.BULK_PACKET)
        assert answer.ident == ident
        return Bulk.parse(answer, self.caps)

    def ask_bulk(self, endpoint: int, data: bytes = b"", length: int = 0) -> int:
        """Begin a bulk transfer; its id."""
        return self.send(Kind.BULK_PACKET, Bulk(endpoint, length or len(data), data=data).pack(self.caps))

    def data(self, kind: Kind) -> Data:
        """The next isochronous or interrupt packet."""
        return Data.parse(self.find(kind))


@contextmanager
def plugged(device: VirtualDevice | None, caps: frozenset[Cap] = ALL) -> Iterator[tuple[Plug, Peer]]:
    """A plug with that device, and a peer that has greeted it."""
    with tempfile.TemporaryDirectory() as folder, Plug(Path(folder) / "s", device) as plug:
        peer = Peer(plug.path)
        peer.hello(caps)
        yield plug, peer
        peer.sock.close()
