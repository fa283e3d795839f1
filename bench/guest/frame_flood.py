# SPDX-License-Identifier: BSD-2-Clause
"""Sends frames as fast as the guest can: datagrams that a rule lets through, and frames that none does."""

import contextlib
import socket
import time

UNKNOWN = b"\xff" * 6 + b"\x02\0\0\0\0\1" + b"\x88\xb5" + bytes(1500)
"""To all, from a foreign address, of a protocol for local experiments (IEEE 802, 9.2.3)."""
ROUND = 64
"""Of each kind between two looks at the clock."""


def send(address: str, port: int, seconds: float) -> None:
    """Until the time is over; what the kernel has no room for at the moment is not sent again."""
    allowed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    allowed.connect((address, port))
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    raw.bind(("eth0", 0))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(ROUND):
            with contextlib.suppress(OSError):  # no room, or the other end has said that nothing listens there
                allowed.send(bytes(1400))
            with contextlib.suppress(OSError):
                raw.send(UNKNOWN)
