# SPDX-License-Identifier: BSD-2-Clause
"""ICMP echo requests with random data, which busybox's ping does not compare."""

import os
import socket
import struct
import time

ECHO_REQUEST, ECHO_REPLY = 8, 0
IDENTIFIER = 77
IP_HEADER = 20
TIMEOUT_S = 2.0


def ping(to: str, count: int, size: int) -> None:
    """Send echo requests with `size` (even) random bytes; prints how many came back unchanged."""
    stream = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    stream.settimeout(TIMEOUT_S)
    same = 0
    for number in range(count):
        body = os.urandom(size)
        head = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, IDENTIFIER, number)
        head = struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(head + body), IDENTIFIER, number)
        stream.sendto(head + body, (to, 0))
        same += reply(stream, number) == body
    print(same)


def reply(stream: socket.socket, number: int) -> bytes:
    """The data of the answer to request `number`; b"" after the timeout."""
    end = time.monotonic() + TIMEOUT_S
    try:
        while time.monotonic() < end:
            packet = stream.recv(65536)
            identity = struct.unpack_from("!HH", packet, IP_HEADER + 4)
            if packet[IP_HEADER] == ECHO_REPLY and identity == (IDENTIFIER, number):
                return packet[IP_HEADER + 8 :]
    except TimeoutError:
        pass
    return b""


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
