# SPDX-License-Identifier: BSD-2-Clause
"""The MaaXBoard: its tree from the kernel package and our fragment, and what its devices bring along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from router.boards import board
from router.devicetree import (
    AddressRange,
    Closure,
    GuestGic,
    GuestTreeSpec,
    Tree,
    base_tree,
    conflicts,
    dependency_closure,
    passthrough_candidates,
    server_tree,
)
from router.devicetree.base import SOURCES
from router.devicetree.dtc import compile_source
from router.devicetree.interrupts import interrupts_of, line_of
from router.errors import DescriptionError, HostError

pytestmark = pytest.mark.packages

USB = ["usb@38100000", "usb@38200000"]
SPEC = GuestTreeSpec(
    name="server",
    memory=AddressRange(0x8000_0000, 0x2000_0000),
    vcpus=1,
    gic=GuestGic(3, AddressRange(0x3880_0000, 0x1_0000), AddressRange(0x3888_0000, 0x2_0000)),
    bootargs="console=hvc0",
)


def names(closure: Closure) -> set[str]:
    return {member.name for member in closure.members}


def test_the_board_is_ours_and_the_sister_boards_parts_are_gone(maaxboard: Tree, kernel_dtbs: Path) -> None:
    assert maaxboard.root.compatible == ("avnet,maaxboard", "fsl,imx8mq")
    evk = Tree.read(kernel_dtbs / "freescale/imx8mq-evk.dtb")
    assert evk.compatible_with("fsl,pfuze100") and not maaxboard.compatible_with("fsl,pfuze100")
    assert [node.name for node in maaxboard.compatible_with("regulator-fixed")] == ["regulator-usb1"]
    for kind in ("regulator-gpio", "simple-audio-card", "gpio-ir-receiver", "jedec,spi-nor"):
        assert not maaxboard.compatible_with(kind)
    assert {node.name for node in maaxboard.resolve("iomuxc").children.values()} == {
        *("uart1grp", "fec1grp", "usb1grp", "usb1powergrp", "usb2grp"),
    }


def test_what_the_board_has_is_on_and_what_only_the_sister_had_is_off(maaxboard: Tree) -> None:
    for label in ("usb_dwc3_0", "usb_dwc3_1", "usb3_phy0", "usb3_phy1", "uart1", "fec1"):
        assert maaxboard.resolve(label).enabled, label
    for label in ("usdhc1", "usdhc2", "i2c1", "qspi0", "pcie0", "pcie1", "wdog1"):
        assert not maaxboard.resolve(label).enabled, label


def test_every_label_is_found_and_the_tree_has_no_loose_ends(
    maaxboard: Tree, warnings_of: Callable[[bytes], set[str]], kernel_dtbs: Path
) -> None:
    labels = Tree.parse(compile_source(SOURCES / "imx8mq-labels.dts"), "labels").labels
    assert set(labels) <= set(maaxboard.labels)
    evk = (kernel_dtbs / "freescale/imx8mq-evk.dtb").read_bytes()
    assert warnings_of(maaxboard.to_bytes()) <= warnings_of(evk)


def test_the_usb_controllers_bring_phys_clocks_anatop_power_and_pins(maaxboard: Tree) -> None:
    closure = dependency_closure(maaxboard, USB, "server")
    anatop = maaxboard.resolve("anatop").name
    assert names(closure) >= {
        *("usb-phy@381f0040", "usb-phy@382f0040", "clock-controller@30380000", anatop),
        *("gpc@303a0000", "power-domain@2", "power-domain@3", "pinctrl@30330000", "clock-osc-25m"),
    }
    assert not names(closure) & {"power-domain@5", "efuse@30350000", "ethernet@30be0000", "serial@30860000"}
    assert {(region.base, region.size) for region in closure.regions} == {
        *((0x3020_0000, 0x1_0000), (0x3033_0000, 0x1_0000)),
        *((0x3036_0000, 0x1_0000), (0x3038_0000, 0x1_0000), (0x303A_0000, 0x1_0000)),
        *((0x3810_0000, 0x1_0000), (0x381F_0000, 0x1000), (0x3820_0000, 0x1_0000), (0x382F_0000, 0x1000)),
    }
    assert {72, 73} <= {irq.intid for irq in closure.irqs} and all(irq.intid < 160 for irq in closure.irqs)


def test_the_phys_registers_are_widened_to_pages_and_it_is_said(maaxboard: Tree) -> None:
    notes = dependency_closure(maaxboard, USB, "server").notes
    assert "usb-phy@381f0040 0x381f0040–0x381f007f widened to the page at 0x381f0000" in notes
    assert "usb-phy@382f0040 0x382f0040–0x382f007f widened to the page at 0x382f0000" in notes


def test_a_phy_comes_because_of_phys_and_the_power_controller_because_of_its_domain(maaxboard: Tree) -> None:
    closure = dependency_closure(maaxboard, USB, "server")
    phy = next(member.path for member in closure.members if member.name == "usb-phy@381f0040")
    gpc = next(member.path for member in closure.members if member.name == "gpc@303a0000")
    assert closure.chain_text(phy) == "usb@38100000 → usb-phy@381f0040 (phys)"
    assert closure.chain_text(gpc) == (
        "usb@38100000 → power-domain@2 (power-domains) → pgc (parent) → gpc@303a0000 (parent)"
    )


@pytest.mark.parametrize("chosen", [USB, USB[1:]])
def test_the_switch_of_usb_power_goes_to_whoever_owns_a_controller_with_its_gpio(
    maaxboard: Tree, chosen: list[str]
) -> None:
    closure = dependency_closure(maaxboard, chosen, "server")
    assert names(closure) >= {"regulator-usb1", "gpio@30200000", "usb1powergrp"}
    assert closure.warnings == (
        f"regulator-usb1 ('usb1_pwr_en') comes with {chosen[0]}: it is always on and drives gpio@30200000 line 12 high;"
        " the tree does not say which port it feeds",
    )
    tree = server_tree(maaxboard, closure, SPEC)
    pads = [pad for node in tree.walk() if "fsl,pins" in node for pad in node.cells("fsl,pins")[::6]]
    assert 0x58 in pads and len(set(pads)) == len(pads), "a pad has one owner, or Linux refuses the second one"


def test_ethernet_brings_the_efuse_that_its_address_lives_in(maaxboard: Tree) -> None:
    closure = dependency_closure(maaxboard, ["ethernet@30be0000"], "net")
    efuse = next(member.path for member in closure.members if member.name == "efuse@30350000")
    assert closure.chain_text(efuse) == ("ethernet@30be0000 → mac-address@90 (nvmem-cells) → efuse@30350000 (parent)")
    assert 0x3035_0000 in {region.base for region in closure.regions}
    assert names(closure) >= {"ethernet-phy@4", "gpio@30200000", "fec1grp", "syscon@30340000"}
    assert {irq.intid for irq in closure.irqs} >= {150, 151, 152}


def test_soc_and_board_labels_and_aliases_name_devices(maaxboard: Tree) -> None:
    assert maaxboard.resolve("usb_dwc3_0").path == "/soc@0/usb@38100000"
    assert maaxboard.resolve("ethernet0").name == "ethernet@30be0000"
    with pytest.raises(DescriptionError) as caught:
        maaxboard.resolve("usb@38100001")
    assert caught.value.hint == "did you mean 'usb@38100000'?"


def test_a_usb_guest_keeps_the_gpc_as_its_interrupt_parent(maaxboard: Tree) -> None:
    tree = server_tree(maaxboard, dependency_closure(maaxboard, USB, "server"), SPEC)
    gpc = tree.resolve("gpc")
    assert tree.by_phandle(tree.root.u32("interrupt-parent")) is gpc
    (interrupt,) = interrupts_of(tree, tree.resolve("usb_dwc3_0"))
    line = line_of(tree, interrupt)
    assert interrupt.controller is gpc and line is not None and line.intid == 72
    assert "nvmem-cells" not in tree.node("/soc@0")


def test_a_guest_without_the_gpc_has_its_interrupts_at_the_gic(maaxboard: Tree) -> None:
    tree = server_tree(maaxboard, dependency_closure(maaxboard, ["uart1"], "console"), SPEC)
    gic = tree.node("/interrupt-controller@38800000")
    assert tree.get("/soc@0/bus@30000000/gpc@303a0000") is None
    assert tree.by_phandle(tree.root.u32("interrupt-parent")) is gic
    (interrupt,) = interrupts_of(tree, tree.resolve("uart1"))
    line = line_of(tree, interrupt)
    assert interrupt.controller is gic and line is not None and line.intid == 58


def test_cpus_idle_states_and_reserved_memory_of_the_board_do_not_reach_the_guest(maaxboard: Tree) -> None:
    tree = server_tree(maaxboard, dependency_closure(maaxboard, USB, "server"), SPEC)
    assert [node.name for node in tree.node("/cpus").children.values()] == ["cpu@0"]
    assert set(tree.node("/cpus/cpu@0").properties) == {"device_type", "compatible", "reg", "enable-method"}
    assert tree.get("/reserved-memory") is None and tree.node("/psci").string("method") == "hvc"


def test_the_guest_is_told_not_to_call_the_firmware_and_to_leave_others_clocks_on(maaxboard: Tree) -> None:
    arguments = [advice.argument for advice in dependency_closure(maaxboard, USB, "server").bootargs]
    assert arguments == ["initcall_blacklist=imx8_soc_init", "clk_ignore_unused", "pd_ignore_unused"]


def test_usb_and_ethernet_cannot_go_to_two_guests_and_the_shared_nodes_are_named(maaxboard: Tree) -> None:
    usb = dependency_closure(maaxboard, USB, "server")
    ethernet = dependency_closure(maaxboard, ["fec1"], "net")
    found = {conflict.what.rpartition("/")[2]: conflict for conflict in conflicts([usb, ethernet])}
    assert {"clock-controller@30380000", "pinctrl@30330000"} <= set(found)
    assert found["clock-controller@30380000"].hint.startswith(
        "server: usb@38100000 → clock-controller@30380000 (clocks)\n"
        "net: ethernet@30be0000 → clock-controller@30380000 (clocks)"
    )


def test_every_device_that_is_offered_can_be_passed_through(maaxboard: Tree) -> None:
    candidates = passthrough_candidates(maaxboard)
    assert {"/soc@0/usb@38100000", "/soc@0/bus@30800000/ethernet@30be0000"} <= set(candidates)
    for path in candidates:
        assert dependency_closure(maaxboard, [path], "g").member(path) is not None


def test_a_kernel_package_without_the_tree_is_the_hosts_fault(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot read the device tree: No such file"):
        base_tree(board("maaxboard").tree, lambda name: tmp_path / name)
