# SPDX-License-Identifier: BSD-2-Clause
"""Where requests to the kernel's target run that may wait there: a process for each client, so that none waits for
another's disk.

Opening a disk takes as long as the disk does; taking one from a client waits until all that the client has asked for
has ended (nvmet_ns_disable, drivers/nvme/target/core.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from router.usbip.runtime import event_loop
from router.usbip.runtime.helper import Helper
from router.usbip.server.nvmet import Namespace, Nvmet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Lanes(Protocol):
        """Each lane runs one request at a time. A client's lane has the number of its TCP port."""

        def idle(self, lane: int) -> bool:
            """Whether a request can be started there."""
            ...

        def start(self, lane: int, words: list[str], done: Callable[[OSError | None], None]) -> None:
            """Starts a request (see `target_call`); `done` is called with its error, or None, now or later."""
            ...


LOOKING_LANE = 0
"""The lane that opens card readers."""


def target_call(target: Nvmet, words: list[str]) -> None:
    """What a lane runs. May raise OSError: the kernel's."""
    match words:
        case ["add", tcp, nsid, path, uuid, nguid]:
            target.add(int(tcp), Namespace(int(nsid), path, uuid, nguid))
        case ["remove", tcp, nsid]:
            target.remove(int(tcp), int(nsid))
        case ["drain", tcp]:
            target.drain(int(tcp))
        case ["ask", path]:
            target.ask(path)


class HelperLanes:
    """Lanes in processes of their own; clients that come into the policy later share one. after: called when a request
    has ended and its `done` was called."""

    def __init__(
        self,
        loop: event_loop.Loop,
        target: Nvmet,
        clients: Iterable[int],
        prepare: Callable[[], None] | None,
        after: Callable[[], None],
    ) -> None:
        self._after = after
        self._helpers = {
            lane: Helper(loop, lambda words: target_call(target, words), prepare) for lane in (LOOKING_LANE, *clients)
        }

    def idle(self, lane: int) -> bool:
        return self._helper(lane).idle

    def start(self, lane: int, words: list[str], done: Callable[[OSError | None], None]) -> None:
        def ended(error: OSError | None) -> None:
            done(error)
            self._after()

        self._helper(lane).ask(words, ended)

    def _helper(self, lane: int) -> Helper:
        return self._helpers.get(lane) or self._helpers[LOOKING_LANE]

    def close(self) -> None:
        for helper in self._helpers.values():
            helper.close()
