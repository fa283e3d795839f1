# SPDX-License-Identifier: BSD-2-Clause
"""Switches the offloads of the guest's network interface (linux/ethtool.h)."""

import array
import contextlib
import fcntl
import socket
import struct

SIOCETHTOOL = 0x8946
SGRO, SGSO, STSO, STXCSUM, SRXCSUM = 0x2C, 0x24, 0x1F, 0x17, 0x15


def switch(on: bool) -> None:
    """All of them on or off. What the device does not support stays; the length of its frames shows the result."""
    commands = (SGRO, SGSO, STSO, STXCSUM, SRXCSUM)
    stream = socket.socket()
    for command in reversed(commands) if on else commands:
        value = array.array("I", (command, on))
        with contextlib.suppress(OSError):  # the device does not have it
            fcntl.ioctl(stream, SIOCETHTOOL, struct.pack("16sP8x", b"eth0", value.buffer_info()[0]))
