# SPDX-License-Identifier: BSD-2-Clause
"""Blobs in and out: nothing is lost, all is where libfdt looks for it, damaged files are refused with a reason."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.devicetree import Node, Tree
from router.errors import DescriptionError, HostError, RouterError

TRAPS = {
    "looks-like-text": bytes.fromhex("61626300"),
    "looks-like-cells": b"abcdefg\0",
    "three-bytes": b"\x80\xff\x01",
    "empty": b"",
    "one-zero": b"\0",
    "empty-string-inside": b"a\0\0b\0",
    "not-ascii": "µ\0".encode(),
    "new-line": b"a\nb\0",
    "no-end": b"abc",
}
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789,-", min_size=1, max_size=12)
VALUES = st.one_of(
    st.binary(max_size=24),
    st.lists(st.text("abc ,", max_size=5), max_size=3).map(
        lambda texts: b"".join(text.encode() + b"\0" for text in texts)
    ),
    st.lists(st.integers(0, 2**32 - 1), max_size=4).map(lambda cells: struct.pack(f">{len(cells)}I", *cells)),
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree = Tree(reservations=tuple(draw(st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**20)), max_size=2))))
    nodes = [tree.root]
    for name in draw(st.lists(NAMES, max_size=8)):
        above = draw(st.sampled_from(nodes))
        if name not in above.children and name not in above.properties:
            nodes.append(above.add_child(name))
    for node in nodes:
        for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items():
            if name not in node.children:
                node.set_bytes(name, value)
    return tree


def contents(node: Node) -> tuple[object, ...]:
    return (node.name, tuple(node.properties.items()), tuple(contents(child) for child in node.children.values()))


def test_a_tree_from_dtc_comes_back_as_dtc_knows_it(toy_blob: bytes, decompile: Callable[[bytes], str]) -> None:
    again = Tree.parse(toy_blob, "toy").to_bytes()
    assert decompile(again) == decompile(toy_blob)


@given(trees())
@settings(max_examples=150)
def test_any_tree_survives_writing_and_reading(tree: Tree) -> None:
    blob = tree.to_bytes()
    again = Tree.parse(blob, "again")
    assert contents(again.root) == contents(tree.root)
    assert again.reservations == tree.reservations
    assert again.to_bytes() == blob


@pytest.mark.parametrize("name", TRAPS)
def test_bytes_that_look_like_something_else_stay_what_they_are(name: str, fdtget: Callable[..., str]) -> None:
    tree = Tree()
    tree.root.set_bytes(name, TRAPS[name])
    blob = tree.to_bytes()
    assert fdtget(blob, "/", name, "bx") == " ".join(f"{byte:x}" for byte in TRAPS[name])
    assert Tree.parse(blob, "again").root.properties[name] == TRAPS[name]


def test_a_property_added_after_sub_nodes_is_found_by_libfdt(toy: Tree, fdtget: Callable[..., str]) -> None:
    soc = toy.node("/soc")
    assert soc.children
    soc.set_cells("late", 7, 8)
    assert fdtget(toy.to_bytes(), "/soc", "late", "u") == "7 8"


def test_numbers_strings_and_flags_are_set_as_fdtget_reads_them(fdtget: Callable[..., str]) -> None:
    tree = Tree()
    node = tree.root.add_child("node")
    node.set_cells("cells", 1, 0xFFFFFFFF)
    node.set_strings("strings", "one", "two")
    node.set_u64("wide", 0x1_0000_0002)
    node.set_flag("flag")
    blob = tree.to_bytes()
    assert fdtget(blob, "/node", "cells") == "1 ffffffff"
    assert fdtget(blob, "/node", "strings", "s") == "one two"
    assert fdtget(blob, "/node", "wide") == "1 2"
    assert fdtget(blob, "/node", "flag") == ""


def test_the_same_tree_gives_the_same_bytes(toy_blob: bytes) -> None:
    assert Tree.parse(toy_blob, "a").to_bytes() == Tree.parse(toy_blob, "b").copy().to_bytes()


def test_every_truncation_is_refused_with_the_files_name(toy_blob: bytes) -> None:
    for length in range(0, len(toy_blob), 37):
        with pytest.raises(DescriptionError, match="not a usable device tree blob") as caught:
            Tree.parse(toy_blob[:length], "cut.dtb")
        assert caught.value.where == "cut.dtb"


@given(st.data())
@settings(max_examples=300)
def test_damage_gives_a_tree_or_a_clear_error_and_nothing_else(toy_blob: bytes, data: st.DataObject) -> None:
    damaged = bytearray(toy_blob)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        tree = Tree.parse(bytes(damaged), "damaged.dtb")
    except RouterError as error:
        assert error.where == "damaged.dtb" and error.hint
    else:
        assert contents(Tree.parse(tree.to_bytes(), "again").root) == contents(tree.root)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda blob: b"", "0 bytes are fewer than the header's 40"),
        (lambda blob: b"MZ" + blob[2:], "not with the magic number"),
        (lambda blob: blob[:-1], "truncated: the header says"),
        (lambda blob: blob[:20] + struct.pack(">II", 3, 2) + blob[28:], "version 3, compatible back to 2"),
        (lambda blob: blob[:4] + struct.pack(">I", 1 << 30) + blob[8:], "no board's tree is larger"),
        (lambda blob: blob[:8] + struct.pack(">I", 0xFFFFFF00) + blob[12:], "the structure block"),
        (lambda blob: blob[:8] + struct.pack(">I", 40) + blob[12:], "unknown token"),
    ],
)
def test_what_is_wrong_with_a_blob_is_said(toy_blob: bytes, change: Callable[[bytes], bytes], complaint: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        Tree.parse(change(toy_blob), "bad.dtb")
    assert complaint in caught.value.message


def large(members: bytes, strings: bytes = b"a\0") -> bytes:
    """A blob whose root has these members: their structure block."""
    block = struct.pack(">II", 1, 0) + members + struct.pack(">II", 2, 9)
    head, empty = 10 * 4, bytes(16)
    start = head + len(empty)
    total = start + len(block) + len(strings)
    words = (0xD00DFEED, total, start, start + len(block), head, 17, 16, 0, len(strings), len(block))
    return struct.pack(">10I", *words) + empty + block + strings


def nodes(count: int, inside: bytes = b"") -> bytes:
    """So many nodes with different names."""
    return b"".join(
        struct.pack(">I7sx", 1, b"%07x" % number) + inside + struct.pack(">I", 2) for number in range(count)
    )


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (large(nodes(3000)), "over 2048 properties and sub-nodes"),
        (large(nodes(20, nodes(1500))), "over 20000 nodes and properties"),
        (large(struct.pack(">I", 4) * 3000), "over 2048 gaps"),
        (large(struct.pack(">I", 1) + b"n" * 300), "over 255 characters"),
        (large(struct.pack(">III", 3, 0, 0), b"a" * 1_000_000 + b"\0"), "too long"),
    ],
)
def test_a_blob_that_would_take_long_to_read_is_refused_at_once(blob: bytes, complaint: str) -> None:
    """pyfdt compares each name with all others in its node: 1.2 MB of small nodes took it more than three minutes."""
    with pytest.raises(DescriptionError) as caught:
        Tree.parse(blob, "large.dtb")
    assert complaint in caught.value.message


def test_a_device_or_a_pipe_is_no_device_tree(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DescriptionError, match="a device or a pipe"):
            Tree.read(path)


def test_a_damaged_package_file_is_not_the_users_fault(tmp_path: Path) -> None:
    file = tmp_path / "board.dtb"
    file.write_bytes(b"\0" * 100)
    with pytest.raises(HostError, match="magic number"):
        Tree.read(file, HostError)
    with pytest.raises(HostError, match="No such file"):
        Tree.read(tmp_path / "none.dtb", HostError)


def test_a_tree_is_written_whole_or_not_at_all(toy: Tree, tmp_path: Path) -> None:
    target = tmp_path / "out.dtb"
    toy.write(target)
    assert target.read_bytes() == toy.to_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.dtb"]
    with pytest.raises(HostError, match="cannot write the device tree"):
        toy.write(target / "below-a-file.dtb")
    toy.root.set_bytes("bad name\n", b"")
    with pytest.raises(DescriptionError):
        Tree.parse(toy.to_bytes(), "x")
