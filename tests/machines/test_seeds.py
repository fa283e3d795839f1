# SPDX-License-Identifier: BSD-2-Clause
"""Each start of a guest has randomness of its own, and what is built has none."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import pytest

from router.devicetree import AddressRange, GuestGic, GuestTreeSpec, Tree, client_tree
from router.errors import MachineError
from router.machines.qemu.seeds import with_seeds
from router.seeds import KASLR_ROOM, RNG_ROOM, ROOM, fill


def tree(name: str) -> bytes:
    spec = GuestTreeSpec(
        name,
        AddressRange(0x8000_0000, 0x1000_0000),
        1,
        GuestGic(2, AddressRange(0x800_0000, 0x1_0000), AddressRange(0x801_0000, 0x1_0000)),
        "quiet",
    )
    return client_tree(spec).to_bytes()


def seeds(data: bytes) -> set[bytes]:
    """The seeds that Linux finds in a tree; none is left of the room."""
    chosen = Tree.parse(data, "tree").node("/chosen").properties
    assert not ROOM.keys() & chosen.keys()
    assert len(chosen["rng-seed"]) == 32 and len(chosen["kaslr-seed"]) == 8
    return {chosen["rng-seed"], chosen["kaslr-seed"]}


def test_a_built_tree_has_no_seeds_and_is_the_same_each_time() -> None:
    chosen = Tree.parse(tree("g"), "tree").node("/chosen").properties
    assert not {"rng-seed", "kaslr-seed"} & chosen.keys()
    assert tree("g") == tree("g")


def test_two_starts_have_different_seeds_and_the_built_file_stays_as_it_is(tmp_path: Path) -> None:
    built = tmp_path / "guest.dtb"
    built.write_bytes(before := tree("g"))
    seen = set()
    for start in ("one.dtb", "two.dtb"):
        copy = with_seeds(built, tmp_path / start, 1)
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert copy.stat().st_size == len(before)
        seen |= seeds(copy.read_bytes())
    assert len(seen) == 4 and not seen & {RNG_ROOM, KASLR_ROOM}
    assert built.read_bytes() == before


def test_each_guest_of_an_image_gets_seeds_of_its_own_and_nothing_else_changes() -> None:
    parts = [b"loader \x00\x03", tree("server"), RNG_ROOM + b"not a tree", tree("client"), b"end"]
    image, found = fill(b"".join(parts))
    assert found == 2
    seen, at = set(), 0
    for part in parts:
        after = image[at : at + len(part)]
        at += len(part)
        if part.startswith(b"\xd0\x0d\xfe\xed"):
            seen |= seeds(after)
        else:
            assert after == part
    assert at == len(image) and len(seen) == 4


def test_what_only_looks_like_a_trees_room_in_a_guests_image_is_left_alone() -> None:
    # An offset of a name that "router," cannot be added to.
    room = b"".join(struct.pack(">III", 3, len(part), 0xFFFFFFFA) + part for part in (RNG_ROOM, KASLR_ROOM))
    assert fill(b"kernel" + room + b"end") == (b"kernel" + room + b"end", 0)


def test_a_filled_tree_is_not_filled_again() -> None:
    filled, _ = fill(tree("g"))
    assert fill(filled) == (filled, 0)


def test_an_image_without_room_for_each_guest_is_not_started(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(tree("server"))
    with pytest.raises(MachineError, match="room for the seeds of 1 guests, and 2 are to start"):
        with_seeds(tmp_path / "image", tmp_path / "copy", 2)
    assert not (tmp_path / "copy").exists()
