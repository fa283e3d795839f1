# SPDX-License-Identifier: BSD-2-Clause
"""TCP connections of the measurements."""

import socket
import time

CONNECT_TIMEOUT_S = 60.0


def listen(port: int) -> socket.socket:
    """A listening socket on all addresses."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("", port))
    server.listen(4)
    return server


def accept(server: socket.socket) -> socket.socket:
    """The next connection, without Nagle's delay."""
    peer, _ = server.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def connect(server: str, port: int, timeout_s: float = CONNECT_TIMEOUT_S) -> socket.socket:
    """A connection without Nagle's delay; retries, since the server's Python may still be starting."""
    end = time.monotonic() + timeout_s
    while True:
        peer = socket.socket()
        try:
            peer.connect((server, port))
            break
        except OSError:
            peer.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def receive_into(peer: socket.socket, buffer: bytearray) -> int:
    """How many bytes came, at least one; EOFError when the peer has closed the connection."""
    count = peer.recv_into(buffer)
    if not count:
        raise EOFError("the server has closed the connection")
    return count
