# SPDX-License-Identifier: BSD-2-Clause
"""What a person does to a device from the live view: the same calls as `router usb`, with what came of it in words."""

from __future__ import annotations

from router.errors import MachineError, RouterError
from router.usb import actions
from router.usb.view import Connect, snapshot


def attach(connect: Connect, guest: str, device: str) -> str:
    """Give a device (SERVER/BUSID) that no guest has to a guest. Errors as `router.usb.actions.attach` has them."""
    port = actions.attach(connect, guest, device)
    return f"{device} is on port {port.number} of '{guest}'"


def detach(connect: Connect, guest: str, device: str) -> str:
    """Take a device from a guest."""
    port = actions.detach(connect, guest, device)
    return f"{device} is taken from port {port.number} of '{guest}'"


def take(connect: Connect, guest: str, device: str) -> str:
    """Give a device to a guest, whoever has it now. When the guest cannot have it, the error says where it was."""
    seen = snapshot(connect)
    holder = next((one.holder for one in seen.devices if f"{one.server}/{one.busid}" == device), None)
    if holder == guest:
        raise MachineError(f"'{guest}' has {device} already")
    if holder is not None:
        actions.detach(connect, holder, device)
    try:
        return attach(connect, guest, device) + (f", taken from '{holder}'" if holder else "")
    except RouterError as error:
        if holder is None:
            raise
        raise MachineError(f"{error.message}; '{holder}' had it", hint=f"attach it to '{holder}' again") from error
