# SPDX-License-Identifier: BSD-2-Clause
"""One client's conversation with the server, from its first byte until it has its device, its list or its refusal."""

from __future__ import annotations

import socket
from collections.abc import Callable

from router.usbip.protocol import handshake
from router.usbip.protocol.handshake import ImportRefused
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from router.usbip.protocol.device import Device

    class Host(Protocol):
        """The server as a conversation sees it."""

        loop: event_loop.Loop
        conversations: set[Conversation]

        def devices_for(self, client: str) -> list[Device]:
            """What DEVLIST shows the client."""

        def grants_for(self, client: str) -> list[handshake.Grant]:
            """What WATCH shows the client."""

        def import_device(self, client: str, busid: str, sock: socket.socket) -> None:
            """Answers an import with yes and hands the connection over; ImportRefused otherwise."""

        def forget_sessions(self, client: str, held: list[int]) -> None:
            """Ends the client's sessions that it does not know of."""

        def end_sessions(self, client: str) -> None:
            """Ends all of the client's sessions."""


# A client has this long from connecting to the last byte of its request, and as long to take an answer.
REQUEST_TIMEOUT_S = 10.0
# After its last answer the server waits this long for the peer to close first: closing with unread input resets the
# connection, and the peer would lose the answer.
LINGER_TIMEOUT_S = 1.0
MAX_LINGER_BYTES = 65536
# A client that has begun to send beats, or that watches over vsock, is dead when it misses more than these. This
# program's own intervals count: if it was held up itself, that is one.
MAX_MISSED_BEATS = 4


