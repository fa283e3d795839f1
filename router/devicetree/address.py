# SPDX-License-Identifier: BSD-2-Clause
"""`reg` and `ranges`: where a node's registers are in the CPU's address space (Devicetree Specification 0.4, 2.3.6
and 2.3.8).

All addresses and sizes are in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from router.devicetree.node import Cells, Node, wide

PCI_SPACE = 0x03000000  # phys.hi: the address space of a PCI address (IEEE 1275 PCI binding, 2.2.1.1)
PCI_CONFIG = 0x00000000


@dataclass(frozen=True)
class Registers:
    """One address range of a node in CPU addresses. `what` is 'reg' or, for a bridge's window, 'ranges'."""

    address: int
    size: int
    what: str = "reg"

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class _Window:
    """One entry of `ranges`: `space` is the PCI address space, 0 on other buses."""

    space: int
    child: int
    parent: int
    size: int


def registers(node: Node) -> tuple[Registers, ...]:
    """A node's `reg` in CPU addresses. Empty for what the CPU cannot address (I2C devices, cells of an efuse, …).

    Raises DescriptionError for a `reg` or `ranges` of the wrong length.
    """
    bus = node.parent
    if bus is None or "reg" not in node or bus.size_cells == 0:
        return ()
    found = []
    for _, address, size in _entries(node, "reg", bus.address_cells, bus.size_cells):
        cpu = to_cpu(bus, address, size)
        if cpu is not None and size:
            found.append(Registers(cpu, size))
    return tuple(found)


def bridge_windows(node: Node) -> tuple[Registers, ...]:
    """The windows through which a PCI host bridge shows its devices, in CPU addresses; empty for other nodes."""
    if node.parent is None or not is_pci(node):
        return ()
    windows = []
    for window in _windows(node):
        cpu = to_cpu(node.parent, window.parent, window.size)
        if cpu is not None and window.size and window.space != PCI_CONFIG:
            windows.append(Registers(cpu, window.size, "ranges"))
    return tuple(windows)


def is_pci(node: Node) -> bool:
    """A PCI host bridge or bus."""
    return node.string("device_type") == "pci"


def to_cpu(bus: Node, address: int, size: int = 1, space: int = 0) -> int | None:
    """Translates [address, address + size) on `bus` (a node, as seen by its children) to a CPU address.

    None when the bus, or one above it, does not show its addresses to the CPU (no `ranges`), or not these.
    """
    here: Node = bus
    while here.parent is not None:
        if "ranges" not in here:
            return None
        if here.properties["ranges"]:
            for window in _windows(here):
                if window.space == space and window.child <= address and address + size <= window.child + window.size:
                    address += window.parent - window.child
                    break
            else:
                return None
        here, space = here.parent, 0
    return address


def _windows(bus: Node) -> Iterator[_Window]:
    above = bus.parent.address_cells if bus.parent is not None else 2
    step = bus.address_cells + above + bus.size_cells
    for row in _rows(bus, "ranges", step):
        space, child = _split(row[: bus.address_cells])
        parent = _split(row[bus.address_cells : bus.address_cells + above])[1]
        yield _Window(space, child, parent, wide(row[bus.address_cells + above :]))


def _entries(node: Node, name: str, address_cells: int, size_cells: int) -> Iterator[tuple[int, int, int]]:
    for row in _rows(node, name, address_cells + size_cells):
        space, address = _split(row[:address_cells])
        yield space, address, wide(row[address_cells:])


def _rows(node: Node, name: str, step: int) -> Iterator[Cells]:
    cells = node.cells(name)
    if step == 0 or len(cells) % step:
        raise node.malformed(name, f"has {len(cells)} cells; entries here have {step}")
    for at in range(0, len(cells), step):
        yield cells[at : at + step]


def _split(cells: Cells) -> tuple[int, int]:
    """A bus address as (PCI space, number): PCI addresses carry flags in the first of three cells."""
    if len(cells) == 3:
        return cells[0] & PCI_SPACE, wide(cells[1:])
    return 0, wide(cells)
