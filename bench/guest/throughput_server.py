# SPDX-License-Identifier: BSD-2-Clause
"""The server of the TCP measurements."""

from bench.guest.tcp import accept, listen

MESSAGE = 48
SEND, ECHO = b"s", b"e"


def serve(port: int) -> None:
    """Serve one connection at a time for ever. Its first byte is the mode: send zeros, or echo."""
    server = listen(port)
    zeros = bytes(1 << 18)
    while True:
        peer = accept(server)
        mode = peer.recv(1)
        try:
            while mode == SEND:
                peer.sendall(zeros)
            while mode == ECHO and (data := peer.recv(MESSAGE)):
                peer.sendall(data)
        except OSError:
            pass
        peer.close()
