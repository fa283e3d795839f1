# SPDX-License-Identifier: BSD-2-Clause
"""What `keep_attached` notes of each device: where it is attached, and when to try again."""

from __future__ import annotations

import socket

from router.usbip.client.vhci import Port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.client.relay import Relay

# A guest that boots together with its server asks often; nothing is lost by a refused connection on a virtual network.
MIN_DELAY_S, DELAY_FACTOR, MAX_DELAY_S = 0.2, 1.5, 3.0


class Backoff:
    """Delays that grow from one failure to the next."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = MIN_DELAY_S

    def delay(self) -> float:
        delay = self._next
        self._next = min(delay * DELAY_FACTOR, MAX_DELAY_S)
        return delay

    def reset(self) -> None:
        self._next = MIN_DELAY_S


class Held:
    """A device that is attached here. `sock`: our own descriptor of the connection, None if an earlier run made it."""

    __slots__ = ("busid", "devid", "port", "relay", "sock")

    def __init__(self, busid: str, devid: int, port: Port, sock: socket.socket | None) -> None:
        self.busid = busid
        self.devid = devid
        self.port = port
        self.sock = sock
        self.relay: Relay | None = None
