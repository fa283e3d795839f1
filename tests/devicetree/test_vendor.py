# SPDX-License-Identifier: BSD-2-Clause
"""Trees as board makers write them: power switches that no node names, hogs, overlays; sources in vendor/."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.boards import board
from router.devicetree import Tree, base_tree, dependency_closure, server_tree
from router.devicetree.dtc import compile_source
from router.devicetree.references import references
from router.errors import DescriptionError
from tests.devicetree.test_maaxboard import SPEC, names

VENDOR = Path(__file__).parent / "vendor"


def vendor(name: str) -> Tree:
    return Tree.parse(compile_source(VENDOR / f"{name}.dts"), name)


@pytest.mark.parametrize(("name", "level"), [("always-on-low", "low"), ("always-on-high", "high")])
def test_a_power_switch_that_no_node_names_comes_with_the_controllers_and_its_level_is_said(
    name: str, level: str
) -> None:
    tree = vendor(name)
    closure = dependency_closure(tree, ["usb1"], "server")
    assert names(closure) >= {"regulator-usb1", "gpio@30200000"}
    assert closure.warnings[0] == (
        "regulator-usb1 ('usb1_pwr_en') comes with usb@38100000: it is always on and drives gpio@30200000 line 12"
        f" {level}; the tree does not say which port it feeds"
    )
    assert closure.chain_text("/soc@0/gpio@30200000") == (
        "usb@38100000 → regulator-usb1 (regulator-always-on) → gpio@30200000 (gpio)"
    )
    kept = server_tree(tree, closure, SPEC).node("/regulator-usb1")
    assert ("enable-active-high" in kept) == (level == "high") and "regulator-always-on" in kept


def test_switches_that_stay_out_are_named_with_their_line_and_why() -> None:
    closure = dependency_closure(vendor("always-on-high"), ["usb1"], "server")
    assert not names(closure) & {"regulator-radio", "regulator-otg-vbus", "regulator-without-gpio"}
    assert closure.warnings[1:] == (
        "regulator-radio ('radio') (gpio@30200000 line 20, high when on) is left out: no node of this guest names it,"
        " so the line stays as the boot loader leaves it",
        "regulator-otg-vbus ('otg_vbus') (gpio@30200000 line 21, low when on) is left out: no node names it, and it is"
        " not always on, so the line stays as the boot loader leaves it",
    )


def test_of_two_guests_with_controllers_the_first_has_the_switch_and_the_other_hears_of_it() -> None:
    tree = vendor("always-on-low")
    first = dependency_closure(tree, ["usb1"], "one")
    second = dependency_closure(tree, ["usb2"], "two", dict.fromkeys(first.unnamed_switches, "one"))
    assert first.unnamed_switches == ("/regulator-usb1",) and not second.unnamed_switches
    assert second.warnings == (
        "regulator-usb1 ('usb1_pwr_en') (gpio@30200000 line 12, low when on) is with the guest 'one'; the tree does not"
        " say which port it feeds",
    )


def test_a_guest_without_usb_gets_no_switch_of_usb_power_and_hears_nothing_of_it() -> None:
    closure = dependency_closure(vendor("always-on-low"), ["gpio1"], "other")
    assert "regulator-usb1" not in names(closure) and closure.warnings == ()


def test_the_hogs_of_a_gpio_controller_stay_with_it() -> None:
    tree = vendor("gpio-hog")
    closure = dependency_closure(tree, ["usb1"], "server")
    assert "hub-reset-hog" in names(closure) and "unwanted-hog" not in names(closure)
    hog = server_tree(tree, closure, SPEC).node("/soc@0/gpio@30200000/hub-reset-hog")
    assert hog.cells("gpios") == (14, 0) and "output-high" in hog


def test_an_overlay_that_is_given_as_a_tree_says_so(tmp_path: Path) -> None:
    blob = tmp_path / "extra.dtbo"
    blob.write_bytes(compile_source(VENDOR / "overlay.dtso"))
    with pytest.raises(DescriptionError, match="device tree overlay, not a whole tree") as caught:
        base_tree(board("maaxboard").tree, lambda name: tmp_path / name, blob)
    assert "fdtoverlay -i BOARD.dtb -o WHOLE.dtb extra.dtbo" in (caught.value.hint or "")


def test_supplies_batteries_and_block_controllers_are_known_references() -> None:
    tree = vendor("always-on-low")
    phy = tree.resolve("phy1")
    target = tree.phandle_of(tree.resolve("gpio1"))
    phy.set_cells("power-supplies", target, target)
    phy.set_cells("monitored-battery", target)
    phy.set_cells("fsl,blk-ctrl", target, 4)
    found = [(ref.name, ref.target.name if ref.target else None) for ref in references(tree, phy)]
    assert found == [
        *[("power-supplies", "gpio@30200000")] * 2,
        ("monitored-battery", "gpio@30200000"),
        ("fsl,blk-ctrl", "gpio@30200000"),
    ]
