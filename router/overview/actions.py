# SPDX-License-Identifier: BSD-2-Clause
"""What a person does to a device from the live view: the same calls as `router usb`, with what came of it in words.

A device is SERVER/BUSID. Errors are those of `router.usb.actions`; what a guest uses is not taken from it.
"""

from __future__ import annotations

from router.usb import actions
from router.usb.view import Connect


def attach(connect: Connect, guest: str, device: str) -> str:
    """Give a device that no guest has to a guest."""
    port = actions.attach(connect, guest, device)
    return f"{device} is on port {port.number} of '{guest}'"


def take(connect: Connect, guest: str, device: str) -> str:
    """Give a device to a guest, also when another one has it."""
    port = actions.attach(connect, guest, device, take=True)
    return f"{device} is on port {port.number} of '{guest}'"


def detach(connect: Connect, guest: str, device: str) -> str:
    """Take a device from a guest."""
    port = actions.detach(connect, guest, device)
    return f"{device} is taken from port {port.number} of '{guest}'"
