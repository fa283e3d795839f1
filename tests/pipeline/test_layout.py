"""Kernel, initramfs and device tree have places in a guest's RAM that Linux accepts, or the user is told why not."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.boards.model import Range
from router.errors import DescriptionError
from router.pipeline.layout import ImageHeader, parse_image_header, place

MiB = 1 << 20
HEADER = ImageHeader(text_offset=0, image_size=36 * MiB)


def header(text_offset: int, image_size: int) -> bytes:
    return struct.pack("<IIQQ", 0, 0, text_offset, image_size).ljust(56, b"\0") + b"ARM\x64" + bytes(4)


def test_the_image_header_gives_offset_and_size() -> None:
    assert parse_image_header(header(0x80000, 36 * MiB), "Image") == ImageHeader(0x80000, 36 * MiB)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"\x1f\x8b" + bytes(62), "a gzip file"), (b"MZ", "something else"), (header(0, 0), "has no size")],
)
def test_what_is_no_image_is_refused_with_its_name(data: bytes, says: str) -> None:
    with pytest.raises(DescriptionError, match=says) as caught:
        parse_image_header(data, "vmlinuz")
    assert caught.value.where == "vmlinuz"


@given(
    st.integers(160, 2048).map(lambda n: n * MiB),
    st.integers(1, 24 * MiB),
    st.integers(1, 64 * 1024),
    st.integers(64, 2 * MiB),
)
def test_parts_never_overlap_and_stay_in_ram(size: int, base: int, overlay: int, tree: int) -> None:
    ram = Range(0x8000_0000, size)
    layout = place("g", ram, HEADER, base_size=base, overlay_size=overlay, tree_size=tree)
    parts = [layout.kernel, layout.base, layout.overlay, layout.tree]
    assert all(ram.contains(part) for part in parts)
    assert not any(a.overlaps(b) for n, a in enumerate(parts) for b in parts[n + 1 :])
    assert layout.tree.start % (2 * MiB) == 0
    assert layout.overlay.start % 4 == 0
    assert layout.initrd.contains(layout.base)
    assert layout.initrd.contains(layout.overlay)
    assert layout.overlay.start - layout.base.end < 4


def test_too_little_memory_says_how_much_is_enough() -> None:
    ram = Range(0x8000_0000, 64 * MiB)
    with pytest.raises(DescriptionError, match=r"guest 'client' has 64 MiB of memory, .* need 11\d MiB") as caught:
        place("client", ram, HEADER, base_size=8 * MiB, overlay_size=1024, tree_size=4096)
    assert caught.value.hint == "write 'memory: 128 MiB' or more"
    enough = Range(0x8000_0000, 128 * MiB)
    assert place("client", enough, HEADER, base_size=8 * MiB, overlay_size=1024, tree_size=4096).kernel.size == 36 * MiB


def test_a_tree_over_two_mebibytes_is_refused() -> None:
    with pytest.raises(DescriptionError, match="larger than 2 MiB"):
        place("g", Range(0, 512 * MiB), HEADER, base_size=1, overlay_size=1, tree_size=2 * MiB + 1)
