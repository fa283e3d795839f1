# SPDX-License-Identifier: BSD-2-Clause
"""Mounts the file systems of routed disks below /media as they come, and unmounts them when their disk goes.

mount(8) and blkid(8) of util-linux do the work. A file system is mounted once for each time that its disk comes: what a
user unmounts stays unmounted.
"""

from __future__ import annotations

import os

from router.usbip.client.uses import block_devices
from router.usbip.runtime import event_loop, proc
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.text import error_text
from router.usbip.runtime.uevent import Uevents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[list[str]], tuple[int, str]]

MEDIA = "/media"
ROUTED = "/vhci_hcd"
OPTIONS = "nosuid,nodev"
# A disk's partitions appear a moment after it.
SETTLE_S = 0.5
# How long one call of a program may take: a disk that is slow to answer delays the others so long.
PROGRAM_TIMEOUT_S = 30
MAX_OUTPUT = 4096
MAX_NAME = 64
MAX_MOUNTS = 64
SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+"


def safe_name(label: str) -> str:
    """A label as the name of a folder: letters, digits and . _ - + of ASCII, no dot or dash at the beginning."""
    text = "".join(letter if letter in SAFE else "_" for letter in label.strip())
    return text.lstrip(".-")[:MAX_NAME].strip("_")


def probed(output: str) -> dict[str, str]:
    """What `blkid -o export` prints: NAME=VALUE lines, with a backslash before what a shell would not take."""
    fields = {}
    for line in output.splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name] = value.replace("\\ ", " ").replace("\\", "")
    return fields


def run_program(words: list[str]) -> tuple[int, str]:
    """Runs a program to its end: exit code, and the beginning of what it prints."""
    reading, writing = os.pipe()
    try:
        redirect = [(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, writing, 2)]
        limited = ["timeout", str(PROGRAM_TIMEOUT_S), *words]
        child = os.posix_spawnp(limited[0], limited, os.environ, file_actions=redirect)
        os.close(writing)
        writing = -1
        output = bytearray()
        while part := os.read(reading, MAX_OUTPUT):
            output += part[: MAX_OUTPUT - len(output)]
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output.decode("utf-8", "replace")
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


class Automount:
    """Follows the block devices on virtual ports. media: the folder, which exists, of the mount points."""

    def __init__(
        self, loop: event_loop.Loop, sysfs: Sysfs | None = None, media: str = MEDIA, run: Run = run_program
    ) -> None:
        self._loop = loop
        self._sysfs = sysfs or Sysfs()
        self._media = media
        self._run = run
        self._looked_at: set[str] = set()
        self._places: dict[str, str] = {}
        """By block device: where it is mounted."""
        self._due: event_loop.Timer | None = None

    def start(self) -> Uevents:
        """Mounts what is there, and follows what comes and goes. OSError without kernel uevents."""
        uevents = Uevents()
        self._loop.watch(uevents.fileno(), event_loop.IN, lambda _: self.heard(uevents.read()))
        self._adopt()
        self.look()
        return uevents

    def heard(self, messages: list[dict[str, str]] | None) -> None:
        """The kernel's news; None when some were lost."""
        for message in messages or ():
            if message.get("SUBSYSTEM") == "block" and message.get("ACTION") == "remove":
                self._gone(message.get("DEVNAME", "").rpartition("/")[2])
        if messages is None or any(message.get("SUBSYSTEM") == "block" for message in messages):
            if self._due:
                self._due.cancel()
            self._due = self._loop.call_later(SETTLE_S, self.look)

    def look(self) -> None:
        """Mounts each new file system, and forgets what is there no more."""
        self._due = None
        there = block_devices(self._sysfs, ROUTED)
        for name in (self._looked_at | set(self._places)) - set(there):
            self._gone(name)
        mounts = proc.mounts(proc.read("self/mountinfo"))
        for name in there:
            # A card reader has a disk of no size while it is empty.
            if name in self._looked_at or self._sysfs.get(f"class/block/{name}/size", "0") == "0":
                continue
            if any(self._sysfs.exists(f"class/block/{name}/{other}/partition") for other in there):
                continue
            self._looked_at.add(name)
            numbers = self._sysfs.get(f"class/block/{name}/dev")
            if not any(mount.is_of(name, numbers) for mount in mounts):
                self._mount(name)

    def _adopt(self) -> None:
        """What an earlier run of this program has mounted; what it left of disks that have gone is taken away."""
        names = {self._sysfs.get(f"class/block/{name}/dev"): name for name in block_devices(self._sysfs, ROUTED)}
        for mount in proc.mounts(proc.read("self/mountinfo")):
            if mount.place.rpartition("/")[0] == self._media:
                name = names.get(mount.numbers) or mount.source.rpartition("/")[2]
                self._places[name] = mount.place
                self._looked_at.add(name)

    def _mount(self, name: str) -> None:
        code, said = self._run(["blkid", "-p", "-u", "filesystem", "-o", "export", f"/dev/{name}"])
        kind = safe_name(probed(said).get("TYPE", ""))
        if code or not kind:
            return
        if len(self._places) >= MAX_MOUNTS:
            milestone(f"not mounted: {name}: {MAX_MOUNTS} file systems are mounted already")
            return
        place = self._place(name, probed(said).get("LABEL", ""))
        read_only = self._sysfs.get(f"class/block/{name}/ro") == "1"
        try:
            os.mkdir(place, 0o755)
        except OSError as error:
            milestone(f"not mounted: {name}: {place}: {error_text(error)}")
            return
        options = f"{OPTIONS},ro" if read_only else OPTIONS
        code, said = self._run(["mount", "-o", options, f"/dev/{name}", place])
        if code:
            self._remove(place)
            lines = said.strip().splitlines() or [f"mount ended with {code}"]
            milestone(f"not mounted: {name} ({kind}): {lines[0]}")
            return
        self._places[name] = place
        milestone(f"mounted {name} at {place} ({kind}{', read-only' if read_only else ''})")

    def _place(self, name: str, label: str) -> str:
        """A folder that is not there yet, by the label, or by the device's name where there is none."""
        wanted = safe_name(label)
        if wanted and not os.path.lexists(f"{self._media}/{wanted}"):
            return f"{self._media}/{wanted}"
        return f"{self._media}/{wanted}-{name}" if wanted else f"{self._media}/{name}"

    def _gone(self, name: str) -> None:
        self._looked_at.discard(name)
        place = self._places.pop(name, "")
        if not place:
            return
        if any(mount.place == place for mount in proc.mounts(proc.read("self/mountinfo"))):
            # Lazily: a program may have files open, which get errors from now on.
            code, said = self._run(["umount", "-l", place])
            if code:
                log(f"cannot unmount {place}: {said.strip()}")
            else:
                milestone(f"unmounted {place}: {name} has gone")
        self._remove(place)

    def _remove(self, place: str) -> None:
        try:
            os.rmdir(place)
        except OSError as error:
            log(f"cannot remove {place}: {error_text(error)}")
