# SPDX-License-Identifier: BSD-2-Clause
"""A server that has given up what serving does not need: which files that leaves it, and when it must start again."""

from __future__ import annotations

import os

from router.usbip.confinement import Needs, confine, root_hubs
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.sysfs import Sysfs


class Confined:
    """The confinement of the server of this process, from `enter` on."""

    def __init__(self, loop: Loop, sysfs: Sysfs) -> None:
        self._loop = loop
        self._sysfs = sysfs
        self._hubs: dict[str, int] | None = None

    def enter(self, user: str, engine: str, policy: str) -> None:
        """Gives up everything else. HostError if that cannot be.

        What may be written: below each USB controller its devices' attributes (engine kernel) or the devices (usbfs),
        and the folder of the policy, which is written aside and renamed.
        """
        self._hubs = root_hubs(self._sysfs)
        write = [os.path.dirname(os.path.realpath(policy))]
        if engine == "kernel":
            write += [self._sysfs.path("bus/usb/drivers"), *self._hubs]
        elif engine == "usbfs":
            write.append("/dev/bus/usb")
        for missing in confine(Needs(user, write, ())):
            milestone(f"unhardened: {missing}")

    def look(self) -> None:
        """Ends the server when a controller has come that its confinement does not include: it can have no more."""
        if self._hubs is None:
            return
        new = [path for path, inode in root_hubs(self._sysfs).items() if self._hubs.get(path) != inode]
        if new:
            log(f"another USB controller is there, {new[0]}: starting again to serve it as well")
            self._loop.stop()
