# SPDX-License-Identifier: BSD-2-Clause
"""Guests' RAM lies around what the board's device tree withholds, or the description is refused with the reason."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from router.boards.model import Range
from router.checks import check_plan
from router.description.load import load
from router.devicetree import Tree
from router.devicetree.dtc import compile_source
from router.devicetree.memory import MEMRESERVE, OUTSIDE, withheld
from router.devicetree.node import Node
from router.errors import DescriptionError
from router.pipeline.inputs import Planned, plan_loaded

VENDOR = Path(__file__).parents[1] / "devicetree" / "vendor"
RAM = Range(0x4000_0000, 0x8000_0000)
MiB = 1 << 20

pytestmark = pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is missing")


def planned(folder: Path, tree: str, memory: str) -> Planned:
    (folder / "board.dtb").write_bytes(compile_source(VENDOR / f"{tree}.dts"))
    file = folder / "system.yaml"
    file.write_text(
        "system: kept\nboard: maaxboard\ndevice_tree: board.dtb\nguests:\n"
        f"  server: {{image: usb-server, memory: {memory}, passthrough: [usb1, usb2]}}\n"
        f"  client: {{image: usb-client, memory: {memory}}}\n"
    )
    return plan_loaded(load(file), folder / "cache", lambda _: None)


def test_reserved_areas_are_found_disjoint_and_linux_own_pool_is_not_one() -> None:
    tree = Tree.parse(compile_source(VENDOR / "reserved-memory.dts"), "tree")
    m4 = "'m4@80000000' of the device tree's reserved memory"
    assert withheld(tree, RAM, []) == (
        (MEMRESERVE, Range(0x7500_0000, 16 * MiB)),
        (m4, Range(0x8000_0000, 16 * MiB)),
    )
    assert withheld(tree, RAM, [Range(0x7480_0000, 16 * MiB), Range(0x8040_0000, 4 * MiB)]) == (
        (MEMRESERVE, Range(0x7580_0000, 8 * MiB)),
        (m4, Range(0x8000_0000, 4 * MiB)),
        (m4, Range(0x8080_0000, 8 * MiB)),
    )


def test_memory_that_no_memory_node_mentions_is_withheld_and_an_empty_node_says_nothing() -> None:
    tree = Tree.parse(compile_source(VENDOR / "small-memory.dts"), "tree")
    assert withheld(tree, RAM, []) == ((OUTSIDE, Range(0x8000_0000, 0x4000_0000)),)
    tree.node("/memory@40000000").set_cells("reg", 0, 0, 0, 0)
    assert withheld(tree, RAM, []) == ()
    second = Node("memory@50000000")
    second.set_cells("reg", 0, 0x5000_0000, 0, 0x1000_0000)
    tree.root.children[second.name], second.parent = second, tree.root
    assert withheld(tree, RAM, [])[0] == (OUTSIDE, Range(0x4000_0000, 0x1000_0000))


def test_a_memory_node_whose_cells_do_not_fit_is_an_error() -> None:
    tree = Tree.parse(compile_source(VENDOR / "small-memory.dts"), "tree")
    tree.node("/memory@40000000").set_cells("reg", 0, 0, 0)
    with pytest.raises(DescriptionError, match="'reg' of /memory@40000000 has 3 cells"):
        withheld(tree, RAM, [])


def test_guests_ram_lies_around_reserved_memory(tmp_path: Path) -> None:
    plan = planned(tmp_path, "reserved-memory", "256 MiB").plan
    assert [guest.ram.start for guest in plan.guests] == [0x8100_0000, 0x9100_0000]
    assert check_plan(plan) == ()


def test_a_tree_counts_also_where_no_guest_owns_a_device(tmp_path: Path) -> None:
    (tmp_path / "board.dtb").write_bytes(compile_source(VENDOR / "reserved-memory.dts"))
    file = tmp_path / "system.yaml"
    guest = "{image: usb-client, memory: 256 MiB}"
    file.write_text(f"system: kept\nboard: maaxboard\ndevice_tree: board.dtb\nguests: {{a: {guest}}}\n")
    plan = plan_loaded(load(file), tmp_path / "cache", lambda _: None).plan
    assert plan.guests[0].ram.start == 0x8100_0000


def test_a_guest_is_placed_before_a_reserved_area_if_it_fits_there(tmp_path: Path) -> None:
    plan = planned(tmp_path, "reserved-memory", "128 MiB").plan
    assert [guest.ram.start for guest in plan.guests] == [0x7600_0000, 0x8100_0000]
    moved = replace(plan.guests[1], ram=Range(0x8000_0000, 128 * MiB))
    regions = tuple(
        replace(region, phys_addr=0x8000_0000) if region.name == "client_ram" else region for region in plan.regions
    )
    found = check_plan(plan.but(guests=(plan.guests[0], moved), regions=regions))
    assert "reserved-memory" in {each.invariant for each in found}


def test_guests_that_find_no_place_are_refused_with_what_is_reserved_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError) as caught:
        planned(tmp_path, "small-memory", "160 MiB")
    said = str(caught.value)
    assert "the RAM of 'client', 160 MiB, finds no piece of 0x70000000..0xbe000000 that is not reserved" in said
    assert f"{OUTSIDE} 0x80000000..0xbe000000" in said and "correct the node, as boot loaders do" in said
    assert "system.yaml:6:" in said
