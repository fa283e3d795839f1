# SPDX-License-Identifier: BSD-2-Clause
"""Kernel, initramfs and device tree have places in a guest's RAM that Linux accepts, or the user is told why not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.boards.model import Range
from router.errors import DescriptionError
from router.linux_boot import KernelHeader
from router.pipeline.layout import place

MiB = 1 << 20
HEADER = KernelHeader(text_offset=0, image_size=36 * MiB)


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
    assert 8 <= layout.overlay.start - layout.base.end < 12


def test_too_little_memory_says_how_much_is_enough() -> None:
    sizes = {"base_size": 8 * MiB, "overlay_size": 1024, "tree_size": 4096}
    for size in (64, 110):
        with pytest.raises(DescriptionError, match=f"{size} MiB is not enough memory.* need 112 MiB") as caught:
            place("client", Range(0x8000_0000, size * MiB), HEADER, **sizes)
        assert caught.value.hint == "write memory: 112 MiB or more"
    assert place("client", Range(0x8000_0000, 112 * MiB), HEADER, **sizes).kernel.size == 36 * MiB


def test_a_tree_over_two_mebibytes_is_refused() -> None:
    with pytest.raises(DescriptionError, match="larger than 2 MiB"):
        place("g", Range(0, 512 * MiB), HEADER, base_size=1, overlay_size=1, tree_size=2 * MiB + 1)
