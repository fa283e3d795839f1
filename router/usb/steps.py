# SPDX-License-Identifier: BSD-2-Clause
"""What attaching and detaching have in common on every road: waiting in a guest, and asking it why not."""

from __future__ import annotations

import shlex

from router.errors import MachineError
from router.usb.facts import Snapshot
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
