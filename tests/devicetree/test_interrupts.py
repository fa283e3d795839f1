# SPDX-License-Identifier: BSD-2-Clause
"""Interrupts arrive at the GIC input that the device tree means, whichever way it says so."""

from __future__ import annotations

import pytest

from router.devicetree import Tree
from router.devicetree.interrupts import GicInput, interrupts_of, line_of
from router.errors import DescriptionError


def lines(tree: Tree, reference: str) -> list[GicInput | None]:
    return [line_of(tree, interrupt) for interrupt in interrupts_of(tree, tree.resolve(reference))]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("usb", [GicInput(72, "level")]),  # root → GPC → GIC
        ("eth", [GicInput(150, "level"), GicInput(151, "edge")]),
        ("gpu", [GicInput(35, "level"), GicInput(36, "level")]),  # interrupts-extended: GPC and GIC
        ("gpc", [GicInput(119, "level")]),
        ("mapped", [GicInput(122, "level")]),  # interrupt-map of a bus, matched by unit address
        ("mapped2", [GicInput(123, "edge"), None]),  # the second one goes to a GPIO bank
        ("pmic", [None]),
        ("/timer", [GicInput(29, "level"), GicInput(30, "level"), GicInput(27, "level"), GicInput(26, "level")]),
        ("phy", []),
    ],
)
def test_an_interrupt_is_followed_to_the_gic(toy: Tree, reference: str, expected: list[GicInput | None]) -> None:
    assert lines(toy, reference) == expected


def test_private_interrupts_are_told_from_shared_ones(toy: Tree) -> None:
    assert [line.shared for line in lines(toy, "/timer") if line] == [False] * 4
    assert [line.shared for line in lines(toy, "usb") if line] == [True]


def test_a_pci_host_raises_every_line_of_its_map_once(toy: Tree) -> None:
    gic = toy.phandle_of(toy.resolve("gic"))
    host = toy.node("/soc").add_child("pcie@600000")
    host.set_strings("device_type", "pci")
    host.set_cells("#address-cells", 3)
    host.set_cells("#interrupt-cells", 1)
    rows = [(slot << 11, 0, 0, pin, gic, 0, 3 + (slot + pin) % 4, 4) for slot in range(4) for pin in range(1, 5)]
    host.set_cells("interrupt-map", *(cell for row in rows for cell in row))
    assert sorted(line.intid for line in lines(toy, "pcie@600000") if line) == [35, 36, 37, 38]


def test_rows_of_a_map_take_the_controllers_address_cells_into_account(toy: Tree) -> None:
    gic = toy.resolve("gic")
    gic.set_cells("#address-cells", 1)
    handle = toy.phandle_of(gic)
    nexus = toy.resolve("nexus")
    nexus.set_cells("interrupt-map", 0x1000, 1, handle, 0xDEAD, 0, 90, 4)
    assert lines(toy, "mapped") == [GicInput(122, "level")]


@pytest.mark.parametrize(
    ("node", "name", "cells", "complaint"),
    [
        ("usb", "interrupts", (0, 40), "has 2 cells; /soc/gpc@40000 takes 3 an interrupt"),
        ("usb", "interrupt-parent", (0xDEAD,), "points to no node"),
        ("gpu", "interrupts-extended", (0xDEAD, 0, 3, 4), "points to no node"),
        ("usb", "interrupts", (2, 40, 4), "is not a GIC specifier: 0x2 0x28 0x4"),
        ("mapped", "interrupts", (2,), "is not in the interrupt-map of /soc/bus@300000"),
        ("nexus", "interrupt-map", (0x1000, 1), "points to no controller, or is cut short"),
    ],
)
def test_a_broken_list_names_its_property_and_node(
    toy: Tree, node: str, name: str, cells: tuple[int, ...], complaint: str
) -> None:
    toy.resolve(node).set_cells(name, *cells)
    with pytest.raises(DescriptionError) as caught:
        lines(toy, "mapped" if node == "nexus" else node)
    assert complaint in caught.value.message and f"property '{name}' of /soc/" in caught.value.message
