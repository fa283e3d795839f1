# SPDX-License-Identifier: BSD-2-Clause
"""Which system the tests are about, and where it runs. Plain values: tests with equal ones share a booted system."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AUTO, SPLIT, MICROKIT, BOARD = "auto", "split", "microkit", "board"
IN_QEMU = (AUTO, SPLIT, MICROKIT)
"""What `on` may say of QEMU; anything else is a board of the lab file."""
BOOT_TIMEOUT_S = 300.0
"""For a system to come up: 10 to 30 s on a quiet computer, several times as long on a busy one."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One system, and where it runs.

    description: the YAML file. on: `split`, `microkit`, `auto` (microkit where an SDK fits, else split), or the name of
    a board. usb: emulated devices that are plugged in from the start, as `router run --usb` takes them (QEMU). lab: the
    lab file (None: the usual places). boot_timeout: in seconds. capture: record what crosses the switch (split).
    build: the build folder (None: build/SYSTEM). qemu: further words for QEMU's command line, `("-s",)` for a debugger,
    say; in a split run, each guest's QEMU gets them.
    """

    description: Path
    on: str = AUTO
    usb: tuple[str, ...] = ()
    lab: str | None = None
    boot_timeout: float = BOOT_TIMEOUT_S
    capture: bool = False
    build: Path | None = None
    qemu: tuple[str, ...] = ()

    @property
    def on_board(self) -> bool:
        """Whether it runs on a board of the lab file."""
        return self.on not in IN_QEMU
