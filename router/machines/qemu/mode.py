# SPDX-License-Identifier: BSD-2-Clause
"""How a planned system can be run in QEMU on this computer."""

from __future__ import annotations

from router.errors import DescriptionError, HostError
from router.machines.qemu.microkit import check_version
from router.machines.qemu.tool import find_qemu
from router.pipeline.inputs import Planned, require_sdk


def choose_mode(asked: str, planned: Planned) -> str:
    """`microkit` or `split`: what is asked for, or for `auto` microkit where an SDK fits."""
    if asked != "auto":
        return asked
    return "microkit" if planned.sdk is not None else "split"


def check_mode(mode: str, planned: Planned) -> None:
    """HostError or DescriptionError when this system cannot be run that way here."""
    board = planned.plan.board
    if mode == "microkit":
        try:
            require_sdk(planned)
        except HostError as error:
            error.hint = f"{error.hint}; --mode split runs the same guests and the same switch without seL4"
            raise
        check_version(planned.plan, find_qemu())
    elif board.emulated is None or not board.emulated.apart:
        raise DescriptionError(
            f"board '{board.name}' cannot be run apart: QEMU's virt machine does not have its devices",
            hint="router run qemu.yaml runs the same software on the board 'qemu'",
        )
