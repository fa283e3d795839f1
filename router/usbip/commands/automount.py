# SPDX-License-Identifier: BSD-2-Clause
"""The verb `automount`: mount the file systems of routed disks as they come."""

from __future__ import annotations

import signal

from router.errors import HostError
from router.usbip.client.automount import MEDIA, Automount
from router.usbip.runtime import event_loop
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.text import error_text

USAGE = f"""usage: usbip automount

Mounts the file systems of the disks on this machine's virtual ports below {MEDIA}, by label or by the kernel's name,
with nosuid and nodev, read-only where the disk is write-protected. When a disk goes, what was mounted of it is
unmounted. What is mounted stays so when this ends.
"""


def run(_: str, argv: list[str]) -> int:
    if Options(argv, {}, {}).words:
        raise UsageError("automount takes no words", "see --help")
    loop = event_loop.Loop()
    try:
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGINT, loop.stop)
        try:
            uevents = Automount(loop).start()
        except OSError as error:
            raise HostError(f"no kernel uevents: {error_text(error)}", "the kernel needs netlink") from error
        loop.run()
        uevents.close()
    finally:
        loop.close()
    return 0
