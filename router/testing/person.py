# SPDX-License-Identifier: BSD-2-Clause
"""The person who plugs devices into a board for a test, where `--router-interactive` says that one is there."""

from __future__ import annotations

import time
from collections.abc import Callable

from router.errors import MachineError

PLUG_TIMEOUT_S = 120.0
"""For a person to find the device and the socket."""
LOOK_S = 1.0
Busids = Callable[[], frozenset[str]]
"""Looks which devices the board's servers have now."""


class Person:
    """say: shows a line to the person; None: nobody is there."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say

    @property
    def present(self) -> bool:
        """Whether somebody is there."""
        return self._say is not None

    def plug(self, device: str, busids: Busids) -> str:
        """Ask for a device and wait until one appears that was not there: its busid. MachineError if none does."""
        before = busids()
        new = self._wait(
            f"plug a {device} into the board now", lambda: busids() - before, f"no {device} was plugged in"
        )
        return min(new)

    def unplug(self, device: str, busid: str, busids: Busids) -> None:
        """Ask for a device to be pulled out and wait until it is. MachineError if it stays."""
        gone = frozenset((busid,))
        asked = f"pull the {device} ({busid}) out of the board now"
        self._wait(asked, lambda: gone - busids(), f"the {device} was not pulled out")

    def _wait(self, asked: str, seen: Callable[[], frozenset[str]], otherwise: str) -> frozenset[str]:
        assert self._say is not None, "asked only where somebody is there"
        self._say(f"→ {asked} (within {PLUG_TIMEOUT_S:.0f} s)")
        end = time.monotonic() + PLUG_TIMEOUT_S
        while not (found := seen()):
            if time.monotonic() > end:
                raise MachineError(f"{otherwise} within {PLUG_TIMEOUT_S:.0f} s")
            time.sleep(LOOK_S)
        return found
