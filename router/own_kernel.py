# SPDX-License-Identifier: BSD-2-Clause
"""Kernels as users have them: packed, as an EFI zboot image or as a uImage. What is in them is unpacked here.

Sources: Linux, drivers/firmware/efi/libstub/zboot-header.S (EFI zboot) and scripts/Makefile.lib (compressors, some of
which append the plain size); U-Boot, include/image.h (legacy uImage: 64 bytes of header, big-endian).
"""

from __future__ import annotations

import bz2
import lzma
import struct
import subprocess
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path
from shlex import quote
from typing import Protocol

from router import requirements
from router.linux_boot import HEADER_SIZE, MAGIC, MAGIC_OFFSET, KernelHeader, NotAKernelImage, read_kernel_header

MAX_KERNEL = 256 << 20
"""Bytes of a kernel, packed or unpacked; a larger one is refused before it fills the memory."""
MAX_WRAPPINGS = 4
"""A compressed uImage of a compressed image, and no more than one finds in practice."""
UIMAGE_MAGIC, UIMAGE_HEADER = b"\x27\x05\x19\x56", 64
UIMAGE_PACKINGS = {0: "none", 1: "gzip", 2: "bzip2", 3: "lzma", 4: "lzo", 5: "lz4", 6: "zstd"}
ZBOOT_TYPE_OFFSET = 24
ZBOOT_PACKINGS = {"gzip": "gzip", "xzkern": "xz", "lzma": "lzma", "zstd22": "zstd", "zstd": "zstd", "lz4": "lz4"}
MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x5d\x00\x00": "lzma",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x89LZO": "lzo",
}
COMMANDS = {"lz4": "lz4 -dc", "lzo": "lzop -dc"}
"""What unpacks the formats that Python and zstd do not."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def plain_kernel(path: Path) -> bytes | None:
    """The arm64 Image in a file that wraps it; None when the file is no wrapping that is known, an Image included.

    Raises NotAKernelImage for a wrapping that is damaged or that cannot be unpacked here; OSError.
    """
    with path.open("rb") as file:
        if not _wrapped(file.read(HEADER_SIZE)):
            return None
        file.seek(0)
        data = file.read(MAX_KERNEL + 1)
    if len(data) > MAX_KERNEL:
        raise NotAKernelImage(f"the file has more than {MAX_KERNEL >> 20} MiB", "is it a kernel?")
    for _ in range(MAX_WRAPPINGS):
        if not _wrapped(data):
            return data
        data = _unwrap(data, str(path))
    raise NotAKernelImage("a file wrapped again and again", "use arch/arm64/boot/Image of the kernel's build")


def own_kernel(path: Path) -> tuple[KernelHeader, int]:
    """The header and the size in bytes of the Image in a user's kernel file. Raises NotAKernelImage, OSError."""
    facts = path.stat()
    return _own_kernel(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(16)
def _own_kernel(path: Path, changed: int, size: int) -> tuple[KernelHeader, int]:
    plain = plain_kernel(path)
    if plain is not None:
        return read_kernel_header(plain, len(plain)), len(plain)
    with path.open("rb") as file:
        return read_kernel_header(file.read(HEADER_SIZE), size), size


def _wrapped(head: bytes) -> bool:
    if head[MAGIC_OFFSET:][: len(MAGIC)] == MAGIC:
        return False
    return head.startswith(UIMAGE_MAGIC) or _is_zboot(head) or _packing(head) is not None


def _is_zboot(head: bytes) -> bool:
    return head[:2] == b"MZ" and head[4:8] == b"zimg" and len(head) >= HEADER_SIZE


def _packing(head: bytes) -> str | None:
    return next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)


def _unwrap(data: bytes, name: str) -> bytes:
    """What is in one wrapping."""
    if data.startswith(UIMAGE_MAGIC):
        if len(data) < UIMAGE_HEADER:
            raise NotAKernelImage("a uImage that is cut off", "copy it again")
        (size,) = struct.unpack_from(">I", data, 12)
        kind = UIMAGE_PACKINGS.get(data[31], f"number {data[31]}")
        cut = f"tail -c +{UIMAGE_HEADER + 1} {quote(name)} | head -c {size} >{quote(f'Image.{kind}')}"
        return _unpack(_part(data, UIMAGE_HEADER, size, "uImage"), kind, cut)
    if _is_zboot(data):
        offset, size = struct.unpack_from("<II", data, 8)
        word = data[ZBOOT_TYPE_OFFSET:MAGIC_OFFSET].split(b"\0")[0].decode("ascii", "replace")
        kind = ZBOOT_PACKINGS.get(word, word)
        cut = f"tail -c +{offset + 1} {quote(name)} | head -c {size} >{quote(f'Image.{kind}')}"
        return _unpack(_part(data, offset, size, "EFI zboot image"), kind, cut)
    packing = _packing(data)
    assert packing is not None, "a wrapping"
    return _unpack(data, packing, f"cp {quote(name)} Image.{packing}")


def _part(data: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(data):
        raise NotAKernelImage(
            f"the {what} says that it has {offset + size} bytes, but the file has {len(data)}", "copy it again"
        )
    return data[offset : offset + size]


def _unpack(data: bytes, kind: str, first: str) -> bytes:
    """`data` unpacked. first: the command that gets the packed data out of the user's file."""
    unpackers: dict[str, _Decompressor] = {
        "gzip": zlib.decompressobj(31),
        "xz": lzma.LZMADecompressor(),
        "lzma": lzma.LZMADecompressor(),
        "bzip2": bz2.BZ2Decompressor(),
    }
    if kind == "none":
        return data
    if kind == "zstd":
        return _unzstd(data)
    if kind not in unpackers:
        tool = COMMANDS.get(kind)
        command = f"{tool} Image.{kind} >Image" if tool else f"then unpack {quote(f'Image.{kind}')}"
        raise NotAKernelImage(f"a kernel packed by {kind}", f"unpack it first: {first}; {command}")
    unpacker = unpackers[kind]
    try:
        plain = unpacker.decompress(data, MAX_KERNEL + 1)
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        raise NotAKernelImage(f"the {kind} data of the kernel are damaged", "copy it again") from error
    if not unpacker.eof and len(plain) <= MAX_KERNEL:
        raise NotAKernelImage(f"the {kind} data of the kernel are cut off", "copy it again")
    return _judged(plain)


def _unzstd(data: bytes) -> bytes:
    """zstd's frame; the kernel's build appends four bytes of size to it in some images."""
    words = [requirements.find("zstd"), "-dcq"]
    for part in (data, data[:-4]):
        with tempfile.TemporaryFile() as packed:
            packed.write(part)
            packed.seek(0)
            with subprocess.Popen(words, stdin=packed, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
                assert child.stdout is not None
                plain = child.stdout.read(MAX_KERNEL + 1)
                child.stdout.close()
        if child.returncode == 0 or len(plain) > MAX_KERNEL:
            return _judged(plain)
    raise NotAKernelImage("the zstd data of the kernel are damaged", "copy it again")


def _judged(plain: bytes) -> bytes:
    if len(plain) > MAX_KERNEL:
        raise NotAKernelImage(f"the kernel unpacks to more than {MAX_KERNEL >> 20} MiB", "is it a kernel?")
    return plain
