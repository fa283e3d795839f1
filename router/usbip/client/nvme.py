# SPDX-License-Identifier: BSD-2-Clause
"""Keeps the disks attached that a server exports as blocks, by Linux's nvme-tcp, and names them below /dev.

One connection to each server's port for this client brings all its disks. The kernel hears from the server which come
and go, and waits for a server that is away; when it has given up, the connection is made anew here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from router.usbip.protocol.disks import name_in, subsystem, valid_disk_name
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.text import error_text

FABRICS = "/dev/nvme-fabrics"
LINKS = "/dev/disk/by-router"
RECONNECT_INTERVAL_S = 1
MAX_RECONNECT_S = 120
"""How long reads and writes wait for a server that is away, and then fail."""
KEEP_ALIVE_S = 5
"""Without an answer for so long the server counts as away."""
READ_AHEAD_KIB = 4096
MAX_DISKS = 64
RESCANS = 3
"""Seconds, after a disk has gone, in which the kernel is asked for disks."""
HOST = "nqn.2025-01.org.router:guest"
"""What a client calls itself. The server takes anybody at a client's port: the port is who it is."""


Ask = Callable[[list[str], Callable[[OSError | None], None]], None]
"""Has the kernel connect with these options, and calls back with its error, or None, once it has answered."""


def request(fabrics: str, options: str) -> None:
    """Has the kernel connect: it may take minutes where the server does not answer. May raise OSError: its answer."""
    fd = os.open(fabrics, os.O_RDWR | os.O_CLOEXEC)
    try:
        # One call: each write is a whole request.
        os.write(fd, options.encode())
    finally:
        os.close(fd)


class Target:
    """Where disks are: the server's IPv4 address and this client's TCP port there."""

    __slots__ = ("address", "tcp")

    def __init__(self, address: str, tcp: int) -> None:
        self.address = address
        self.tcp = tcp

    @property
    def subsystem(self) -> str:
        return subsystem(self.address, self.tcp)

    def options(self, wait_s: int) -> str:
        """What is written to /dev/nvme-fabrics (drivers/nvme/host/fabrics.c)."""
        words = {
            "transport": "tcp",
            "traddr": self.address,
            "trsvcid": self.tcp,
            "nqn": self.subsystem,
            "hostnqn": HOST,
            "keep_alive_tmo": KEEP_ALIVE_S,
            "reconnect_delay": RECONNECT_INTERVAL_S,
            "ctrl_loss_tmo": wait_s,
        }
        return ",".join(f"{name}={value}" for name, value in words.items())


def find_controllers(sysfs: Sysfs, targets: list[Target]) -> dict[str, str]:
    """The connections to these targets by the kernel's names for them ("nvme0"), with their subsystems."""
    ours = {target.subsystem for target in targets}
    found = {}
    for name in sysfs.names("class/nvme"):
        nqn = sysfs.get(f"class/nvme/{name}/subsysnqn")
        if nqn in ours:
            found[name] = nqn
    return found


