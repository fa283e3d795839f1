# SPDX-License-Identifier: BSD-2-Clause
"""Flattened device trees (DTB, version 16 or 17) in and out, through pyfdt.

pyfdt guesses a property's type from its bytes, reads an unknown token as the start of a node, and meets a truncated
file with a TypeError. So the blob is checked here first, token by token (Devicetree Specification 0.4, chapter 5),
and pyfdt sees sound blobs only; whatever class it picks for a property, only the raw bytes leave this module.
"""

from __future__ import annotations

import io
import struct

from pyfdt import pyfdt

from router.devicetree.node import Node
from router.errors import DescriptionError, RouterError

MAGIC = 0xD00DFEED
HEADER = struct.Struct(">10I")
BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
DEEPEST = 64  # levels; the deepest tree among Linux's arm64 boards has 10
MAX_NAME = 255  # characters; the specification allows 31
MAX_ITEMS = 20_000  # nodes, properties and gaps; the largest arm64 board of Linux 6.1 has 5,064
MAX_MEMBERS = 2048  # of them in one node, whose names pyfdt compares one by one; there it has 228
BIGGEST = 16 << 20  # bytes; Linux itself maps no more than 2 MiB

Reservations = tuple[tuple[int, int], ...]


def parse_blob(data: bytes, where: str, fault: type[RouterError] = DescriptionError) -> tuple[Node, Reservations, int]:
    """The root node, the memory reservations (address, size) and the boot CPU's id of a DTB.

    Raises `fault`, which names `where` and the offset of what is wrong, for anything that is not a whole, sound DTB.
    """
    reservations, boot_cpu = _check(data, _Complaint(where, fault))
    fdt = pyfdt.FdtBlobParse(io.BytesIO(data)).to_fdt()
    return _from_pyfdt(fdt.get_rootnode()), reservations, boot_cpu


def write_blob(root: Node, reservations: Reservations, boot_cpu: int) -> bytes:
    """A version 17 DTB with every node's properties before its sub-nodes, as libfdt demands."""
    fdt = pyfdt.Fdt(version=17, last_comp_version=16, boot_cpuid_phys=boot_cpu)
    fdt.add_rootnode(_to_pyfdt(root))
    fdt.add_reserve_entries([{"address": address, "size": size} for address, size in reservations])
    return bytes(fdt.to_dtb())


class _Complaint:
    def __init__(self, where: str, fault: type[RouterError]) -> None:
        self.where, self.fault = where, fault

    def __call__(self, what: str) -> RouterError:
        return self.fault(
            f"not a usable device tree blob: {what}",
            "compile it again with dtc, or copy it again: `fdtdump FILE` shows how much of it is sound",
            self.where,
        )


def _check(data: bytes, complaint: _Complaint) -> tuple[Reservations, int]:
    if len(data) < HEADER.size:
        raise complaint(f"{len(data)} bytes are fewer than the header's {HEADER.size}")
    magic, total, struct_at, strings_at, reserve_at, version, last_compatible, boot_cpu, strings_size, struct_size = (
        HEADER.unpack_from(data)
    )
    if magic != MAGIC:
        raise complaint(f"it starts with {magic:#010x}, not with the magic number {MAGIC:#010x}")
    if not 16 <= version <= 17 or last_compatible > 16:
        raise complaint(f"version {version}, compatible back to {last_compatible}; versions 16 and 17 are understood")
    if total > BIGGEST:
        raise complaint(f"its header claims {total} bytes; no board's tree is larger than {BIGGEST}")
    if total > len(data):
        raise complaint(f"truncated: the header says {total} bytes, {len(data)} are there")
    if version < 17:
        struct_size = total - struct_at
    for name, at, size in (("structure", struct_at, struct_size), ("strings", strings_at, strings_size)):
        if at < HEADER.size or size > total or at + size > total:
            raise complaint(f"the {name} block ({size} bytes at {at:#x}) leaves the blob's {total} bytes")
    _check_structure(data[struct_at : struct_at + struct_size], data[strings_at : strings_at + strings_size], complaint)
    return _reservations(data[:total], reserve_at, complaint), boot_cpu


def _reservations(data: bytes, at: int, complaint: _Complaint) -> Reservations:
    found: list[tuple[int, int]] = []
    while at + 16 <= len(data):
        address, size = struct.unpack_from(">QQ", data, at)
        if (address, size) == (0, 0):
            return tuple(found)
        found.append((address, size))
        at += 16
    raise complaint("the list of reserved memory has no end")


