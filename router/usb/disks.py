# SPDX-License-Identifier: BSD-2-Clause
"""Moving disks that go as blocks between guests: `router usb attach` and `detach` of such a device.

The server takes the disk from the guest that has it, and waits until nothing of that guest's can be written any more,
before another one gets it (router.usbip.server.disks).
"""

from __future__ import annotations

import shlex

from router.description.models import DISK_PORT
from router.errors import MachineError, RouterError
from router.usb import find
from router.usb.answers import devices_of, parse
from router.usb.facts import BlockDisk, Device, Guest, Snapshot
from router.usb.steps import (
    ANSWER_TIMEOUT_S,
    SETTLE_TIMEOUT_S,
    gone_again,
    held,
    in_use,
    not_there,
    noted,
    silent_holder,
    untold,
    wait,
)
from router.usb.view import Connect, Guests, program, snapshot

LINKS = "/dev/disk/by-router"


def attach(
    connect: Connect, seen: Snapshot, guest: Guest, device: Device, number: int, *, take: bool, force: bool
) -> BlockDisk:
    """Gives a disk to a guest and waits until it is there; of several logical units the first one is returned.

    take: also from another guest that has it, unless it is in use there; force: even then. number: not 0 is an error.
    """
    _may_attach(seen, guest, device, number, take=take)
    _not_in_use(seen, device, force=force)
    with connect() as guests:
        program(guests, device.server, "grant", guest.address, device.busid, *(["--take"] if take else []))
        now = _now(guests, seen, device)
        code, _ = guests.execute(guest.name, wait(_there(now)), ANSWER_TIMEOUT_S)
        if code:
            raise not_there(seen, guest, device, _failed_step(guests, seen, guest, device))
    for disk in snapshot(connect, {guest.name}).disks.get(guest.name, ()):
        if disk.is_from(now):
            return disk
    raise gone_again(guest, device)


def meant(seen: Snapshot, guest: str, text: str) -> Device | None:
    """The disk of a guest that these words mean, where they mean one; MachineError where another guest has it."""
    fitting = find.matches(seen, text)
    found = [one for one in fitting if one.disk is not None]
    if any(one.holder == guest for one in fitting if one.disk is None) or not found:
        return None
    mine = [one for one in found if one.holder == guest or any(part.guest == guest for part in one.parts)]
    if len(mine) == 1:
        return mine[0]
    device = find.device(seen, text)
    raise MachineError(
        f"'{guest}' does not have '{text}'",
        hint=f"{device.busid} is held by '{device.holder}'" if device.holder else None,
    )


def detach(connect: Connect, seen: Snapshot, guest: Guest, device: Device, *, force: bool) -> BlockDisk:
    """Takes a disk from a guest that has it, and waits until it has gone there."""
    _whole(device)
    _not_in_use(seen, device, force=force)
    was = next((disk for disk in seen.disks.get(guest.name, ()) if disk.is_from(device)), None)
    with connect() as guests:
        program(guests, device.server, "revoke", guest.address, device.busid)
        code, _ = guests.execute(guest.name, wait(f"! {_there(device)}"), ANSWER_TIMEOUT_S)
        if code:
            raise MachineError(f"'{guest.name}' still has {device.busid} after {SETTLE_TIMEOUT_S:.0f} s")
    return was or BlockDisk(guest.name, device.disk or "", "")


def no_port(seen: Snapshot, guest: Guest, device: Device) -> str:
    """What a description lacks whose guest has no port for disks in the server."""
    tcp = DISK_PORT + list(seen.guests).index(guest.name)
    rule = f"{guest.name} -> {device.server} tcp/{tcp}"
    return f"in the description: a rule of 'usb' with to: {guest.name} and as: block, or under network: allow: [{rule}]"


def _whole(device: Device) -> None:
    if device.parts:
        raise MachineError(
            f"{device.busid} ({device.name}) goes to its guests in parts, and a part stays with its guest",
            hint="change 'disks' in the description, and run router disk prepare",
        )


def _may_attach(seen: Snapshot, guest: Guest, device: Device, number: int, *, take: bool) -> None:
    """MachineError when the disk cannot be given to that guest. take: another guest may have it now."""
    _whole(device)
    if number:
        raise MachineError(
            f"{device.busid} ({device.name}) goes as blocks, and is on no port of a virtual controller",
            hint="leave --port out",
        )
    if guest.name not in device.readers:
        raise MachineError(
            f"'{guest.name}' has no port for disks in '{device.server}', and that is fixed while it runs",
            hint=no_port(seen, guest, device),
        )
    if device.holder is not None and not (take and device.holder != guest.name):
        raise held(guest, device, f", as the disk '{device.disk}'")


def _not_in_use(seen: Snapshot, device: Device, *, force: bool) -> None:
    """MachineError when the guest that has the disk uses it, or does not say: unwritten data would be lost."""
    if force or device.holder is None:
        return
    if device.holder not in seen.disks:
        raise silent_holder(device)
    uses = [use for disk in seen.disks[device.holder] if disk.is_from(device) for use in disk.uses]
    if uses:
        raise in_use(f"{device.busid} ({device.name})", device.holder, uses)


def _now(guests: Guests, seen: Snapshot, device: Device) -> Device:
    """The device as the server has it now; MachineError when it has gone."""
    addresses = {one.address: one.name for one in seen.guests.values()}
    answer = parse(device.server, program(guests, device.server, "status", "--json"))
    for one in devices_of(device.server, answer, addresses):
        if one.busid == device.busid and one.disk is not None:
            return one
    raise MachineError(f"'{device.server}' has lost {device.busid}", hint="it was unplugged, or has reset itself")


def _there(device: Device) -> str:
    """A test in a guest's shell: whether it has that disk, any of its logical units."""
    place = shlex.quote(f"{LINKS}/{device.disk}")
    return f"ls {place} {place}-lun? 2>/dev/null | grep -q ."


def _failed_step(guests: Guests, seen: Snapshot, guest: Guest, device: Device) -> str:
    """Which step has not ended, and what was said of it."""
    try:
        now = _now(guests, seen, device)
        if now.holder == guest.name:
            return f"'{device.server}' exports it, and '{guest.name}' has no connection: " + noted(
                guests, guest.name, "usbip: disks at "
            )
        if now.holder is not None:
            step, text = f"'{device.server}' cannot withdraw it from '{now.holder}'", "cannot withdraw "
        else:
            step, text = f"'{device.server}' does not export it", f" {device.busid} "
        return f"{step}: {noted(guests, device.server, text)}"
    except RouterError as error:
        return untold(error)
