# SPDX-License-Identifier: BSD-2-Clause
"""One load on one file system, in the shape of Filebench's and IOzone's. Prints `name value` lines.

First it makes its files and says "ready"; it starts once the file `go` is there. A rate counts the operations until all
of them are on the disk. A pass of a load "without fsync" ends with one fsync, as IOzone's -e has it: rates of a page
cache would say nothing.
"""

import array
import fcntl
import os
import time
from collections.abc import Callable

from bench.guest.throughput import drop_caches

KiB, MiB, PAGE = 1 << 10, 1 << 20, 4096
SEQUENTIAL, RANDOM = 16 * MiB, 4 * MiB
"""Sizes of the files that are read and written from end to end, and at random places."""
RECORD = 128 * KiB
PASS = 512
"""Writes at random places in a pass."""
FITRIM = 0xC0185879
"""include/uapi/linux/fs.h: _IOWR('X', 121, struct fstrim_range)."""
GO_TIMEOUT_S = 600.0


class Load:
    """What a load has. folder: empty, its own."""

    def __init__(self, folder: str, seed: int) -> None:
        self.folder = folder
        self.syncs: list[float] = []
        self._place = seed & 0x7FFFFFFF

    def prepare(self) -> None:
        """Makes what the load finds when it starts."""

    def step(self) -> None:
        """One operation."""

    def pick(self, count: int) -> int:
        """A pseudo-random number below `count`: the same ones for the same seed."""
        self._place = (self._place * 1103515245 + 12345) % 2147483648
        return (self._place >> 8) % count

    def path(self, name: object) -> str:
        return f"{self.folder}/{name}"

    def create(self, name: object, size: int) -> None:
        file = os.open(self.path(name), os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        piece = bytes(range(256)) * 256
        for start in range(0, size, len(piece)):
            os.write(file, piece[: size - start])
        os.close(file)

    def append(self, name: object, size: int, sync: bool) -> None:
        file = os.open(self.path(name), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.write(file, bytes(size))
        if sync:
            self.timed(os.fsync, file)
        os.close(file)

    def read(self, name: object) -> None:
        """The whole file, which does not stay in the page cache: a server's files are more than its memory."""
        file = os.open(self.path(name), os.O_RDONLY)
        while os.read(file, RECORD):
            pass
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)

    def timed(self, call: Callable[[int], None], file: int) -> None:
        """fsync or fdatasync, and how long it took."""
        start = time.monotonic()
        call(file)
        self.syncs.append(time.monotonic() - start)


class ManyFiles(Load):
    """FILES files of SIZE bytes, and TURNS operations that take turns."""

    FILES = SIZE = TURNS = 0

    def prepare(self) -> None:
        for name in range(self.FILES):
            self.create(name, self.SIZE)
        self._turn = 0

    def turn(self) -> int:
        """Which operation is next; the first is 1, the last 0."""
        self._turn = (self._turn + 1) % self.TURNS
        return self._turn


class Mail(ManyFiles):
    """Filebench's varmail: a mail is replaced (fsync), one is read and answered (fsync), one is read."""

    FILES, SIZE, TURNS = 40, 8 * KiB, 3

    def step(self) -> None:
        turn, name = self.turn(), self.pick(self.FILES)
        if turn == 0:
            os.unlink(self.path(name))
            self.append(name, self.SIZE, True)
        else:
            self.read(name)
            if turn == 1:
                self.append(name, self.SIZE, True)


class Files(ManyFiles):
    """Filebench's fileserver: files are written, appended to, read, deleted; nothing is synced."""

    FILES, SIZE, TURNS = 32, 64 * KiB, 3

    def step(self) -> None:
        turn, name = self.turn(), self.pick(self.FILES)
        if turn == 0:
            os.unlink(self.path(name))
            self.create(name, self.SIZE)
        elif turn == 1:
            self.append(name, 16 * KiB, False)
        else:
            self.read(name)
        os.stat(self.path(name))


class Web(ManyFiles):
    """Filebench's webserver: ten pages are read, then a line of the log is written."""

    FILES, SIZE, TURNS = 100, 16 * KiB, 11

    def step(self) -> None:
        if self.turn():
            self.read(self.pick(self.FILES))
        else:
            self.append("log", 16 * KiB, False)


class DatabaseLog(Load):
    """A write-ahead log of 4 MiB that is there already: each record of 4 KiB is synced."""

    def prepare(self) -> None:
        self.create("log", RANDOM)
        self._file, self._next = os.open(self.path("log"), os.O_WRONLY), 0

    def step(self) -> None:
        os.pwrite(self._file, bytes(PAGE), self._next)
        self._next = (self._next + PAGE) % RANDOM
        self.timed(os.fdatasync, self._file)


class Reads(Load):
    """A file, in records of 128 KiB from its start, or in pages at random places."""

    def __init__(self, folder: str, seed: int, random: bool) -> None:
        super().__init__(folder, seed)
        self._random, self._next = random, 0

    def prepare(self) -> None:
        self.create("data", SEQUENTIAL)
        self._file = os.open(self.path("data"), os.O_RDONLY)
        if self._random:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_RANDOM)

    def step(self) -> None:
        if self._random:
            place = self.pick(SEQUENTIAL // PAGE) * PAGE
            os.pread(self._file, PAGE, place)
            os.posix_fadvise(self._file, place, PAGE, os.POSIX_FADV_DONTNEED)
            return
        os.pread(self._file, RECORD, self._next)
        self._next += RECORD
        if self._next == SEQUENTIAL:
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
            self._next = 0


class Writes(Load):
    """A file that is new in each pass, or the same again; in records of 128 KiB or in pages at random places."""

    def __init__(self, folder: str, seed: int, random: bool, again: bool, sync: bool) -> None:
        super().__init__(folder, seed)
        self._random, self._again, self._sync = random, again, sync
        self._steps = PASS if random else SEQUENTIAL // RECORD
        self._done, self._file = 0, -1
        self._data = bytes(PAGE if random else RECORD)

    def prepare(self) -> None:
        if self._again:
            self.create("data", RANDOM if self._random else SEQUENTIAL)
        self._open()

    def _open(self) -> None:
        self._done = 0
        if self._again:
            if self._file < 0:
                self._file = os.open(self.path("data"), os.O_WRONLY)
            return
        if self._file >= 0:
            os.close(self._file)
            os.unlink(self.path("data"))
        self._file = os.open(self.path("data"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)

    def step(self) -> None:
        place = self.pick(RANDOM // PAGE) * PAGE if self._random else self._done * RECORD
        os.pwrite(self._file, self._data, place)
        self._done += 1
        if self._sync or self._done == self._steps:
            self.timed(os.fsync, self._file)
        if self._done == self._steps:
            self._open()


def make(load: str, folder: str, seed: int) -> Load:
    """The load of that name: see bench/storage/loads.py."""
    kinds = {"mail": Mail, "files": Files, "web": Web, "log": DatabaseLog}
    if load in kinds:
        return kinds[load](folder, seed)
    place, what, *more = load.split("-")
    if what == "read":
        return Reads(folder, seed, place == "random")
    return Writes(folder, seed, place == "random", what == "rewrite", more == ["fsync"])


def written(device: str) -> int:
    """Bytes that this guest has written to a block device (Documentation/block/stat.rst: sectors of 512 bytes)."""
    with open(f"/sys/class/block/{device}/stat") as file:
        return 512 * int(file.read().split()[6])


def trim(folder: str) -> None:
    """Gives back what the file system does not use, so that a sparse file in the server is sparse again."""
    ranges = array.array("Q", (0, 2**64 - 1, 0))
    file = os.open(folder, os.O_RDONLY)
    fcntl.ioctl(file, FITRIM, ranges)
    os.close(file)


def remove(folder: str) -> None:
    """What an earlier load has left: removing it then would have counted as the server's writes, not as the load's."""
    if os.path.isdir(folder):
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)
        os.sync()


def run(load: str, mount: str, device: str, seconds: float, seed: int, go: str, sparse: bool) -> None:
    """A load for that many seconds on the file system at `mount`, which is on `device` ("nvme0n1")."""
    folder = f"{mount}/load"
    remove(folder)
    if sparse:
        trim(mount)
    os.mkdir(folder)
    one = make(load, folder, seed)
    one.prepare()
    os.sync()
    drop_caches()
    print("ready", flush=True)
    give_up = time.monotonic() + GO_TIMEOUT_S
    while not os.path.exists(go):
        if time.monotonic() > give_up:
            raise SystemExit("nobody said go")
        time.sleep(0.01)
    before, operations, start = written(device), 0, time.monotonic()
    while time.monotonic() - start < seconds:
        one.step()
        operations += 1
    os.sync()
    taken = time.monotonic() - start
    print("rate", operations / taken)
    print("written", written(device) - before)
    print("syncs", len(one.syncs))
    for value in one.syncs:
        print("sync", value)
