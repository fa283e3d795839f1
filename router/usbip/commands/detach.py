# SPDX-License-Identifier: BSD-2-Clause
"""The verb `detach`: detach one device."""

from __future__ import annotations

import sys

from router.usbip.client.vhci import STATE_DIR, Vhci
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs

USAGE = """usage: usbip detach -p PORT

Detaches the device. `usbip keep-attached` leaves it alone then, until it is attached,
granted or plugged in again.

  -p, --port PORT   the port as `usbip port` shows it (the kernel's number, from 0)
"""


def run(_: str, argv: list[str]) -> int:
    options = Options(argv, {"-p": "port", "--port": "port", "--sysfs": "sysfs", "--state": "state"}, {})
    if "port" not in options.all:
        raise UsageError("detach which port?", "`usbip port` shows the ports in use")
    vhci = Vhci(Sysfs(options.get("sysfs", "/sys")), options.get("state", STATE_DIR))
    vhci.check()
    rhport = options.number("port", 0)
    origin = vhci.origin(rhport)
    vhci.detach(rhport)
    if origin:
        vhci.hold(origin[0], origin[2])
    sys.stderr.write(f"usbip: info: Port {rhport} is now detached!\n")
    return 0
