# SPDX-License-Identifier: BSD-2-Clause
"""Round trips of one message between two guests, by TCP or by vsock. Prints `echo seconds` for each."""

import socket
import time

from bench.guest.tcp import accept, connect, listen, receive_into

MESSAGE = 48
"""Bytes: the header of USB/IP."""
VMADDR_CID_ANY = 0xFFFFFFFF
CONNECT_TIMEOUT_S = 60.0


def serve(vsock: bool, port: int) -> None:
    """Return what one client after another sends."""
    if vsock:
        server = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        server.bind((VMADDR_CID_ANY, port))
        server.listen(4)
    else:
        server = listen(port)
    while True:
        peer = server.accept()[0] if vsock else accept(server)
        while data := peer.recv(MESSAGE):
            peer.sendall(data)
        peer.close()


def measure(server: str, port: int, times: int) -> None:
    """server: an IPv4 address, or `vsock:CID`. One round trip after another."""
    kind, _, cid = server.partition(":")
    peer = connect_vsock(int(cid), port) if kind == "vsock" else connect(server, port)
    message, buffer = bytes(MESSAGE), bytearray(MESSAGE)
    for _ in range(times):
        start, received = time.monotonic(), 0
        peer.sendall(message)
        while received < MESSAGE:
            received += receive_into(peer, buffer)
        print("echo", time.monotonic() - start)
    peer.close()


def connect_vsock(cid: int, port: int) -> socket.socket:
    """A connection; retries, since the server's Python may still be starting."""
    end = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        peer = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            peer.connect((cid, port))
            return peer
        except OSError:
            peer.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
