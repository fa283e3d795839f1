# SPDX-License-Identifier: BSD-2-Clause
"""Times bare TCP with the sizes of a read, and one URB to the device itself. Prints `name median`, in seconds."""

import socket
import time
from collections.abc import Callable

from bench.guest.tcp import connect, receive_into
from router.errors import RouterError
from router.usbip.client.exchange import import_steps, run_steps
from router.usbip.protocol import handshake, urb
from router.usbip.protocol.device import Device

READ = ((79, 48), (48, 4144), (48, 61))
"""A 4 KiB read by bulk-only transport: command (48 + 31 bytes), data (48 + 4096 back), status (48 + 13 back)."""
ONE = ((48, 66),)
"""A device descriptor: request, and its answer of 48 + 18 bytes."""
TIMES = 200
TIMEOUT_S = 20.0


def measure(server: str, port: int, urb_port: int, busid: str) -> None:
    """port: of `exchange_server`; urb_port: of the USB/IP daemon that exports `busid`."""
    print("tcp read", exchange_time(server, port, READ))
    print("tcp one", exchange_time(server, port, ONE))
    peer, device = attach(server, urb_port, busid)
    buffer = bytearray(8192)
    number = 0

    def read_descriptor() -> None:
        nonlocal number
        number += 1
        setup = bytes((0x80, 6, 0, 1, 0, 0, 18, 0))
        exchange(peer, urb.pack_submit(urb.Submit(number, device.devid, urb.IN, 0, 18, b"", setup)), 66, buffer)

    print("kernel urb", median_time(read_descriptor))
    peer.close()
    time.sleep(1)


def open_connection(server: str, port: int) -> socket.socket:
    """A connection whose operations have a timeout."""
    peer = connect(server, port, TIMEOUT_S)
    peer.settimeout(TIMEOUT_S)
    return peer


def exchange_time(server: str, port: int, sizes: tuple[tuple[int, int], ...]) -> float:
    """The median time of all exchanges of `sizes`, one after another."""
    peer = open_connection(server, port)
    peer.sendall((" ".join(f"{request},{answer}" for request, answer in sizes) + "\n").encode())
    peer.recv(1)
    requests = [(bytes(request), answer) for request, answer in sizes]
    buffer = bytearray(8192)

    def all_exchanges() -> None:
        for request, answer in requests:
            exchange(peer, request, answer, buffer)

    median = median_time(all_exchanges)
    peer.close()
    return median


def exchange(peer: socket.socket, request: bytes, size: int, buffer: bytearray) -> None:
    """Send a request and receive an answer of `size` bytes."""
    peer.sendall(request)
    received = 0
    while received < size:
        received += receive_into(peer, buffer)


def attach(server: str, port: int, busid: str) -> tuple[socket.socket, Device]:
    """Import a device; retries while the session before is still ending."""
    for last in (*[False] * 49, True):
        peer = open_connection(server, port)
        try:
            return peer, run_steps(peer, handshake.pack_import_request(busid), import_steps(busid))
        except (RouterError, OSError):
            peer.close()
            if last:
                raise
            time.sleep(0.1)
    raise AssertionError("the last try returns or raises")


def median_time(call: Callable[[], None]) -> float:
    """Seconds."""
    seconds = []
    for _ in range(TIMES):
        start = time.monotonic()
        call()
        seconds.append(time.monotonic() - start)
    return sorted(seconds)[TIMES // 2]