def find_disks(sysfs: Sysfs, targets: list[Target], names: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """What came from these targets, whole disks and partitions: what each is called, and its block device."""
    controllers = find_controllers(sysfs, targets)
    disks: dict[str, str] = {}
    parts: dict[str, str] = {}
    for block in sysfs.names("class/block"):
        real = sysfs.real(f"class/block/{block}")
        if not any(f"/{controller}/" in real for controller in controllers):
            continue
        part = sysfs.get(f"class/block/{block}/partition")
        whole = real.split("/")[-2] if part else block
        name = name_in(sysfs.get(f"class/block/{whole}/nguid"), names)
        if not name or sysfs.get(f"class/block/{whole}/size", "0") == "0" or len(disks) + len(parts) >= 16 * MAX_DISKS:
            continue
        if not valid_disk_name(name):
            continue
        # Of two with one name the first counts: the server gives a name once.
        if part:
            parts.setdefault(f"{name}-part{part}", block)
        else:
            disks.setdefault(name, block)
    return disks, parts


class KeepDisks:
    """Attaches the disks of all targets. names: those of the description. links: the folder of their names.

    asks: for each target's subsystem what connects to it, so that none waits for another's server.
    """

    def __init__(
        self,
        sysfs: Sysfs,
        targets: list[Target],
        names: tuple[str, ...],
        asks: Mapping[str, Ask],
        wait_s: int = MAX_RECONNECT_S,
        links: str = LINKS,
    ) -> None:
        self._sysfs = sysfs
        self._targets = targets
        self._names = names
        self._wait_s = wait_s
        self._links = links
        self._asks = asks
        self._asking: set[str] = set()
        """The subsystems to which the kernel is just connecting."""
        self._ready: dict[str, str] = {}
        """Disks that were said, by name: the block device."""
        self._states: dict[str, str] = {}
        self._complained: dict[str, str] = {}
        self._rescans = 0
        """How often the kernel is still to be asked to look again."""

    def connect(self) -> None:
        """Connects what is not connected. An attempt is news of the kernel's itself, so news do not call this."""
        for target in self._targets:
            self._connect(target)
        if self._rescans:
            self._rescans -= 1
            self._rescan()

    def look(self) -> None:
        """Brings the links in line with the disks that are there."""
        self._name(*find_disks(self._sysfs, self._targets, self._names))
        self._say_states()

    def _controllers(self) -> dict[str, str]:
        return find_controllers(self._sysfs, self._targets)

    def _connect(self, target: Target) -> None:
        if target.subsystem in self._asking or target.subsystem in self._controllers().values():
            return

        def done(error: OSError | None) -> None:
            self._asking.discard(target.subsystem)
            if error is None:
                self._complained.pop(target.subsystem, None)
                log(f"disks at {target.address}:{target.tcp}: connected")
                return
            # A server that boots, or that has no disk for this guest yet, is tried again.
            said = error_text(error)
            if self._complained.get(target.subsystem) != said:
                log(f"disks at {target.address}:{target.tcp}: {said}; trying again")
            self._complained[target.subsystem] = said

        self._asking.add(target.subsystem)
        self._asks[target.subsystem]([target.options(self._wait_s)], done)

    def _deepen_read_ahead(self, block: str) -> None:
        attribute = f"class/block/{block}/queue/read_ahead_kb"
        now = self._sysfs.get(attribute)
        if now.isdecimal() and int(now) < READ_AHEAD_KIB:
            try:
                self._sysfs.write(attribute, str(READ_AHEAD_KIB))
            except OSError as error:
                log(f"{block}: cannot raise read_ahead_kb: {error_text(error)}")

    def _name(self, whole: dict[str, str], parts: dict[str, str]) -> None:
        everything = parts | whole
        for link in self._there():
            if link not in everything:
                self._unlink(link)
        for link, block in everything.items():
            target = f"../../{block}"
            if self._read_link(link) != target:
                self._unlink(link)
                try:
                    os.symlink(target, f"{self._links}/{link}")
                except OSError as error:
                    log(f"cannot make {self._links}/{link}: {error_text(error)}")
        for block in whole.values():
            self._deepen_read_ahead(block)
        for name, block in self._ready.items():
            if whole.get(name) != block:
                milestone(f"disk {name} has gone")
                self._rescans = RESCANS
        for name, block in whole.items():
            if self._ready.get(name) != block:
                size = self._sysfs.get(f"class/block/{block}/size", "0")
                mib = int(size) // 2048 if size.isdecimal() else 0
                milestone(f"disk {name} ready: {block}, {mib} MiB")
        self._ready = whole

    def _rescan(self) -> None:
        """Has the kernel look for disks again: it leaves one out whose identifiers an earlier one still has, and a
        disk that comes back while a server restarts has a new number and the same identifiers."""
        for name in self._controllers():
            try:
                self._sysfs.write(f"class/nvme/{name}/rescan_controller", "1")
            except OSError as error:
                log(f"{name}: cannot look for disks again: {error_text(error)}")

    def _say_states(self) -> None:
        """Says when the kernel begins to wait for a server, and when it goes on."""
        now = {}
        for name, nqn in self._controllers().items():
            state, before = self._sysfs.get(f"class/nvme/{name}/state"), self._states.get(nqn, "")
            # What has never been live does not wait: it connects for the first time.
            waits = before and state in ("connecting", "resetting")
            now[nqn] = "waiting" if waits else "live" if state == "live" else before
            if (before, now[nqn]) == ("live", "waiting"):
                milestone(f"disk server away: reads and writes wait for it, {self._wait_s} s at the most")
            elif (before, now[nqn]) == ("waiting", "live"):
                milestone("disk server back")
        self._states = now

    def _there(self) -> list[str]:
        try:
            return os.listdir(self._links)
        except FileNotFoundError:
            return []

    def _read_link(self, link: str) -> str:
        try:
            return os.readlink(f"{self._links}/{link}")
        except OSError:
            return ""

    def _unlink(self, link: str) -> None:
        try:
            os.unlink(f"{self._links}/{link}")
        except FileNotFoundError:
            return
        except OSError as error:
            log(f"cannot remove {self._links}/{link}: {error_text(error)}")