def _check_structure(block: bytes, strings: bytes, complaint: _Complaint) -> None:
    at, depth, roots, items = 0, 0, 0, 0
    names: list[set[str]] = []
    gaps = 0
    while True:
        if at + 4 > len(block):
            raise complaint(f"the structure block ends at {at:#x} inside {depth} open nodes")
        (token,) = struct.unpack_from(">I", block, at)
        at += 4
        items += token in (BEGIN_NODE, PROPERTY, NOP)
        gaps += token == NOP
        if items > MAX_ITEMS or gaps > MAX_MEMBERS:
            raise complaint(f"it has over {MAX_ITEMS} nodes and properties, or over {MAX_MEMBERS} gaps")
        if token == BEGIN_NODE:
            end = block.find(b"\0", at, at + MAX_NAME + 1)
            if end < 0:
                raise complaint(f"a node's name at {at:#x} has no end, or over {MAX_NAME} characters")
            name = _text(block[at:end], f"a node's name at {at:#x}", complaint)
            roots += depth == 0
            if depth == DEEPEST or roots > 1:
                raise complaint(f"nodes deeper than {DEEPEST} levels" if depth else "it has two root nodes")
            _note_name(names, name, at, complaint)
            names.append(set())
            depth, at = depth + 1, _aligned(end + 1)
        elif token == END_NODE:
            if depth == 0:
                raise complaint(f"a node ends at {at - 4:#x} that never began")
            names.pop()
            depth -= 1
        elif token == PROPERTY:
            if depth == 0 or at + 8 > len(block):
                raise complaint(f"a property at {at - 4:#x} is outside of any node or cut short")
            size, name_at = struct.unpack_from(">II", block, at)
            end = strings.find(b"\0", name_at, name_at + MAX_NAME + 1)
            if at + 8 + size > len(block):
                raise complaint(f"a property of {size} bytes at {at - 4:#x} leaves the structure block")
            if name_at >= len(strings) or end < 0:
                raise complaint(f"the name of the property at {at - 4:#x} is outside the strings block, or too long")
            _note_name(
                names, _text(strings[name_at:end], f"a property's name at {at - 4:#x}", complaint), at, complaint
            )
            at = _aligned(at + 8 + size)
        elif token == END:
            if depth or not roots:
                raise complaint(f"it ends inside {depth} open nodes" if depth else "it has no root node")
            return
        elif token != NOP:
            raise complaint(f"unknown token {token:#x} at {at - 4:#x} of the structure block")


def _note_name(names: list[set[str]], name: str, at: int, complaint: _Complaint) -> None:
    if names:
        if name in names[-1]:
            raise complaint(f"'{name}' at {at:#x} is there twice in one node")
        names[-1].add(name)
        if len(names[-1]) > MAX_MEMBERS:
            raise complaint(f"the node at {at:#x} has over {MAX_MEMBERS} properties and sub-nodes")


def _text(raw: bytes, what: str, complaint: _Complaint) -> str:
    text = raw.decode("ascii", errors="replace")
    if not all("!" <= letter <= "~" for letter in text):
        raise complaint(f"{what} is not printable ASCII")
    return text


def _aligned(at: int) -> int:
    return (at + 3) & ~3


def _from_pyfdt(source: pyfdt.FdtNode) -> Node:
    node = Node("" if source.get_name() == "/" else source.get_name())
    for item in source:
        if isinstance(item, pyfdt.FdtNode):
            child = _from_pyfdt(item)
            child.parent = node
            node.children[child.name] = child
        elif isinstance(item, pyfdt.FdtProperty):
            node.properties[item.get_name()] = _raw(item)
    return node


def _raw(item: pyfdt.FdtProperty) -> bytes:
    """A property's bytes, whatever pyfdt took them for (its own `to_raw` fails for words and bytes)."""
    if isinstance(item, pyfdt.FdtPropertyStrings):
        return b"".join(text.encode("ascii") + b"\0" for text in item.strings)
    if isinstance(item, pyfdt.FdtPropertyWords):
        return struct.pack(f">{len(item.words)}I", *item.words)
    if isinstance(item, pyfdt.FdtPropertyBytes):
        return struct.pack(f"{len(item.bytes)}b", *item.bytes)
    return b""


def _to_pyfdt(node: Node) -> pyfdt.FdtNode:
    result = pyfdt.FdtNode(node.name or "/")
    for name, value in node.properties.items():
        result.append(pyfdt.FdtProperty.new_raw_property(name, value))
    for child in node.children.values():
        made = _to_pyfdt(child)
        made.set_parent_node(result)
        result.append(made)
    return result
