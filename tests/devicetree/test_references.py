# SPDX-License-Identifier: BSD-2-Clause
"""Lists of phandles are read with the argument counts that their providers state."""

from __future__ import annotations

import pytest

from router.devicetree import Tree
from router.devicetree.references import drop_property, kind_of, references


def targets(tree: Tree, reference: str) -> list[tuple[str, str | None]]:
    node = tree.resolve(reference)
    return [(ref.name, ref.target.name if ref.target else None) for ref in references(tree, node)]


def test_arguments_are_skipped_and_holes_are_not_targets(toy: Tree) -> None:
    assert targets(toy, "ccm") == [
        ("clocks", "osc"),
        ("assigned-clocks", "clock-controller@50000"),
        ("assigned-clocks", "clock-controller@50000"),
        ("assigned-clock-parents", "clock-controller@50000"),
    ]
    assert ("dmas", "dma-controller@55000") in targets(toy, "uart")
    assert ("fsl,stop-mode", "syscon@56000") in targets(toy, "eth")


def test_a_hogs_numbers_and_other_namesakes_are_no_phandles(toy: Tree) -> None:
    assert targets(toy, "/soc/gpio@54000/led-hog") == []
    node = toy.resolve("gpio")
    assert kind_of(node, "snps,nr-gpios") is None and kind_of(node, "#gpio-cells") is None
    assert kind_of(toy.node("/__symbols__"), "gpio") is None


@pytest.mark.parametrize("cells", [(0xDEAD, 1), (2, 1, 2)])
def test_a_list_that_cannot_be_read_ends_without_a_target(toy: Tree, cells: tuple[int, ...]) -> None:
    toy.resolve("usb").set_cells("clocks", *cells)
    assert [target for name, target in targets(toy, "usb") if name == "clocks"][-1] is None


def test_a_map_of_requester_ids_names_its_controllers_once(toy: Tree) -> None:
    smmu = toy.phandle_of(toy.resolve("smmu"))
    toy.resolve("usb").set_cells("iommu-map", 0, smmu, 0, 0x100, 0x100, smmu, 0x100, 0x100)
    assert [target for name, target in targets(toy, "usb") if name == "iommu-map"] == ["iommu@5a000"]


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("clocks", {"clocks", "clock-names"}),
        ("phys", {"phys", "phy-names"}),
        ("interconnects", {"interconnects", "interconnect-names"}),
        ("memory-region", {"memory-region"}),
        ("no-such-list", set()),
    ],
)
def test_a_list_goes_together_with_its_names(toy: Tree, name: str, gone: set[str]) -> None:
    usb = toy.resolve("usb")
    before = set(usb.properties)
    assert set(drop_property(usb, name)) == gone
    assert before - set(usb.properties) == gone
