# SPDX-License-Identifier: BSD-2-Clause
"""What a person does to a device from the live view: the same calls as `router usb`, with what came of it in words.

A device is SERVER/BUSID. Errors are those of `router.usb.actions`; what a guest uses is not taken from it.
"""

from __future__ import annotations

from router.usb import actions
from router.usb.facts import BlockDisk, Port
from router.usb.view import Connect


def attach(connect: Connect, guest: str, device: str) -> str:
    """Give a device that no guest has to a guest."""
    return f"{_at(device, actions.attach(connect, guest, device))} of '{guest}'"


def take(connect: Connect, guest: str, device: str) -> str:
    """Give a device to a guest, also when another one has it."""
    return f"{_at(device, actions.attach(connect, guest, device, take=True))} of '{guest}'"


def detach(connect: Connect, guest: str, device: str) -> str:
    """Take a device from a guest."""
    place = actions.detach(connect, guest, device)
    port = "" if isinstance(place, BlockDisk) else f"port {place.number} of "
    return f"{device} is taken from {port}'{guest}'"


def _at(device: str, place: Port | BlockDisk) -> str:
    what = f"the disk {place.name}" if isinstance(place, BlockDisk) else f"on port {place.number}"
    return f"{device} is {what}"
