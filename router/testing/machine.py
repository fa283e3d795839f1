# SPDX-License-Identifier: BSD-2-Clause
"""What the tests ask of a system, whatever it runs in: the control socket, and what only its machine can do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from router.control.client import Connection
from router.vswitch.process import PortCounters


class Machine(Protocol):
    """A system that was booted for tests."""

    @property
    def mode(self) -> str:
        """split, microkit or board."""
        ...

    @property
    def name(self) -> str:
        """What it is called among running systems: `router usb list --system NAME`. Of a board: the board's name."""
        ...

    @property
    def guests(self) -> tuple[str, ...]:
        """The guests' names, in the description's order."""
        ...

    @property
    def boot(self) -> tuple[tuple[str, float], ...]:
        """Seconds from the start of the boot to each of its milestones: (`GUEST MILESTONE`, seconds)."""
        ...

    @property
    def attachments(self) -> tuple[Path, ...]:
        """Consoles and captures, as far as they are on this computer."""
        ...

    def connect(self) -> AbstractContextManager[Connection]:
        """A connection of one's own to its control socket."""
        ...

    def check(self) -> None:
        """MachineError, with what the guest said, when a part of it that must not end has ended."""
        ...

    def freeze(self, guest: str) -> None:
        """Stop a guest's machine where it is, until `thaw`. MachineError where that cannot be."""
        ...

    def thaw(self, guest: str) -> None:
        """Let it go on."""
        ...

    def reset(self, guest: str) -> None:
        """Press a guest's reset button: its Linux starts anew, and is not waited for. MachineError as `freeze`."""
        ...

    def kill(self, guest: str) -> None:
        """Cut a guest's power, for good: the system has ended then. MachineError as `freeze`."""
        ...

    def counters(self) -> Mapping[str, PortCounters]:
        """The switch's counters, by guest. MachineError when nothing answers."""
        ...

    def stop(self) -> None:
        """End it, and free all that it had."""
        ...