class Conversation:
    """Reads a request, never a byte beyond it, because what follows an import belongs to the engine."""

    def __init__(self, server: Host, sock: socket.socket, client: str) -> None:
        self.client = client
        self._server = server
        self._socket = sock
        self._fd = sock.fileno()
        self._data = bytearray()
        self._need = handshake.COMMON_SIZE
        self._step: Callable[[bytes], None] = self._common
        self._out = bytearray()
        self._last = False
        self.watching = False
        self._last_list = b""
        self._lingered = 0
        self._beats = False
        self._missed = 0
        self._timer = server.loop.call_later(REQUEST_TIMEOUT_S, self.close)
        server.loop.watch(self._fd, event_loop.IN, self._ready, self.fail)

    def close(self) -> None:
        """Ends the conversation and its connection."""
        if self in self._server.conversations:
            self._leave()
            self._server.loop.forget(self._fd)
            self._socket.close()

    def _leave(self) -> None:
        """Takes the conversation off the server; the socket has another owner now."""
        self._server.conversations.discard(self)
        self._timer.cancel()

    # Input

    def _ready(self, happened: int) -> None:
        """What this raises goes to `fail`, and ends the conversation."""
        if happened & event_loop.OUT:
            self._flush()
        elif happened & (event_loop.IN | event_loop.HUP | event_loop.ERR):
            self._read()

    def fail(self, error: Exception) -> None:
        """Ends the conversation over an exception, whatever it is: others go on."""
        if not isinstance(error, OSError):
            # A peer that resets its connection is not worth a line.
            log(f"{self.client}: {error_text(error)}")
        self.close()

    def _read(self) -> None:
        if self._last or self.watching:
            # Nothing is expected any more but beats and the end.
            part = self._socket.recv(4096)
            self._lingered += len(part)
            if not part or self._lingered > MAX_LINGER_BYTES:
                self.close()
            elif self.watching:
                self._heard_beat()
            return
        part = self._socket.recv(self._need - len(self._data))
        if not part:
            self.close()
            return
        self._data += part
        if len(self._data) == self._need:
            data, self._data = bytes(self._data), bytearray()
            self._step(data)

    def _expect(self, size: int, step: Callable[[bytes], None]) -> None:
        self._need = size
        self._step = step

    def _common(self, data: bytes) -> None:
        version, code, _ = handshake.unpack_common(data)
        if version != handshake.VERSION:
            log(f"{self.client}: speaks version {version:#06x}, this server {handshake.VERSION:#06x}")
            # Our own version in the answer is what an old client prints.
            self._answer(handshake.pack_common(code & ~handshake.REQUEST, handshake.ST_NA), last=True)
        elif code == handshake.REQUEST | handshake.OP_DEVLIST:
            self._answer(handshake.pack_devlist_reply(self._server.devices_for(self.client)), last=True)
        elif code == handshake.REQUEST | handshake.OP_IMPORT:
            self._expect(handshake.BUSID_SIZE, self._import)
        elif code == handshake.REQUEST | handshake.OP_WATCH:
            self._expect(handshake.WATCH_HEAD_SIZE, self._watch)
        else:
            log(f"{self.client}: unknown request {code:#06x}")
            self._answer(handshake.pack_common(code & ~handshake.REQUEST, handshake.ST_NA), last=True)

    def _import(self, data: bytes) -> None:
        try:
            busid = handshake.unpack_import_busid(data)
        except handshake.WireError as error:
            log(f"{self.client}: {error.message}")
            self._answer(handshake.pack_common(handshake.OP_IMPORT, handshake.ST_NODEV), last=True)
            return
        # From here on the engine's session owns the socket, unless the import fails.
        self._server.loop.forget(self._fd)
        try:
            self._server.import_device(self.client, busid, self._socket)
        except ImportRefused as error:
            log(f"{self.client}: import of {busid}: {error}")
            if self._socket.fileno() < 0:
                self._leave()
                return
            self._socket.setblocking(False)
            self._answer(handshake.pack_common(handshake.OP_IMPORT, error.status), last=True)
            return
        self._leave()

    def _watch(self, data: bytes) -> None:
        version, count = handshake.unpack_watch_head(data)
        if version != handshake.WATCH_VERSION:
            self._answer(handshake.pack_common(handshake.OP_WATCH, handshake.ST_NA), last=True)
        elif count:
            self._expect(count * handshake.COUNT_SIZE, self._start_watch)
        else:
            self._start_watch(b"")

    def _start_watch(self, data: bytes) -> None:
        self._server.forget_sessions(self.client, handshake.unpack_held(data))
        self._timer.cancel()
        self.watching = True
        if self.client.startswith("vsock:"):
            # No keepalive watches over this client, so that its beats count from the start.
            self._count_beats()
        self._answer(handshake.pack_watch_reply(), last=False)
        self.update()

    # Beats

    def _count_beats(self) -> None:
        self._beats = True
        self._timer = self._server.loop.call_later(handshake.BEAT_INTERVAL_S, self._interval)

    def _heard_beat(self) -> None:
        if not self._beats:
            self._count_beats()
        self._missed = 0
        self._last_list = b""
        self.update()

    def _interval(self) -> None:
        self._lingered = 0
        self._missed += 1
        if self._missed > MAX_MISSED_BEATS:
            self.close()
            self._server.end_sessions(self.client)
            return
        self._timer = self._server.loop.call_later(handshake.BEAT_INTERVAL_S, self._interval)

    # Output

    def update(self) -> None:
        """Sends a watching client what is granted to it now, if that is news; a slow reader gets the latest only."""
        if not self.watching or self._out:
            return
        grants = handshake.pack_watch_list(self._server.grants_for(self.client))
        if grants != self._last_list:
            self._last_list = grants
            try:
                self._answer(grants, last=False)
            except OSError as error:
                self.fail(error)

    def _answer(self, data: bytes, last: bool) -> None:
        self._out += data
        self._last = last
        if last:
            self._timer.cancel()
            self._timer = self._server.loop.call_later(REQUEST_TIMEOUT_S, self.close)
        self._flush()

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            sent = 0
        del self._out[:sent]
        if self._out:
            self._server.loop.watch(self._fd, event_loop.OUT, self._ready, self.fail)
            return
        self._server.loop.watch(self._fd, event_loop.IN, self._ready, self.fail)
        if self._last:
            self._socket.shutdown(socket.SHUT_WR)
            self._timer.cancel()
            self._timer = self._server.loop.call_later(LINGER_TIMEOUT_S, self.close)
        elif self.watching:
            self.update()
