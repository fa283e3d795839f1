# SPDX-License-Identifier: BSD-2-Clause
"""What a test can need of the machine and the mode that the system runs in: `@pytest.mark.router_needs("plug")`."""

from __future__ import annotations

from collections.abc import Mapping

from router.testing.setup import BOARD, MICROKIT, SPLIT

_ONE_MACHINE = "all guests are in one QEMU, which stops as a whole"
_ON_A_BOARD = "a board cannot be stopped from outside"
_ONE_BUTTON = "all guests have one reset button and one power supply"
_INSIDE = "the switch is a protection domain, whose frames stay inside"
_NO_IMAGE = "disks with an image behind them exist in QEMU only"
PERSON = "a person has to plug devices into a board: give --router-interactive"

NEEDS: Mapping[str, Mapping[str, str]] = {
    SPLIT: dict.fromkeys((MICROKIT, BOARD), "the test is for split runs"),
    MICROKIT: dict.fromkeys((SPLIT, BOARD), "the test is for seL4 in QEMU"),
    BOARD: dict.fromkeys((SPLIT, MICROKIT), "the test is for boards"),
    "qemu": {BOARD: "the test is for QEMU"},
    "sel4": {SPLIT: "a split run has no seL4"},
    "plug": {BOARD: PERSON},
    "disk": {BOARD: _NO_IMAGE},
    "counters": {},
    "capture": dict.fromkeys((MICROKIT, BOARD), _INSIDE),
    "freeze": {MICROKIT: _ONE_MACHINE, BOARD: _ON_A_BOARD},
    "reset": dict.fromkeys((MICROKIT, BOARD), _ONE_BUTTON),
    "kill": dict.fromkeys((MICROKIT, BOARD), _ONE_BUTTON),
    "restart_guest": {},
}
"""What can be needed, and the modes that do not have it, each with the reason."""


def missing(need: str, mode: str, interactive: bool = False) -> str | None:
    """Why a system in this mode does not have it, or None. interactive: a person plugs devices into the board.

    ValueError for a need that is not in NEEDS.
    """
    if need not in NEEDS:
        raise ValueError(f"router_needs: no such need '{need}'; there are: {', '.join(NEEDS)}")
    why = NEEDS[need].get(mode)
    if why is None or (why == PERSON and interactive):
        return None
    return f"{need}: {why} (this system: {mode})"
