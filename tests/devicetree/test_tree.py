# SPDX-License-Identifier: BSD-2-Clause
"""Finding nodes the way people name them, and changing trees."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from router.devicetree import Tree, passthrough_candidates
from router.devicetree.node import narrow, wide
from router.errors import DescriptionError


@pytest.mark.parametrize(
    "reference", ["/soc/ethernet@200000", "/soc/ethernet", "ethernet0", "eth", "&eth", "ethernet@200000"]
)
def test_a_node_is_found_by_path_alias_label_or_name(toy: Tree, reference: str) -> None:
    assert toy.resolve(reference).path == "/soc/ethernet@200000"


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("ethernet@200001", "did you mean 'ethernet@200000'?"),
        ("/soc/usb@10000", "did you mean 'usb@100000'?"),
        ("&usbb", "did you mean 'usb'?"),
        ("entirely-else", None),
    ],
)
def test_a_name_that_is_not_there_gets_a_suggestion(toy: Tree, reference: str, hint: str | None) -> None:
    with pytest.raises(DescriptionError, match="no node") as caught:
        toy.resolve(reference)
    assert caught.value.hint == hint and caught.value.where is None


def test_a_name_that_is_there_twice_is_refused_with_the_paths(toy: Tree) -> None:
    toy.node("/soc").add_child("twin@1")
    toy.node("/soc/i2c@57000").add_child("twin@1")
    with pytest.raises(DescriptionError, match="the name of 2 nodes") as caught:
        toy.resolve("twin@1")
    assert caught.value.hint is not None and "'/soc/twin@1'" in caught.value.hint


def test_phandles_are_looked_up_and_allocated(toy: Tree, fdtget: Callable[..., str]) -> None:
    usb = toy.resolve("usb")
    ccm = toy.resolve("ccm")
    assert toy.by_phandle(usb.cells("clocks")[0]) is ccm
    bare = toy.node("/soc/hidden")
    highest = max(node.phandle or 0 for node in toy.walk())
    assert bare.phandle is None and toy.phandle_of(bare) == highest + 1
    assert toy.by_phandle(highest + 1) is bare
    assert fdtget(toy.to_bytes(), "/soc/hidden", "phandle", "u") == str(highest + 1)


def test_a_removed_node_is_no_longer_found_by_its_phandle(toy: Tree) -> None:
    ccm = toy.resolve("ccm")
    handle = toy.phandle_of(ccm)
    assert toy.by_phandle(handle) is ccm
    ccm.detach()
    assert toy.by_phandle(handle) is None and toy.get("/soc/clock-controller@50000") is None


def test_a_copy_shares_nothing_with_the_original(toy: Tree) -> None:
    copy = toy.copy()
    copy.resolve("usb").set_strings("status", "okay")
    copy.resolve("eth").detach()
    assert not toy.resolve("usb").enabled and toy.resolve("eth")


def test_a_node_name_is_taken_once(toy: Tree) -> None:
    with pytest.raises(ValueError, match="already has a node"):
        toy.root.add_child("soc")
    assert toy.root.ensure_child("soc") is toy.node("/soc")


def test_a_reading_that_the_bytes_do_not_allow_names_the_node(toy: Tree) -> None:
    usb = toy.resolve("usb")
    usb.set_bytes("reg", b"\0\0\0")
    with pytest.raises(DescriptionError, match="property 'reg' of /soc/usb@100000 has 3 bytes"):
        usb.cells("reg")
    with pytest.raises(DescriptionError, match="has 0 cells instead of one"):
        usb.u32("no-such-property")


def test_wide_numbers_are_split_and_joined() -> None:
    assert narrow(0x1_0000_0002, 2) == (1, 2) and wide((1, 2)) == 0x1_0000_0002
    with pytest.raises(ValueError, match="does not fit"):
        narrow(1 << 32, 1)


def test_what_can_be_passed_through_is_devices_with_registers(toy: Tree) -> None:
    candidates = passthrough_candidates(toy)
    assert {"/soc/usb@100000", "/soc/ethernet@200000", "/soc/bus@300000/dev@1000"} <= set(candidates)
    for never in ("/soc/interrupt-controller@0", "/timer", "/memory@40000000", "/soc", "/soc/hidden/dev@0", "/osc"):
        assert never not in candidates
