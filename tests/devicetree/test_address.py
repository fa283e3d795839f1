# SPDX-License-Identifier: BSD-2-Clause
"""Registers end up at the CPU addresses that a hand calculation gives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.devicetree import Node, Tree
from router.devicetree.address import Registers, bridge_windows, registers
from router.devicetree.node import narrow
from router.errors import DescriptionError


def bus(above: Node, name: str, cells: int, ranges: list[tuple[int, int, int]] | None) -> Node:
    """A bus with the same number of cells for addresses and sizes; `ranges` rows are (child, parent, size)."""
    node = above.add_child(name)
    node.set_cells("#address-cells", cells)
    node.set_cells("#size-cells", cells)
    if ranges is not None:
        rows = [narrow(c, cells) + narrow(p, above.address_cells) + narrow(s, cells) for c, p, s in ranges]
        node.set_cells("ranges", *(cell for row in rows for cell in row))
    return node


def device(above: Node, address: int, size: int) -> Node:
    node = above.add_child(f"dev@{address:x}")
    node.set_cells("reg", *narrow(address, above.address_cells), *narrow(size, above.size_cells))
    return node


def root(cells: int = 2) -> Node:
    tree = Tree()
    tree.root.set_cells("#address-cells", cells)
    tree.root.set_cells("#size-cells", cells)
    return tree.root


@st.composite
def nests(draw: st.DrawFn) -> tuple[Node, int]:
    """A device below up to four buses, and the CPU address of its registers by plain addition."""
    top = root()
    windows = draw(st.lists(st.tuples(st.integers(1, 2), st.integers(0, 2**31), st.booleans()), max_size=4))
    # Built from the device outwards: each bus shows [base, base + 2^20) of its children at an address of its parent.
    offset = draw(st.integers(0, 2**20 - 16))
    here, expected = top, None
    bases = [base & ~0xFFF for _, base, _ in windows]
    for number, (cells, _, identity) in enumerate(windows):
        above = bases[number - 1] + 0x1000 if number else 0x1000_0000
        if identity:
            bases[number] = above
            here = bus(here, f"bus{number}", cells, [])
        else:
            decoy = (bases[number] + 2**24, above + 2**24, 0x1000)
            here = bus(here, f"bus{number}", cells, [decoy, (bases[number], above, 2**20 + 0x10000)])
    # The innermost window starts at bases[-1]; each window's parent address is 0x1000 into the next outer one.
    steps = 0x1000 * (len(windows) - 1) if windows else 0
    expected = 0x1000_0000 + steps + offset
    child = (bases[-1] if windows else 0x1000_0000) + offset
    return device(here, child, 16), expected


@given(nests())
@settings(max_examples=200)
def test_nested_windows_add_up(nest: tuple[Node, int]) -> None:
    node, expected = nest
    assert registers(node) == (Registers(expected, 16),)


def test_empty_ranges_are_the_identity_and_missing_ones_hide_the_bus() -> None:
    top = root()
    assert registers(device(bus(top, "open", 1, []), 0x1000, 4)) == (Registers(0x1000, 4),)
    assert registers(device(bus(top, "shut", 1, None), 0x1000, 4)) == ()


def test_registers_outside_of_every_window_are_not_the_cpus() -> None:
    soc = bus(root(), "soc", 1, [(0x1000, 0x8000_0000, 0x1000)])
    assert registers(device(soc, 0x1FF0, 0x10)) == (Registers(0x8000_0FF0, 0x10),)
    assert registers(device(soc, 0x1FF1, 0x10)) == ()
    assert registers(device(soc, 0x0FFF, 1)) == ()


def test_addresses_above_4_gib_are_kept_whole() -> None:
    soc = bus(root(), "soc", 1, [(0, 0x12_3456_0000, 0x1_0000)])
    assert registers(device(soc, 0x10, 0x10)) == (Registers(0x12_3456_0010, 0x10),)


def test_a_register_list_gives_every_entry() -> None:
    node = root(1).add_child("dev")
    node.set_cells("reg", 0x1000, 0x10, 0x2000, 0x20)
    assert registers(node) == (Registers(0x1000, 0x10), Registers(0x2000, 0x20))


def test_a_list_of_the_wrong_length_names_the_property() -> None:
    node = root().add_child("dev")
    node.set_cells("reg", 0x1000, 0x10, 0x2000)
    with pytest.raises(DescriptionError, match="property 'reg' of /dev has 3 cells; entries here have 4"):
        registers(node)
    soc = bus(root(), "soc", 1, [])
    soc.set_cells("ranges", 1, 2)
    with pytest.raises(DescriptionError, match="property 'ranges' of /soc"):
        registers(device(soc, 0, 4))


def test_the_windows_of_a_pci_host_are_its_own() -> None:
    host = root().add_child("pcie@3f000000")
    host.set_strings("device_type", "pci")
    host.set_cells("reg", 0, 0x3F00_0000, 0, 0x100_0000)
    host.set_cells("#address-cells", 3)
    host.set_cells("#size-cells", 2)
    io_row = (0x0100_0000, 0, 0, 0, 0x3EFF_0000, 0, 0x1_0000)
    memory_row = (0x4200_0000, 0, 0x1000_0000, 0, 0x2000_0000, 0, 0x200_0000)
    host.set_cells("ranges", *io_row, *memory_row)
    assert registers(host) == (Registers(0x3F00_0000, 0x100_0000),)
    assert bridge_windows(host) == (
        Registers(0x3EFF_0000, 0x1_0000, "ranges"),
        Registers(0x2000_0000, 0x200_0000, "ranges"),
    )
    assert bridge_windows(bus(root(), "soc", 1, [(0, 0, 0x1000)])) == ()
