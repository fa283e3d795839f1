# SPDX-License-Identifier: BSD-2-Clause
"""Where the server listens, and how many connections it lets in."""

from __future__ import annotations

import socket
from collections.abc import Callable

from router.usbip.runtime import net
from router.usbip.runtime.event_loop import IN, Loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.server.conversation import Conversation

# Conversations in the handshake at once, and those that watch; a device that has been handed out does not count.
MAX_CONVERSATIONS = 128
# The share of the descriptors that conversations may take; the rest is for devices, their sessions and sysfs.
CONVERSATION_SHARE = 4
# How long connections wait in the kernel's queue when there is no descriptor for one.
NO_DESCRIPTOR_DELAY_S = 0.2


class Listeners:
    """Listening sockets. begin: makes a connection of that client a conversation; OSError: the client has gone.

    conversations: those that are open now.
    """

    def __init__(
        self,
        loop: Loop,
        conversations: set[Conversation],
        begin: Callable[[socket.socket, str], None],
    ) -> None:
        self._loop = loop
        self._conversations = conversations
        self._begin = begin
        self._sockets: list[socket.socket] = []
        self._closed = False
        self._max_conversations = 0

    def listen(self, address: net.Address) -> socket.socket:
        """Listens there; HostError if that cannot be."""
        sock = net.listen(address)
        self._sockets.append(sock)
        self._resume(sock)
        return sock

    def close(self) -> None:
        """Stops listening."""
        self._closed = True
        for listener in self._sockets:
            self._loop.forget(listener.fileno())
            listener.close()

    def max_conversations(self) -> int:
        """How many conversations may be open at once, by the number of descriptors that this process may have."""
        if not self._max_conversations:
            self._max_conversations = max(4, min(MAX_CONVERSATIONS, net.max_descriptors() // CONVERSATION_SHARE))
        return self._max_conversations

    def max_conversations_per_client(self) -> int:
        """A quarter of them: it takes more than three hostile clients to keep the others out."""
        return self.max_conversations() // 4

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, where = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors: leave the queue alone for a moment instead of spinning on it.
            log(f"cannot accept: {error_text(error)}")
            self._loop.forget(listener.fileno())
            self._loop.call_later(NO_DESCRIPTOR_DELAY_S, lambda: self._resume(listener))
            return
        client = net.peer_name(sock, where)
        mine = sum(conversation.client == client for conversation in self._conversations)
        if len(self._conversations) >= self.max_conversations() or mine >= self.max_conversations_per_client():
            log(f"{client}: too many connections")
            sock.close()
            return
        try:
            sock.setblocking(False)
            net.tune(sock)
            self._begin(sock, client)
        except OSError as error:
            log(f"{client}: {error_text(error)}")
            sock.close()

    def _resume(self, listener: socket.socket) -> None:
        if not self._closed:
            self._loop.watch(listener.fileno(), IN, lambda _: self._accept(listener), self._failed)

    def _failed(self, error: Exception) -> None:
        log(f"cannot serve a connection: {error_text(error)}")
