# SPDX-License-Identifier: BSD-2-Clause
"""Mounts the file systems of routed disks below /media as they come, and unmounts them when their disk goes.

mount(8) and blkid(8) of util-linux do the work. A file system is mounted once for each time that its disk comes: what a
user unmounts stays unmounted, also when this program starts again: it notes in a file what it has mounted.
"""

from __future__ import annotations

import os
from itertools import chain, count

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
NOTES = "/run/router/automount"
ROUTED = ("/vhci_hcd", "/nvme-fabrics/")
"""Parts of the paths of routed disks: those on virtual ports, and those that came as blocks."""
OPTIONS = "nosuid,nodev"
# The default of ext4, which a disk may overrule in its superblock: by `panic` it would stop the guest (ext4(5)).
ERRORS = "errors=remount-ro"
WITH_ERRORS = ("ext2", "ext3", "ext4")
# A disk's partitions appear a moment after it; those that come later still are news of their own.
SETTLE_S = 0.5
# One call of a program gets SIGTERM after the first and SIGKILL after both: a disk that is slow to answer delays the
# others so long. A program that waits for the disk in the kernel ends no sooner than the kernel gives the disk up.
PROGRAM_TIMEOUT_S = 30
KILL_AFTER_S = 5
MAX_NOTES = 1 << 16
MAX_OUTPUT = 4096
MAX_NAME = 64
MAX_MOUNTS = 64
SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-+"


def safe_name(label: str) -> str:
    """A label as the name of a folder: letters, digits and + of ASCII, and . _ - within."""
    text = "".join(letter if letter in SAFE else "_" for letter in label.strip())
    return text.strip("_.-")[:MAX_NAME].strip("_.-")


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
        limited = ["timeout", "-k", str(KILL_AFTER_S), str(PROGRAM_TIMEOUT_S), *words]
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


class Mounted:
    """What this program has mounted: a block device's name, its numbers ("8:1"), its mark (`Automount._mark`), the
    place."""

    __slots__ = ("mark", "name", "numbers", "place")

    def __init__(self, name: str, numbers: str, mark: str, place: str) -> None:
        self.name = name
        self.numbers = numbers
        self.mark = mark
        self.place = place

    def is_there(self) -> bool:
        """Whether it is still mounted there, and nothing else over it."""
        there = [mount for mount in proc.mounts(proc.read("self/mountinfo")) if mount.place == self.place]
        return bool(there) and there[-1].is_of(self.name, self.numbers)


class Automount:
    """Follows the block devices on virtual ports. media: the folder, which exists, of the mount points. notes: the file
    that says what of them is this program's."""

    def __init__(
        self,
        loop: event_loop.Loop,
        sysfs: Sysfs | None = None,
        media: str = MEDIA,
        run: Run = run_program,
        notes: str = NOTES,
    ) -> None:
        self._loop = loop
        self._sysfs = sysfs or Sysfs()
        self._media = media
        self._run = run
        self._notes = notes
        self._looked_at: set[str] = set()
        self._mounted: dict[str, Mounted] = {}
        """By block device."""
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
            # Not put off by what comes meanwhile: a device that sends news without end would put it off for ever.
            self._due = self._due or self._loop.call_later(SETTLE_S, self.look)

    def look(self) -> None:
        """Mounts each new file system, and forgets what is there no more."""
        self._due = None
        there = [name for mark in ROUTED for name in block_devices(self._sysfs, mark)]
        for name in (self._looked_at | set(self._mounted)) - set(there):
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
        """What an earlier run of this program has mounted, by its notes; what has gone since is taken away.

        What others mounted below the same folder is theirs.
        """
        try:
            with open(self._notes, encoding="utf-8", errors="replace") as file:
                lines = file.read(MAX_NOTES).splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            log(f"cannot read {self._notes}: {error_text(error)}")
            return
        for line in lines:
            words = line.split(" ")
            if len(words) != 4 or "/" in words[3] or words[3] in ("", ".", ".."):
                log(f"{self._notes}: {line[:MAX_NAME]!r} is not understood")
                continue
            name, numbers, mark, folder = words
            self._mounted[name] = Mounted(name, numbers, mark, f"{self._media}/{folder}")
            self._looked_at.add(name)
        for one in tuple(self._mounted.values()):
            if one.mark != self._mark(one.name):
                self._gone(one.name)

    def _mark(self, name: str) -> str:
        """What tells a block device from a later one of its name: its folder in sysfs is another one."""
        try:
            return str(os.stat(self._sysfs.real(f"class/block/{name}")).st_ino)
        except OSError:
            return "-"

    def _note(self) -> None:
        text = "".join(
            f"{one.name} {one.numbers} {one.mark} {one.place.rpartition('/')[2]}\n" for one in self._mounted.values()
        )
        try:
            with open(f"{self._notes}.new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(f"{self._notes}.new", self._notes)
        except OSError as error:
            log(f"cannot write {self._notes}: {error_text(error)}")

    def _mount(self, name: str) -> None:
        code, said = self._run(["blkid", "-p", "-u", "filesystem", "-o", "export", f"/dev/{name}"])
        kind = safe_name(probed(said).get("TYPE", ""))
        if code or not kind:
            return
        if len(self._mounted) >= MAX_MOUNTS:
            milestone(f"not mounted: {name}: {MAX_MOUNTS} file systems are mounted already")
            return
        place = self._place(name, probed(said).get("LABEL", ""))
        read_only = self._sysfs.get(f"class/block/{name}/ro") == "1"
        try:
            os.mkdir(place, 0o755)
        except OSError as error:
            milestone(f"not mounted: {name}: {place}: {error_text(error)}")
            return
        options = [OPTIONS, *([ERRORS] if kind in WITH_ERRORS else []), *(["ro"] if read_only else [])]
        code, said = self._run(["mount", "-o", ",".join(options), f"/dev/{name}", place])
        if code:
            self._remove(place)
            lines = said.strip().splitlines() or [f"mount ended with {code}"]
            milestone(f"not mounted: {name} ({kind}): {lines[0]}")
            return
        numbers = self._sysfs.get(f"class/block/{name}/dev") or "-"
        self._mounted[name] = Mounted(name, numbers, self._mark(name), place)
        self._note()
        milestone(f"mounted {name} at {place} ({kind}{', read-only' if read_only else ''})")

    def _place(self, name: str, label: str) -> str:
        """A folder that is not there yet, by the label, or by the device's name where there is none."""
        wanted = safe_name(label)
        names = chain([wanted, f"{wanted}-{name}"] if wanted else [name], (f"{wanted or name}-{n}" for n in count(2)))
        return next(place for one in names if not os.path.lexists(place := f"{self._media}/{one}"))

    def _gone(self, name: str) -> None:
        self._looked_at.discard(name)
        mounted = self._mounted.pop(name, None)
        if not mounted:
            return
        place = mounted.place
        self._note()
        if mounted.is_there():
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
