# SPDX-License-Identifier: BSD-2-Clause
"""The verbs `bind` and `unbind`: usbip-host and a local device."""

from __future__ import annotations

import os
import sys

from router.errors import HostError
from router.usbip.engines.kernel import DRIVER, KernelEngine
from router.usbip.protocol.device import valid_busid
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, read_device

USAGE = """usage: usbip bind -b BUSID | usbip unbind -b BUSID

bind takes a local device from its driver and gives it to usbip-host; unbind gives it back.

  -b, --busid BUSID   the device, as `usbip list -l` names it
"""


def run(verb: str, argv: list[str]) -> int:
    options = Options(argv, {"-b": "busid", "--busid": "busid", "--sysfs": "sysfs"}, {})
    busid = options.get("busid")
    if not valid_busid(busid):
        raise UsageError(f"{busid!r} is not a busid", f"write for instance: usbip {verb} -b 1-1")
    sysfs = Sysfs(options.get("sysfs", "/sys"))
    loop = Loop()
    try:
        engine = KernelEngine(loop, sysfs)
        engine.check()
        device = read_device(sysfs, busid)
        if device is None:
            raise HostError(
                f"device with the specified bus ID does not exist: {busid}", "`usbip list -l` shows what is here"
            )
        if device.is_hub:
            raise HostError(f"{busid} is a hub", "hubs cannot be exported; export what is plugged into it")
        bound = engine.driver(busid) == DRIVER
        if bound == (verb == "bind"):
            word = "already" if bound else "not"
            raise HostError(f"device on busid {busid} is {word} bound to {DRIVER}")
        try:
            if verb == "bind":
                engine.claim(device)
            else:
                engine.release(device)
        except OSError as error:
            raise HostError(f"cannot {verb} {busid}: {os.strerror(error.errno or 0)}", "are you root?") from error
    finally:
        loop.close()
    sys.stderr.write(f"usbip: info: {verb} device on busid {busid}: complete\n")
    return 0
