# SPDX-License-Identifier: BSD-2-Clause
"""What attaching and detaching have in common on every road: waiting in a guest, and asking it why not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from router.errors import MachineError, RouterError
from router.usb.facts import Device, Guest, Snapshot
from router.usb.view import Guests

SETTLE_TIMEOUT_S = 20.0
"""For a device to appear in, or to leave, its guest."""
WAIT = """\
now() {{ read -r t _ </proc/uptime; echo "${{t%.*}}"; }}
end=$(($(now) + {seconds}))
until {test}; do [ "$(now)" -lt $end ] || exit 9; usleep 100000 2>/dev/null || sleep 0.1; done"""
"""By the guest's own clock: a slow one tries less often, and waits no longer. Debian has no usleep, and a busybox may
sleep for whole seconds only."""
ANSWER_TIMEOUT_S = SETTLE_TIMEOUT_S + 40.0


def answered(seen: Snapshot, name: str) -> None:
    """MachineError when that guest did not answer."""
    if name in seen.troubles:
        raise MachineError(f"guest '{name}' {seen.troubles[name]}", hint="see its console log, or router usb watch")


def wait(test: str) -> str:
    """A command that waits in a guest until the test succeeds; exit code 9 when it did not in time."""
    return WAIT.format(test=test, seconds=int(SETTLE_TIMEOUT_S))


def noted(guests: Guests, guest: str, text: str) -> str:
    """The last note of a guest's USB/IP program that has that text."""
    return said(guests, guest, f"dmesg | grep -F {shlex.quote(text)} | tail -n 1").rpartition("usbip: ")[2]


def said(guests: Guests, guest: str, command: str) -> str:
    """The line that a command prints in a guest."""
    return guests.execute(guest, command)[1].decode(errors="replace").strip() or "it does not say why"


def untold(error: RouterError) -> str:
    """What is said instead of the step that failed when a guest could not be asked for it."""
    return ": ".join(filter(None, ("at which step cannot be told", error.where, error.message)))


def held(guest: Guest, device: Device, where: str) -> MachineError:
    """The device has a holder, that guest or another one. where: `, on port 3` or the like."""
    if device.holder == guest.name:
        return MachineError(f"'{guest.name}' has {device.busid} ({device.name}) already{where}")
    return MachineError(
        f"{device.busid} ({device.name}) is held by guest '{device.holder}'{where}",
        hint=f"to take it: router usb attach {guest.name} {device.busid} --take",
    )


def silent_holder(device: Device) -> MachineError:
    """The guest that has the device does not answer: what was not written yet would be lost."""
    return MachineError(
        f"'{device.holder}' has {device.busid} ({device.name}) and does not say whether it uses it",
        hint="--force takes it all the same; what was not written yet is lost",
    )


def in_use(what: str, holder: str, uses: Sequence[str]) -> MachineError:
    """A guest uses a disk. what: the device's busid and name; uses: how, such as "sda1 on /mnt"."""
    return MachineError(
        f"{what} is in use in '{holder}': {', '.join(uses)}",
        hint=f"unmount it there first: router exec {holder} 'umount PLACE'; with --force unwritten data is lost",
    )


def not_there(seen: Snapshot, guest: Guest, device: Device, why: str) -> MachineError:
    """The device has not come to the guest in SETTLE_TIMEOUT_S. why: the step that failed."""
    back = f"router usb attach {device.holder} {device.busid} --take" if device.holder in seen.guests else ""
    return MachineError(
        f"'{guest.name}' does not have {device.busid} after {SETTLE_TIMEOUT_S:.0f} s: {why}",
        hint=f"it may still come; to take it back: {back or f'router usb detach {guest.name} {device.busid}'}",
    )


def gone_again(guest: Guest, device: Device) -> MachineError:
    """The device had come, and the guest does not have it any more."""
    return MachineError(
        f"{device.busid} was attached to '{guest.name}' and has gone again", hint="see router usb watch"
    )
