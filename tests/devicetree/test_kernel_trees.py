# SPDX-License-Identifier: BSD-2-Clause
"""Every arm64 device tree that Debian's kernel ships survives us; the i.MX8MQ ones also survive patching."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.devicetree import (
    AddressRange,
    GuestGic,
    GuestTreeSpec,
    Tree,
    dependency_closure,
    passthrough_candidates,
    server_tree,
)
from router.devicetree.node import Node

pytestmark = pytest.mark.packages

SPEC = GuestTreeSpec(
    name="server",
    memory=AddressRange(0x8000_0000, 0x1000_0000),
    vcpus=1,
    gic=GuestGic(3, AddressRange(0x3880_0000, 0x1_0000), AddressRange(0x3888_0000, 0x2_0000)),
)


def contents(node: Node) -> tuple[object, ...]:
    return (node.name, tuple(node.properties.items()), tuple(contents(child) for child in node.children.values()))


def test_every_tree_of_the_kernel_package_survives_reading_and_writing(kernel_dtbs: Path) -> None:
    files = sorted(kernel_dtbs.rglob("*.dtb"))
    assert len(files) > 400
    for file in files:
        tree = Tree.read(file)
        again = Tree.parse(tree.to_bytes(), file.name)
        assert contents(again.root) == contents(tree.root) and again.reservations == tree.reservations, file.name


def test_every_imx8mq_tree_is_the_same_to_dtc_after_a_round_trip(
    kernel_dtbs: Path, decompile: Callable[[bytes], str]
) -> None:
    files = sorted(kernel_dtbs.glob("freescale/imx8mq-*.dtb"))
    assert len(files) >= 15
    for file in files:
        assert decompile(Tree.read(file).to_bytes()) == decompile(file.read_bytes()), file.name


def test_every_imx8mq_tree_survives_patching_and_dtc_warns_of_nothing_new(
    kernel_dtbs: Path, warnings_of: Callable[[bytes], set[str]], fdtget: Callable[..., str]
) -> None:
    for file in sorted(kernel_dtbs.glob("freescale/imx8mq-*.dtb")):
        base = Tree.read(file)
        closure = dependency_closure(base, ["usb@38100000", "usb@38200000"], "server")
        blob = server_tree(base, closure, SPEC).to_bytes()
        assert warnings_of(blob) <= warnings_of(file.read_bytes()), file.name
        assert fdtget(blob, "/memory@80000000", "reg") == "0 80000000 0 10000000"
        assert fdtget(blob, "/soc@0/usb@38100000", "reg") == "38100000 10000"
        assert Tree.parse(blob, file.name).to_bytes() == blob


def test_any_device_of_any_imx8mq_board_can_be_closed_over_and_cut_out(kernel_dtbs: Path) -> None:
    for file in sorted(kernel_dtbs.glob("freescale/imx8mq-*.dtb"))[::3]:
        base = Tree.read(file)
        for path in passthrough_candidates(base)[::4]:
            closure = dependency_closure(base, [path], "g")
            tree = server_tree(base, closure, SPEC)
            assert {member.path for member in closure.members} <= {node.path for node in tree.walk()}, (file.name, path)
