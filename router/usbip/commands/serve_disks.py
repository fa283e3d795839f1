# SPDX-License-Identifier: BSD-2-Clause
"""The verb `serve-disks`: export granted disks as blocks."""

from __future__ import annotations

import os
import signal

from router.errors import HostError, RouterError
from router.usbip.policy.file import load_policy
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.text import error_text
from router.usbip.runtime.uevent import required_uevents
from router.usbip.server.disks import LOOK_INTERVAL_S, DiskServer
from router.usbip.server.gate import Gates
from router.usbip.server.lanes import HelperLanes
from router.usbip.server.nvmet import ROOT, Nvmet

USAGE = """usage: usbip serve-disks --address ADDRESS [--policy FILE] [--confine USER]

Exports the disks that the policy grants with `blocks PORT`, each at that TCP port and nowhere else, by NVMe over TCP,
and follows plugging and unplugging. Who may reach which port is the network's business: no client is asked who it is.

  --address ADDRESS  this machine's IPv4 address
  --policy FILE      the policy, /etc/router/usb-policy by default; read again when it changes
  --confine USER     run as USER, with nothing that this does not need

Needs the kernel modules nvmet-tcp, sd_mod, usb-storage and uas, and configfs. Ends on SIGTERM and SIGINT; what is
exported stays so.
"""

POLICY = "/etc/router/usb-policy"


def run(_: str, argv: list[str]) -> int:
    takes = {
        "--address": "address",
        "--policy": "policy",
        "--confine": "confine",
        "--sysfs": "sysfs",
        "--nvmet": "nvmet",
    }
    options = Options(argv, takes, {})
    if options.words or "address" not in options.all:
        raise UsageError("serve-disks takes --address and no words", "see --help")
    file, root = options.get("policy", POLICY), options.get("nvmet", ROOT)
    if not os.path.isdir(root):
        raise HostError(
            f"there is no NVMe target at {root}", "run: modprobe nvmet-tcp; mount -t configfs none /sys/kernel/config"
        )
    loop = event_loop.Loop()
    try:
        loop.on_signal(signal.SIGTERM, loop.stop)
        loop.on_signal(signal.SIGINT, loop.stop)
        policy = load_policy(file)
        target = Nvmet(options.get("address"), root)
        confined = "confine" in options.all

        def confine_helper() -> None:
            confine_server(options.get("confine"), root, file, quiet=True)

        # Before anything is open that they should not have.
        lanes = HelperLanes(
            loop, target, policy.places.values(), confine_helper if confined else None, lambda: server.look()
        )
        server = DiskServer(Sysfs(options.get("sysfs", "/sys")), target, policy, lanes)
        gates = Gates(target, lanes)
        uevents = required_uevents()
        if confined:
            confine_server(options.get("confine"), root, file)
        try:
            server.start()
        except OSError as error:
            raise HostError(f"the NVMe target refuses: {error_text(error)}", "see dmesg", root) from error
        changed = changes(file)

        def heard(_: int) -> None:
            messages = uevents.read()
            if messages is None or any(message.get("SUBSYSTEM") in ("usb", "block", "scsi") for message in messages):
                server.news()

        def again() -> None:
            nonlocal changed
            loop.call_later(LOOK_INTERVAL_S, again)
            if (now := changes(file)) != changed:
                changed = now
                reload(server, file)
            server.look()
            gates.look(server.ports())

        loop.watch(uevents.fileno(), event_loop.IN, heard)
        loop.call_later(LOOK_INTERVAL_S, again)
        loop.run()
        uevents.close()
        lanes.close()
    finally:
        loop.close()
    return 0


def changes(file: str) -> tuple[int, int]:
    """What differs once the file was written anew."""
    try:
        status = os.stat(file)
    except OSError:
        return (0, 0)
    return status.st_ino, status.st_mtime_ns


def reload(server: DiskServer, file: str) -> None:
    """Takes the policy file's new contents; a wrong file is reported and the old policy stays."""
    try:
        server.set_policy(load_policy(file))
    except RouterError as error:
        log(f"{error}; the policy stays as it was")
    except OSError as error:
        log(f"the NVMe target refuses: {error_text(error)}")


def confine_server(user: str, root: str, policy: str, *, quiet: bool = False) -> None:
    """Keeps the target's folder, and reading sysfs and the policy. May raise HostError. quiet: says nothing."""
    from router.usbip.confinement import Needs, confine
    from router.usbip.confinement.seccomp import FOLDERS

    # The policy's file is replaced when it changes, so its folder is what is kept.
    readable = (os.path.dirname(os.path.realpath(policy)),)
    for missing in confine(Needs(user, [], FOLDERS, (root,), readable)):
        if not quiet:
            milestone(f"unhardened: {missing}")
