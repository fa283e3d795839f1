# SPDX-License-Identifier: BSD-2-Clause
"""The USB controllers of every board, and of every i.MX8M tree that can be had: what they depend on is found whole.

ROUTER_TREES names a folder of further device trees (*.dtb, also in folders below), of any SoC.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from router import boards
from router.devicetree import AddressRange, GuestGic, GuestTreeSpec, Tree, dependency_closure, server_tree
from router.devicetree.closure import is_usb_controller
from router.devicetree.interrupts import find_gic
from router.devicetree.node import Node
from router.devicetree.references import kind_of, references
from router.errors import DescriptionError, HostError
from router.guests.image import kernel_dtbs
from router.guests.sources import machine_sources
from tests.boards.test_boards import board_tree, every_board
from tests.support.long import NEXT_SUITE
from tests.support.newer import moved
from tests.support.patience import PATIENCE
from tests.support.skips import need, skip

TREES = "ROUTER_TREES"
IMX8M = re.compile(r"imx8m[mnpq]-.*\.dtb")
DTS = Path(__file__).parents[2] / "dts"


def controllers(tree: Tree) -> list[Node]:
    """The USB controllers of a tree that a guest can own."""
    return [node for node in tree.walk() if is_usb_controller(node.name) and "compatible" in node and "reg" in node]


def specification(tree: Tree) -> GuestTreeSpec:
    """A guest with RAM behind everything that 32-bit devices have their registers at."""
    gic = find_gic(tree)
    assert gic is not None
    version: Literal[2, 3] = 3 if any("gic-v3" in name for name in gic.compatible) else 2
    places = (AddressRange(0xF_0000_0000, 0x1_0000), AddressRange(0xF_0010_0000, 0x2_0000))
    return GuestTreeSpec("server", AddressRange(0x10_0000_0000, 0x1000_0000), 1, GuestGic(version, *places))


NUMBERS = {
    r"#[\w-]+-cells": "how many cells something has",
    r"reg": "addresses and sizes",
    r"interrupts": "numbers of interrupts",
    r"interrupt-parent": "read elsewhere (router.devicetree.interrupts)",
    r"fsl,pins": "registers and values of the pin controller",
    r"gpios": "of a hog: lines of the controller that it is in",
    r"samsung,picophy-[\w-]+": "values of an analog part",
}
"""Properties of USB controllers' closures in i.MX8M trees that hold numbers, some of which are phandles by chance."""


def could_be_phandles(node: Node, handles: set[bytes]) -> set[str]:
    """The node's properties that hold one of its tree's phandles, and are none of those that are known.

    A compiled tree does not say which cells are phandles: dtc notes it for sources only.
    """
    cells = {name: {value[at : at + 4] for at in range(0, len(value), 4)} for name, value in node.properties.items()}
    return {
        name
        for name, words in cells.items()
        if words & handles
        and len(node.properties[name]) % 4 == 0
        and name not in ("phandle", "linux,phandle")
        and kind_of(node, name) is None
        and not is_text(node.properties[name])
        and not any(re.fullmatch(known, name) for known in NUMBERS)
    }


def is_text(value: bytes) -> bool:
    """Whether a property's value can be a list of strings (Devicetree Specification 2.2.4)."""
    parts = value.removesuffix(b"\0").split(b"\0")
    return value.endswith(b"\0") and any(parts) and all(0x20 <= byte < 0x7F for part in parts for byte in part)


def check_closed(tree: Tree, where: str, *, known: bool = True) -> int:
    """Every controller's guest has all that its nodes refer to, and nothing that leads nowhere; how many there are.

    known: the tree is of a SoC of which NUMBERS has all properties.
    """
    found = controllers(tree)
    handles = {node.properties["phandle"] for node in tree.walk() if "phandle" in node}
    for node in found:
        closure = dependency_closure(tree, [node.path], "server")
        cut = server_tree(tree, closure, specification(tree))
        for member in closure.members:
            loose = [each.name for each in references(cut, cut.node(member.path)) if each.target is None]
            assert loose == [], f"{where}: {member.path}"
            assert member.path in closure.selected or closure.chain(member.path), (
                f"{where}: {member.path} has no reason"
            )
            if known:
                assert could_be_phandles(tree.node(member.path), handles) == set(), f"{where}: {member.path}"
    return len(found)


