# SPDX-License-Identifier: BSD-2-Clause
"""Opens a disk, or the image of one, for this program alone: never one that is mounted or that something else has."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from router.errors import DescriptionError, HostError
from router.words import listing

BLKSSZGET, BLKGETSIZE64, BLKZEROOUT, BLKRRPART = 0x1268, 0x80081272, 0x127F, 0x125F
"""linux/fs.h, on 64-bit machines."""
SECTOR = 512
CHUNK = 16 << 20


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of the disk, for reading and writing, that no other program has at that time.

    DescriptionError for what is not a disk; HostError when it is in use, or may not be opened.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise DescriptionError(
            "there is no such disk or image", f"an empty image: truncate -s 5G {path}", str(path)
        ) from None
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise DescriptionError("this is neither a disk nor an image", "name a block device or a file", str(path))
    is_block = stat.S_ISBLK(mode)
    if is_block:
        _whole_disk(path)
    try:
        # Of a block device the kernel gives this to one opener, and to none while a part of it is mounted or held.
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if is_block else 0))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise HostError(f"the disk is in use: {users(path)}", "unmount it first", str(path)) from None
        hint = "be root for a device, or name an image" if error.errno == errno.EACCES else None
        raise HostError(f"cannot open it: {error.strerror}", hint, str(path)) from None
    try:
        if not is_block:
            _lock(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


def _whole_disk(path: Path) -> None:
    name = path.resolve().name
    if Path(f"/sys/class/block/{name}/partition").exists():
        whole = Path(f"/sys/class/block/{name}").resolve().parent.name
        raise DescriptionError(f"'{name}' is a partition", f"name the whole disk: /dev/{whole}", str(path))


def users(path: Path) -> str:
    """Who has a block device or a part of it, as far as the kernel tells."""
    name = path.resolve().name
    base = Path(f"/sys/class/block/{name}").resolve()
    numbers = {}
    for folder in (base, *sorted(base.glob(f"{name}*"))):
        with contextlib.suppress(OSError):
            numbers[(folder / "dev").read_text().strip()] = folder.name
    found = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
            words = line.split()
            if len(words) > 4 and words[2] in numbers:
                found.append(f"{numbers[words[2]]} is mounted at {words[4]}")
    for block in numbers.values():
        held = [one.name for one in Path(f"/sys/class/block/{block}/holders").glob("*")]
        found += [f"{block} is held by {listing(held, 'and')}"] if held else []
    return "; ".join(dict.fromkeys(found)) or "another program has opened it for itself"


def _lock(descriptor: int, path: Path) -> None:
    """Takes an image as QEMU does (block/file-posix.c: open file description locks), so that the two exclude each
    other, and looks for loop devices on it."""
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except BlockingIOError:
        raise HostError("another program has the image, such as QEMU", "end it first", str(path)) from None
    there = os.fstat(descriptor)
    for backing in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            behind = Path(backing.read_text().rstrip("\n")).stat()
            if (behind.st_dev, behind.st_ino) == (there.st_dev, there.st_ino):
                loop = backing.parts[-3]
                raise HostError(f"the image is the disk {loop}", f"losetup -d /dev/{loop}", str(path))


def shape(descriptor: int) -> tuple[int, int]:
    """Size and sector size in bytes."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return status.st_size, SECTOR
    (size,) = struct.unpack("Q", fcntl.ioctl(descriptor, BLKGETSIZE64, bytes(8)))
    (sector,) = struct.unpack("i", fcntl.ioctl(descriptor, BLKSSZGET, bytes(4)))
    return size, sector


def zero(descriptor: int, start: int, size: int) -> Iterator[int]:
    """Fills a part of the disk with zeros, step by step: the bytes that are done. A sparse image stays sparse."""
    end = start + size
    at = start
    is_block = stat.S_ISBLK(os.fstat(descriptor).st_mode)
    while at < end:
        step = min(CHUNK, end - at)
        if is_block:
            fcntl.ioctl(descriptor, BLKZEROOUT, struct.pack("QQ", at, step))
        else:
            try:
                at = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                # A hole up to the end of the file.
                break
            step = min(CHUNK, end - at, os.lseek(descriptor, at, os.SEEK_HOLE) - at)
            if step > 0:
                os.pwrite(descriptor, bytes(step), at)
        at += max(step, 0)
        if at < end:
            yield at - start
    os.fsync(descriptor)
    yield size


def read_again(descriptor: int) -> None:
    """Has the kernel read a disk's new table. Nothing is to be done for an image. HostError where it has to be told by
    plugging.
    """
    if not stat.S_ISBLK(os.fstat(descriptor).st_mode):
        return
    try:
        fcntl.ioctl(descriptor, BLKRRPART)
    except OSError as error:
        # EINVAL: a device in which the kernel looks for no partitions, such as a plain loop device.
        if error.errno != errno.EINVAL:
            raise HostError(
                f"the table is written, and the kernel keeps its old one: {error.strerror}",
                "unplug the disk and plug it in again",
            ) from None
