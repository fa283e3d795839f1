# SPDX-License-Identifier: BSD-2-Clause
"""A whole device tree: nodes by path, alias, label, name or phandle; reading and writing of blobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from router import files
from router.devicetree.blob import BIGGEST, Reservations, parse_blob, write_blob
from router.devicetree.node import Node
from router.errors import DescriptionError, HostError, RouterError
from router.words import did_you_mean


class Tree:
    """A device tree. `reservations` are the blob's reserved memory areas (address, size) in bytes."""

    def __init__(self, root: Node | None = None, reservations: Reservations = (), boot_cpu: int = 0) -> None:
        self.root = root if root is not None else Node("")
        self.reservations = reservations
        self.boot_cpu = boot_cpu
        self._handles: dict[int, Node] = {}

    @classmethod
    def parse(cls, data: bytes, where: str, fault: type[RouterError] = DescriptionError) -> Tree:
        """Reads a DTB from memory; raises `fault` (naming `where`) when it is truncated or damaged."""
        return cls(*parse_blob(data, where, fault))

    @classmethod
    def read(cls, path: Path, fault: type[RouterError] = DescriptionError) -> Tree:
        """Reads a DTB file; raises `fault` when it cannot be read or is not a valid DTB."""
        try:
            data = files.read_regular(path, BIGGEST)
        except OSError as error:
            message = f"cannot read the device tree: {error.strerror or error}"
            raise fault(message, "check that the file is there and can be read", str(path)) from error
        return cls.parse(data, str(path), fault)

    def to_bytes(self) -> bytes:
        """The tree as a version 17 DTB; the same tree gives the same bytes."""
        return write_blob(self.root, self.reservations, self.boot_cpu)

    def write(self, path: Path) -> None:
        """Writes the DTB aside and renames it into place; HostError when that cannot be done."""
        try:
            files.write(path, self.to_bytes())
        except OSError as error:
            message = f"cannot write the device tree: {error.strerror or error}"
            raise HostError(message, "check that the folder can be written to and has space", str(path)) from error

    def copy(self) -> Tree:
        return Tree(self.root.copy(), self.reservations, self.boot_cpu)

    def walk(self) -> Iterator[Node]:
        """Every node, parents first."""
        return self.root.walk()

    # Look-up ----------------------------------------------------------------------------------------------------------

    def get(self, path: str) -> Node | None:
        """The node at a full path, or None. A unit address may be left out where the name is the only one."""
        if not path.startswith("/"):
            return None
        node = self.root
        for part in path.strip("/").split("/") if path.strip("/") else ():
            found = node.children.get(part)
            if found is None and "@" not in part:
                alike = [child for child in node.children.values() if child.base_name == part]
                found = alike[0] if len(alike) == 1 else None
            if found is None:
                return None
            node = found
        return node

    def node(self, path: str) -> Node:
        """The node at a full path; DescriptionError when there is none."""
        found = self.get(path)
        if found is None:
            raise DescriptionError(f"no node '{path}' in the device tree", self._guess(path))
        return found

    @property
    def aliases(self) -> dict[str, str]:
        """/aliases: name → path."""
        return _paths(self.root.children.get("aliases"))

    @property
    def labels(self) -> dict[str, str]:
        """/__symbols__: label → path. Empty for a tree that was compiled without `dtc -@`."""
        return _paths(self.root.children.get("__symbols__"))

    def resolve(self, reference: str) -> Node:
        """The node that a user means: by path, `&label`, label, alias, or a name (`usb@38100000`) that is there once.

        Raises DescriptionError (without a place: the caller knows it) when there is none or more than one.
        """
        text = reference.strip()
        if text.startswith("/"):
            found = self.get(text)
        else:
            name = text.removeprefix("&")
            path = self.labels.get(name) or ("" if text.startswith("&") else self.aliases.get(name, ""))
            found = self.get(path) if path else None
            if found is None and not text.startswith("&"):
                alike = [node for node in self.walk() if node.name == name and node.parent is not None]
                if len(alike) > 1:
                    paths = ", ".join(f"'{node.path}'" for node in alike[:4])
                    raise DescriptionError(
                        f"'{reference}' is the name of {len(alike)} nodes in the device tree",
                        f"write the path: {paths}",
                    )
                found = alike[0] if alike else None
        if found is None:
            raise DescriptionError(f"no node '{reference}' in the board's device tree", self._guess(text))
        return found

    def _guess(self, text: str) -> str | None:
        wanted = text.rpartition("/")[2].removeprefix("&")
        names = (
            {node.name: None for node in self.walk() if node.name}
            | dict.fromkeys(self.labels)
            | dict.fromkeys(self.aliases)
        )
        return did_you_mean(wanted, names)

    def by_phandle(self, handle: int) -> Node | None:
        """The node that a phandle points to, or None."""
        known = self._handles.get(handle)
        if known is None or known.phandle != handle or not self._holds(known):
            self._handles = {node.phandle: node for node in self.walk() if node.phandle is not None}
            known = self._handles.get(handle)
        return known

    def phandle_of(self, node: Node) -> int:
        """The node's phandle, allocated (the highest one plus one) when it has none."""
        self.ensure_phandles([node])
        return node.u32("phandle", node.phandle)

    def ensure_phandles(self, nodes: Iterable[Node]) -> None:
        """Gives a phandle to each of these nodes that has none."""
        bare = [node for node in nodes if node.phandle is None]
        if bare:
            highest = max((node.phandle or 0 for node in self.walk()), default=0)
            for handle, node in enumerate(bare, highest + 1):
                node.set_cells("phandle", handle)

    def _holds(self, node: Node) -> bool:
        return node is self.root or any(above is self.root for above in node.ancestors())

    def compatible_with(self, *names: str) -> list[Node]:
        """Every node that is compatible with one of the names, in tree order."""
        return [node for node in self.walk() if any(name in names for name in node.compatible)]


def _paths(node: Node | None) -> dict[str, str]:
    if node is None:
        return {}
    return {
        name: text
        for name in node.properties
        if name != "phandle" and (text := node.string(name)) and text.startswith("/")
    }