@pytest.mark.packages
@every_board
def test_the_usb_controllers_of_every_board_have_a_whole_closure(name: str) -> None:
    tree = board_tree(boards.board(name))
    if name != "qemu":  # whose controllers are on PCI
        assert check_closed(tree, name) >= 2


@pytest.mark.packages
@pytest.mark.slow
@pytest.mark.parametrize("suite", [None, NEXT_SUITE], ids=["this release", NEXT_SUITE])
def test_every_imx8m_tree_of_the_kernel_package_is_closed_over(suite: str | None) -> None:
    """The kernel of this computer's Debian, and that of Debian 13, which is fetched once and kept in the cache."""
    need("dtc")
    try:
        sources = machine_sources()
        folder = kernel_dtbs(sources=sources if suite is None else moved(sources, (suite,)))
    except HostError as error:
        skip("guest packages", f"no kernel package of {suite or 'this release'}: {error.message}")
    trees = [path for path in sorted(folder.rglob("*.dtb")) if IMX8M.fullmatch(path.name)]
    assert len(trees) >= 60
    assert sum(check_closed(Tree.read(path), path.name) for path in trees) >= 2 * len(trees)


@pytest.mark.slow
def test_the_trees_in_the_folder_that_one_names_are_closed_over() -> None:
    named = os.environ.get(TREES)
    if not named:
        pytest.skip(f"{TREES} names no folder of device trees")
    trees = sorted(Path(named).rglob("*.dtb"))
    assert trees, f"{TREES}: no *.dtb in {named}"
    refused = {}
    for path in trees:
        try:
            check_closed(Tree.read(path), path.name, known=False)
        except DescriptionError as error:
            refused[path.name] = str(error)
    assert refused == {}


def test_a_property_that_could_hold_a_phandle_and_is_not_known_is_found() -> None:
    handle = (0x41).to_bytes(4, "big")
    node = Node("usb@0")
    node.properties |= {"clocks": handle, "reg": handle, "label": b"usb\0", "length": b"\0\0\0\x40"}
    assert could_be_phandles(node, {handle, b"usb\0"}) == set()
    node.properties |= {"vendor,helper": bytes(4) + handle}
    assert could_be_phandles(node, {handle}) == {"vendor,helper"}


def fixups(source: Path, folder: Path) -> Iterator[tuple[str, str, int]]:
    """(path, property, offset) of every phandle in a source, as dtc notes them for overlays."""
    text = source.read_text()
    if "/plugin/" not in text:
        text = text.replace("/dts-v1/;", "/dts-v1/; /plugin/;", 1)
    copy = folder / "overlay.dts"
    copy.write_text(text)
    done = subprocess.run(
        ["dtc", "-q", "-@", "-O", "dtb", str(copy)], capture_output=True, timeout=PATIENCE, check=True
    )
    tree = Tree.parse(done.stdout, source.name)
    for name, value in (
        tree.root.children["__fixups__"].properties.items() if "__fixups__" in tree.root.children else ()
    ):
        assert name
        for each in value.rstrip(b"\0").split(b"\0"):
            path, prop, offset = each.decode().rsplit(":", 2)
            yield path, prop, int(offset)
    for node in tree.root.children["__local_fixups__"].walk():
        for prop, value in node.properties.items():
            for at in range(0, len(value), 4):
                path = node.path.removeprefix("/__local_fixups__") or "/"
                yield path, prop, int.from_bytes(value[at : at + 4], "big")


OTHERS = ("interrupt-parent", "interrupts-extended", "interrupt-map", "target")
"""Interrupts are read elsewhere; `target` is where an overlay goes."""


@pytest.mark.parametrize("name", ["qemu_virt_aarch64.dts", "maaxboard.dtso", "toy.dts"])
def test_every_phandle_that_dtc_notes_in_our_sources_is_one_for_the_closure(name: str, tmp_path: Path) -> None:
    if shutil.which("dtc") is None:
        pytest.skip("dtc is missing (package device-tree-compiler)")
    source = DTS / name if (DTS / name).is_file() else DTS.parent / "tests/devicetree" / name
    noted = list(fixups(source, tmp_path))
    assert len(noted) >= 8
    for path, prop, _ in noted:
        node = Node(path.rpartition("/")[2])
        node.parent = Node("")
        assert prop in OTHERS or kind_of(node, prop) is not None, f"{path}: {prop}"
