# SPDX-License-Identifier: BSD-2-Clause
"""Each start of a guest in a split run has randomness of its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from router.boards.model import Range
from router.devicetree import AddressRange, GuestGic, GuestTreeSpec, Tree, client_tree
from router.machines.qemu.command import stub_address
from router.machines.qemu.seeds import KASLR_SEED_BYTES, NO_ISOLATION, RNG_SEED_BYTES, with_seeds
from router.pipeline.layout import GuestFiles, GuestLayout


def booted(folder: Path, bootargs: str) -> GuestFiles:
    spec = GuestTreeSpec(
        "g",
        AddressRange(0x8000_0000, 0x1000_0000),
        1,
        GuestGic(2, AddressRange(0x800_0000, 0x1_0000), AddressRange(0x801_0000, 0x1_0000)),
        bootargs,
    )
    tree = folder / "guest.dtb"
    tree.write_bytes(client_tree(spec).to_bytes())
    nothing = Range(0x8000_0000, 0)
    layout = GuestLayout(nothing, nothing, nothing, Range(0x8FE0_0000, tree.stat().st_size))
    return GuestFiles(folder / "Image", folder / "base", folder / "overlay", tree, layout)


def test_two_starts_have_different_seeds_and_the_built_tree_has_none(tmp_path: Path) -> None:
    built = booted(tmp_path, "quiet")
    before = built.tree.read_bytes()
    seen = set()
    for start in ("one.dtb", "two.dtb"):
        seeded = with_seeds(built, tmp_path / start)
        chosen = Tree.read(seeded.tree).node("/chosen").properties
        assert len(chosen["rng-seed"]) == RNG_SEED_BYTES and len(chosen["kaslr-seed"]) == KASLR_SEED_BYTES
        seen |= {chosen["rng-seed"], chosen["kaslr-seed"]}
        assert stat.S_IMODE(seeded.tree.stat().st_mode) == 0o600
        assert seeded.layout.tree == Range(0x8FE0_0000, seeded.tree.stat().st_size)
        assert stub_address(seeded.layout) >= seeded.layout.tree.end
    assert len(seen) == 4
    assert built.tree.read_bytes() == before and b"seed" not in before


@pytest.mark.parametrize(("own", "used"), [("quiet", f"quiet {NO_ISOLATION}"), ("kpti=on quiet", "kpti=on quiet")])
def test_page_tables_are_not_isolated_unless_the_guest_asks(tmp_path: Path, own: str, used: str) -> None:
    seeded = with_seeds(booted(tmp_path, own), tmp_path / "copy.dtb")
    assert Tree.read(seeded.tree).node("/chosen").string("bootargs") == used
