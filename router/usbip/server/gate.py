# SPDX-License-Identifier: BSD-2-Clause
"""One client's connections at a time: new ones are let in once all requests of the old ones have ended.

A client that has given up its connections sends again what was not acknowledged, and then newer writes. Linux's target
may still have the old ones: a server that stood still, or a slow disk. A newer write must not be overtaken by them, and
the target itself takes any number of connections. So while a client is connected its subsystem lets no further host in
(`attr_allow_any_host`, which the target looks at when a controller is made: nvmet_alloc_ctrl); once the connections
have gone, each namespace is disabled, which waits for all its requests, and enabled again, and the client is let in.

What is sent before the client was seen to be connected, within LOOK_INTERVAL_S, is not covered.

The target takes any number of connections that have asked for nothing yet, and each takes memory. A client that has
more than MAX_CONNECTIONS loses all of them.
"""

from __future__ import annotations

from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text
from router.usbip.server.nvmet import Nvmet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from router.usbip.server.lanes import Lanes

TABLE = "/proc/self/net/tcp"
MIN_CONNECTIONS = 2
"""Of a controller: its admin queue's and one for I/O. One alone may still be on its way to become one."""
MAX_CONNECTIONS = 64
"""Of a client: one for its admin queue and one for each of its processors, and as many while it connects anew."""
_LISTEN, _TIME_WAIT = "0A", "06"
"""States in the table (include/net/tcp_states.h)."""


def connections(text: str) -> dict[int, int]:
    """How many TCP connections each local port has. text: of /proc/net/tcp (Documentation/networking/proc_net_tcp)."""
    found: dict[int, int] = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) > 3 and words[3] not in (_LISTEN, _TIME_WAIT):
            port = int(words[1].rpartition(":")[2], 16)
            found[port] = found.get(port, 0) + 1
    return found


def read_connections() -> dict[int, int]:
    """The same of this machine."""
    with open(TABLE, encoding="ascii") as table:
        return connections(table.read())


class Gates:
    """Keeps each client's subsystem open or closed for further connections."""

    def __init__(self, target: Nvmet, lanes: Lanes, read: Callable[[], dict[int, int]] = read_connections) -> None:
        self._target = target
        self._lanes = lanes
        self._read = read
        self._draining: set[int] = set()

    def look(self, ports: list[int]) -> None:
        """Brings the clients' subsystems in line with who is connected."""
        there = self._read()
        for tcp in ports:
            if tcp in self._draining:
                continue
            try:
                if there.get(tcp, 0) > MAX_CONNECTIONS:
                    log(f"port {tcp}: {there[tcp]} connections: all are closed, {MAX_CONNECTIONS} are the most")
                    self._target.cut(tcp)
                    continue
                admits = self._target.admits(tcp)
                if admits and there.get(tcp, 0) >= MIN_CONNECTIONS:
                    self._target.admit(tcp, False)
                elif not admits and not there.get(tcp, 0) and self._lanes.idle(tcp):
                    self._drain(tcp)
            except OSError as error:
                log(f"port {tcp}: cannot let a client in or keep it out: {error_text(error)}")

    def _drain(self, tcp: int) -> None:
        def done(error: OSError | None) -> None:
            self._draining.discard(tcp)
            if error is not None:
                log(f"port {tcp}: {error_text(error)}")

        self._draining.add(tcp)
        self._lanes.start(tcp, ["drain", str(tcp)], done)
