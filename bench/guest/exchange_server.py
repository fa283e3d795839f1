# SPDX-License-Identifier: BSD-2-Clause
"""Answers messages of agreed sizes, to time bare TCP with the sizes of USB/IP."""

from bench.guest.tcp import accept, listen

READY = b"."


def serve(port: int) -> None:
    """Serve one connection at a time for ever.

    A connection first says the sizes of its messages and their answers: "REQUEST,ANSWER ..." and a line feed.
    """
    server = listen(port)
    zeros, buffer = bytes(8192), bytearray(8192)
    while True:
        peer = accept(server)
        try:
            sizes = parse_sizes(peer.recv(200).decode())
            peer.sendall(READY)
            while True:
                for request, answer in sizes:
                    received = 0
                    while received < request:
                        count = peer.recv_into(buffer)
                        if not count:
                            raise EOFError
                        received += count
                    peer.sendall(zeros[:answer])
        except (OSError, EOFError):
            pass
        peer.close()


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """The pairs of a connection's first line."""
    return [(int(request), int(answer)) for request, _, answer in (word.partition(",") for word in text.split())]
