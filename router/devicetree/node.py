# SPDX-License-Identifier: BSD-2-Clause
"""One node of a device tree: raw property bytes, sub-nodes, and the readings of them that the specification defines."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

from router.errors import DescriptionError

Cells = tuple[int, ...]
MOST_ARGUMENTS = 16  # after a phandle; Linux's MAX_PHANDLE_ARGS
MOST_ADDRESS_CELLS = 4  # libfdt's FDT_MAX_NCELLS


class Node:
    """A node. Properties are bytes, in order; a reading of them (cells, strings) is the caller's choice, never a guess.

    Nodes compare and hash by identity. `name` is empty for the root only.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parent: Node | None = None
        self.properties: dict[str, bytes] = {}
        self.children: dict[str, Node] = {}

    def __repr__(self) -> str:
        return f"<Node {self.path}>"

    @property
    def path(self) -> str:
        """Full path, `/` for the root."""
        parts: list[str] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            parts.append(node.name)
            node = node.parent
        return "/" + "/".join(reversed(parts))

    @property
    def base_name(self) -> str:
        """The name without its unit address."""
        return self.name.partition("@")[0]

    def __contains__(self, name: str) -> bool:
        return name in self.properties

    def ancestors(self) -> Iterator[Node]:
        """Parent first, root last."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def walk(self) -> Iterator[Node]:
        """This node and everything below it, parents first."""
        yield self
        for child in list(self.children.values()):
            yield from child.walk()

    # Readings -------------------------------------------------------------------------------------------------------

    def cells(self, name: str) -> Cells:
        """A property as 32-bit big-endian cells; empty when it is absent or empty.

        Raises DescriptionError when its length is not a multiple of four.
        """
        raw = self.properties.get(name, b"")
        if len(raw) % 4:
            raise self.malformed(name, f"has {len(raw)} bytes, which is not a whole number of cells")
        return struct.unpack(f">{len(raw) // 4}I", raw)

    def u32(self, name: str, default: int | None = None) -> int:
        """A property of exactly one cell, or `default` when it is absent."""
        if name not in self.properties and default is not None:
            return default
        cells = self.cells(name)
        if len(cells) != 1:
            raise self.malformed(name, f"has {len(cells)} cells instead of one")
        return cells[0]

    def strings(self, name: str) -> tuple[str, ...]:
        """A property as a list of strings; empty when it is absent."""
        raw = self.properties.get(name, b"")
        return tuple(part.decode("utf-8", errors="replace") for part in raw.split(b"\0")[:-1]) if raw else ()

    def string(self, name: str) -> str | None:
        """The first string of a property, or None."""
        found = self.strings(name)
        return found[0] if found else None

    @property
    def compatible(self) -> tuple[str, ...]:
        return self.strings("compatible")

    @property
    def enabled(self) -> bool:
        """No `status`, or `okay` (`ok` is the old spelling)."""
        return self.string("status") in (None, "okay", "ok")

    @property
    def phandle(self) -> int | None:
        """The node's handle (`linux,phandle` is the old name of the property)."""
        for name in ("phandle", "linux,phandle"):
            if len(self.properties.get(name, b"")) == 4:
                return self.u32(name)
        return None

    def count(self, name: str, default: int | None = None, most: int = MOST_ARGUMENTS) -> int:
        """A `#…-cells` property. DescriptionError when it is missing (and has no default) or larger than `most`."""
        value = self.u32(name, default)
        if value > most:
            raise self.malformed(name, f"is {value}; more than {most} cells make no sense")
        return value

    @property
    def address_cells(self) -> int:
        """Of this node's children; 2 is the specification's default (2.3.5)."""
        return self.count("#address-cells", 2, MOST_ADDRESS_CELLS)

    @property
    def size_cells(self) -> int:
        """Of this node's children; 1 is the specification's default (2.3.5)."""
        return self.count("#size-cells", 1, MOST_ADDRESS_CELLS)

    def malformed(self, name: str, what: str) -> DescriptionError:
        """An error about one of this node's properties."""
        return DescriptionError(
            f"property '{name}' of {self.path} {what}",
            "the device tree is damaged or was edited by hand: compile it again",
        )

    # Changes --------------------------------------------------------------------------------------------------------

    def set_bytes(self, name: str, value: bytes) -> None:
        self.properties[name] = bytes(value)

    def set_cells(self, name: str, *cells: int) -> None:
        self.properties[name] = struct.pack(f">{len(cells)}I", *cells)

    def set_strings(self, name: str, *strings: str) -> None:
        self.properties[name] = b"".join(text.encode() + b"\0" for text in strings)

    def set_u64(self, name: str, value: int) -> None:
        self.properties[name] = struct.pack(">Q", value)

    def set_flag(self, name: str) -> None:
        self.properties[name] = b""

    def remove_property(self, name: str) -> bool:
        """True when it was there."""
        return self.properties.pop(name, None) is not None

    def add_child(self, name: str) -> Node:
        """A new, empty sub-node; the name must be free."""
        if name in self.children:
            raise ValueError(f"{self.path} already has a node '{name}'")
        child = Node(name)
        child.parent = self
        self.children[name] = child
        return child

    def ensure_child(self, name: str) -> Node:
        """The sub-node of that name, made when it is missing."""
        return self.children[name] if name in self.children else self.add_child(name)

    def detach(self) -> None:
        """Takes this node, with all below it, out of its parent."""
        if self.parent is not None:
            del self.parent.children[self.name]
            self.parent = None

    def copy(self) -> Node:
        """A copy of this node and all below it, without a parent."""
        made = Node(self.name)
        made.properties = dict(self.properties)
        for name, child in self.children.items():
            made.children[name] = child.copy()
            made.children[name].parent = made
        return made


def wide(cells: Sequence[int]) -> int:
    """Cells, most significant first, as one number."""
    value = 0
    for cell in cells:
        value = value << 32 | cell
    return value


def narrow(value: int, count: int) -> Cells:
    """A number as `count` cells, most significant first."""
    if value >> (32 * count):
        raise ValueError(f"{value:#x} does not fit into {count} cells")
    return tuple(value >> (32 * place) & 0xFFFFFFFF for place in reversed(range(count)))
