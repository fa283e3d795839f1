# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's hot-plug messages from a netlink socket (lib/kobject_uevent.c), without udev."""

from __future__ import annotations

import errno
import socket

from router.errors import HostError
from router.usbip.runtime.text import error_text

NETLINK_KOBJECT_UEVENT = 15
KERNEL_GROUP = 1


def parse_uevent(data: bytes) -> dict[str, str]:
    """The message's KEY=value pairs; {} for one that is not the kernel's (udev prefixes its own with "libudev")."""
    head, *fields = data.split(b"\0")
    if b"@" not in head or head.startswith(b"libudev"):
        return {}
    pairs: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition(b"=")
        if equals:
            pairs[key.decode("ascii", "replace")] = value.decode("utf-8", "surrogateescape")
    return pairs


class Uevents:
    """A non-blocking socket of kernel uevents. OSError from the constructor: this machine has no netlink."""

    def __init__(self) -> None:
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT
        )
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.socket.bind((0, KERNEL_GROUP))
        except OSError:
            self.socket.close()
            raise

    def fileno(self) -> int:
        return self.socket.fileno()

    def read(self) -> list[dict[str, str]] | None:
        """The messages that wait, or None when some were lost: then look at everything."""
        messages: list[dict[str, str]] = []
        while True:
            try:
                data, (sender, _) = self.socket.recvfrom(65536)
            except BlockingIOError:
                return messages
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            # Only the kernel sends from port 0; anything else is another process playing kernel.
            if sender == 0:
                message = parse_uevent(data)
                if message:
                    messages.append(message)

    def close(self) -> None:
        self.socket.close()


def required_uevents() -> Uevents:
    """The socket, for a program that is nothing without it: HostError where there is no netlink."""
    try:
        return Uevents()
    except OSError as error:
        raise HostError(f"no kernel uevents: {error_text(error)}", "the kernel needs netlink") from error
