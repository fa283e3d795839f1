# SPDX-License-Identifier: BSD-2-Clause
"""A smart card for QEMU's ccid-card-passthru, which reaches it through a socket.

The protocol is libcacard's vscard_common.h: messages of type, reader and length (u32, big-endian) and the data.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

INIT, ERROR, READER_ADD, _, ATR, _, APDU = range(1, 8)
HELLO = b"VSCD" + struct.pack(">II", 2, 0)
"""Magic, version 0.0.2, no capabilities."""
RESET = bytes.fromhex("3b021450")
"""An answer to reset (ISO 7816-3): direct convention, no interface bytes, two historical bytes."""


class SmartCard(threading.Thread):
    """Listens on `path`; answers each command with its own bytes backwards and 90 00 (ISO 7816-4: no error)."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._stream: socket.socket | None = None
        self.start()

    def run(self) -> None:
        """Serve one reader until it hangs up."""
        try:
            stream, _ = self._server.accept()
            with stream, stream.makefile("rb") as file:
                self._stream = stream
                for kind, data in ((INIT, HELLO), (READER_ADD, b"bench\0"), (ATR, RESET)):
                    self._send(stream, kind, data)
                while len(head := file.read(12)) == 12:
                    kind, _, size = struct.unpack(">III", head)
                    data = file.read(size)
                    if kind == APDU:
                        self._send(stream, APDU, data[::-1] + b"\x90\x00")
        except OSError:
            # Closed: the card was removed.
            return

    def _send(self, stream: socket.socket, kind: int, data: bytes) -> None:
        stream.sendall(struct.pack(">III", kind, 0, len(data)) + data)

    def close(self) -> None:
        """Remove the card, which ends the thread."""
        for each in (self._stream, self._server):
            if each is not None:
                with contextlib.suppress(OSError):  # it has ended already
                    each.shutdown(socket.SHUT_RDWR)
        self._server.close()
