# SPDX-License-Identifier: BSD-2-Clause
"""What is done with a hub, and with a device behind one."""

from __future__ import annotations

import time

from bench.devices.input import KEYBOARD, type_keys
from bench.devices.models import Outcome
from bench.devices.rig import Rig
from router.errors import MachineError

HUB = "USB/IP exports no hubs, and the daemon leaves them to the server; devices behind a hub are exported"


def hub(rig: Rig) -> Outcome:
    """The hub itself."""
    rig.plug("hub")
    rig.wait_for_paths("server", "/sys/bus/usb/devices/1-1", 5)
    time.sleep(3)
    listed = rig.run("client", "router-usbip list -r $(sed -n 's/^SERVER=//p' /etc/router/guest.conf)")
    if "0409:55aa" in listed:
        raise MachineError("the server offers a hub")
    return Outcome("its rule allows it; the server does not list it", refused=HUB)


def keyboard_behind_hub(rig: Rig) -> Outcome:
    """A keyboard that is plugged into a hub."""
    # Linux suspends an empty hub at once, and QEMU's hub does not always wake up again.
    awake = "echo {} >/sys/module/usbcore/parameters/autosuspend"
    rig.run("server", awake.format(-1))
    rig.add_cleanup(lambda: rig.run("server", awake.format(2)))
    rig.plug("hub")
    rig.qmp.execute("device_add", driver="usb-kbd", bus="usb.0", port="1.1", id="hung")
    rig.add_cleanup(lambda: rig.qmp.execute("device_del", id="hung"))
    rig.wait_attached(KEYBOARD, "usbhid", 30)
    outcome = type_keys(rig)
    return Outcome(f"with hubs kept from suspending, {outcome.done}")
