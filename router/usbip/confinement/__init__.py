# SPDX-License-Identifier: BSD-2-Clause
"""What a daemon gives up once it has opened what it needs root for. docs/reference/guest-images.md says what it keeps.

A daemon judges what devices, peers and clients send. Whoever takes it over should get the daemon's sockets and
attributes, and not the rest of its machine.
"""

from __future__ import annotations

import os
import sys

from router.errors import HostError
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.text import error_text

# Below these, and where Python looks for modules (some are imported late), everything may be read.
READABLE = ("/usr", "/lib", "/lib64", "/etc", "/sys", "/proc/self", "/proc/swaps")


class Needs:
    """What a daemon keeps. user: whom it runs as; write: files and folders that it may change, those that exist;
    calls: system calls beyond those that every daemon makes; make: folders in which it may also make and remove folders
    and symbolic links (with the calls FOLDERS of seccomp); read: what it may read beyond READABLE."""

    __slots__ = ("calls", "make", "read", "user", "write")

    def __init__(
        self,
        user: str,
        write: list[str],
        calls: tuple[str, ...],
        make: tuple[str, ...] = (),
        read: tuple[str, ...] = (),
    ) -> None:
        self.user = user
        self.write = write
        self.calls = calls
        self.make = make
        self.read = read


def confine(needs: Needs) -> list[str]:
    """Gives up all but `needs`, for good. Returns what this kernel cannot enforce, in words.

    Kept is one capability, DAC_OVERRIDE: attributes of devices that come later belong to root. HostError if the
    process is not root, or the kernel refuses what every kernel has.
    """
    import pwd

    from router.usbip.confinement import landlock, privileges, seccomp

    try:
        account = pwd.getpwnam(needs.user)
    except KeyError:
        raise HostError(f"there is no user {needs.user!r}", "name one of /etc/passwd, or add it there") from None
    if os.geteuid() != 0:
        raise HostError("only root can give up what it has", "leave --confine out, or start as root")
    missing: list[str] = []
    try:
        privileges.forbid_new_ones()
        privileges.limit_resources()
        ruleset = landlock.prepare((*READABLE, *needs.read, *filter(None, sys.path)), needs.write, needs.make)
        privileges.become(account.pw_uid, account.pw_gid, privileges.CAP_DAC_OVERRIDE)
        if ruleset is None:
            missing.append("no Landlock: files are not confined")
        else:
            landlock.enforce(ruleset)
        if not seccomp.install(needs.calls):
            missing.append("no seccomp for this machine: system calls are not confined")
    except OSError as error:
        raise HostError(f"cannot give up privileges: {error_text(error)}", "leave --confine out") from error
    return missing


def root_hubs(sysfs: Sysfs) -> dict[str, int]:
    """The folders of the real root hubs, each with its inode number: one that comes back is another folder."""
    found: dict[str, int] = {}
    for name in sysfs.names("bus/usb/devices"):
        path = sysfs.real(f"bus/usb/devices/{name}") if name.startswith("usb") else ""
        if path and "/vhci_hcd" not in path:
            try:
                found[path] = os.stat(path).st_ino
            except OSError:
                continue
    return found
