# SPDX-License-Identifier: BSD-2-Clause
"""What a pass-through device needs is included, with the reason; what it does not need is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.devicetree import (
    AddressRange,
    Closure,
    GuestGic,
    GuestTreeSpec,
    Tree,
    conflicts,
    dependency_closure,
    server_tree,
)
from router.errors import DescriptionError, RouterError

GIC = GuestGic(3, AddressRange(0x800_0000, 0x1_0000), AddressRange(0x80A_0000, 0x2_0000))
SPEC = GuestTreeSpec(
    "g",
    AddressRange(0x8000_0000, 0x1000_0000),
    1,
    GIC,
)


def names(closure: Closure) -> set[str]:
    return {member.name for member in closure.members}


def why(closure: Closure, name: str) -> list[tuple[str, str]]:
    member = next(member for member in closure.members if member.name == name)
    return [(because.node.rpartition("/")[2], because.property) for because in member.because]


def test_the_usb_controllers_closure_is_printed_as_a_tree(toy: Tree) -> None:
    closure = dependency_closure(toy, ["usb"], "server")
    assert "\n".join(closure.tree_lines()) == (
        "usb@100000\n"
        "├─ clock-controller@50000 (clocks)\n"
        "│  └─ syscon@51000 (compatible)\n"
        "├─ osc (clocks)\n"
        "├─ usb-phy@1f0040 (phys)\n"
        "│  └─ regulator-vbus (vbus-supply)\n"
        "│     ├─ gpio@54000 (gpio)\n"
        "│     │  ├─ pinctrl@52000 (gpio-ranges)\n"
        "│     │  └─ led-hog (child)\n"
        "│     └─ vbusgrp (pinctrl-0)\n"
        "├─ power-domain@2 (power-domains)\n"
        "│  └─ pgc (parent)\n"
        "│     └─ gpc@40000 (parent)\n"
        "└─ port (child)\n"
        "   └─ endpoint (child)\n"
        "      └─ endpoint (remote-endpoint)\n"
        "         └─ port (parent)\n"
        "            └─ connector (parent)\n"
        "               ├─ regulator-always (vbus-supply)\n"
        "               └─ typec@58000 (parent)"
    )


@pytest.mark.parametrize(
    ("chosen", "member", "reason"),
    [
        ("usb", "usb-phy@1f0040", ("usb@100000", "phys")),
        ("usb", "syscon@51000", ("clock-controller@50000", "compatible")),
        ("usb", "gpc@40000", ("pgc", "parent")),
        ("eth", "mac-address@90", ("ethernet@200000", "nvmem-cells")),
        ("eth", "efuse@53000", ("mac-address@90", "parent")),
        ("eth", "syscon@56000", ("ethernet@200000", "fsl,stop-mode")),
        ("eth", "ldo", ("ethernet-phy@4", "vdd-supply")),
        ("eth", "i2c@57000", ("pmic@8", "parent")),
        ("eth", "gpio@54000", ("pmic@8", "interrupts-extended")),
        ("eth", "opp-100", ("opp-table", "child")),
        ("uart", "dma-controller@55000", ("serial@30000", "dmas")),
        ("uart", "syscon@56000", ("dma-controller@55000", "gpr")),
        ("uart", "uartgrp", ("serial@30000", "pinctrl-0")),
        ("gpu", "iommu@5a000", ("gpu@400000", "iommus")),
        ("gpu", "mux-controller", ("gpu@400000", "mux-controls")),
        ("gpu", "buck", ("power-domain@5", "power-supply")),
        ("mapped2", "gpio@54000", ("dev@2000", "interrupts")),
    ],
)
def test_each_member_knows_the_property_that_brought_it_in(
    toy: Tree, chosen: str, member: str, reason: tuple[str, str]
) -> None:
    assert reason in why(dependency_closure(toy, [chosen], "guest"), member)


@pytest.mark.parametrize(
    ("chosen", "stays"),
    [
        ("usb", "power-domain@5"),  # another device's domain, and the regulator behind it
        ("usb", "buck"),
        ("usb", "uartgrp"),  # pins of somebody else
        ("usb", "unique-id@4"),  # the bus's, not the device's
        ("usb", "interconnect@59000"),  # a hint
        ("usb", "pool@50000000"),
        ("usb", "interrupt-controller@0"),  # the VMM's
        ("eth", "ethernet-phy@5"),  # disabled
        ("eth", "gpc@40000"),  # interrupts run through it, nothing else
        ("gpu", "cpu@0"),
    ],
)
def test_what_is_not_needed_stays_behind(toy: Tree, chosen: str, stays: str) -> None:
    assert stays not in names(dependency_closure(toy, [chosen], "guest"))


def test_maps_and_interrupts_follow_from_the_members(toy: Tree) -> None:
    closure = dependency_closure(toy, ["eth"], "guest")
    regions = {region.name: (region.base, region.size) for region in closure.regions}
    assert regions["ethernet_10200000"] == (0x1020_0000, 0x1_0000)
    assert regions["efuse_10053000"] == (0x1005_3000, 0x1000)
    assert [region.base for region in closure.regions] == sorted(region.base for region in closure.regions)
    assert {(irq.intid, irq.trigger) for irq in closure.irqs if irq.node.endswith("ethernet@200000")} == {
        (150, "level"),
        (151, "edge"),
    }
    assert [irq.intid for irq in closure.irqs] == sorted({irq.intid for irq in closure.irqs})


def test_registers_smaller_than_a_page_are_widened_and_said_so_with_the_neighbours(toy: Tree) -> None:
    closure = dependency_closure(toy, ["usb"], "guest")
    region = next(region for region in closure.regions if region.nodes == ("/soc/usb-phy@1f0040",))
    assert (region.base, region.size) == (0x101F_0000, 0x1000)
    assert region.note == (
        "usb-phy@1f0040 0x101f0040–0x101f007f widened to the page at 0x101f0000, "
        "where the guest also reaches glue@1f0100"
    )
    assert region.note in closure.notes


def test_two_devices_in_one_page_share_one_map(toy: Tree) -> None:
    closure = dependency_closure(toy, ["phy", "phyglue"], "guest")
    shared = [region for region in closure.regions if region.base == 0x101F_0000]
    assert [region.nodes for region in shared] == [("/soc/usb-phy@1f0040", "/soc/glue@1f0100")]
    assert shared[0].note is not None and "also reaches" not in shared[0].note


def test_dma_is_said_of_devices_that_could_and_not_of_mere_providers(toy: Tree) -> None:
    assert dependency_closure(toy, ["usb"], "g").dma
    assert not dependency_closure(toy, ["phy"], "g").dma
    gpu = dependency_closure(toy, ["gpu"], "g")
    assert gpu.dma and not gpu.unguarded
    eth = dependency_closure(toy, ["eth"], "net")
    assert eth.unguarded == ("ethernet@200000",)


def test_a_disabled_provider_is_switched_on_and_said_so(toy: Tree) -> None:
    notes = dependency_closure(toy, ["usb"], "g").notes
    assert "usb-phy@1f0040 is 'disabled' in the board's tree and switched on for the guest" in notes


def test_a_property_that_is_left_out_is_said(toy: Tree) -> None:
    notes = dependency_closure(toy, ["usb"], "g").notes
    assert "usb@100000: 'interconnects' is left out: the guest does not have interconnect@59000" in notes


def test_the_guest_is_told_which_arguments_its_devices_need(toy: Tree) -> None:
    arguments = {advice.argument for advice in dependency_closure(toy, ["usb"], "g").bootargs}
    assert arguments == {"clk_ignore_unused", "pd_ignore_unused"}
    assert dependency_closure(toy, [], "g").bootargs == ()
    toy.root.set_strings("compatible", "test,toy-board", "fsl,imx8mq")
    on_imx = dependency_closure(toy, ["phyglue"], "g").bootargs
    assert [advice.argument for advice in on_imx] == ["initcall_blacklist=imx8_soc_init"]


def test_nothing_chosen_is_nothing_given(toy: Tree) -> None:
    closure = dependency_closure(toy, [], "client")
    assert (closure.members, closure.regions, closure.irqs, closure.notes) == ((), (), (), ())
    assert closure.summary() == "no pass-through device" and not closure.dma


def test_the_summary_is_one_line_with_the_counts(toy: Tree) -> None:
    assert dependency_closure(toy, ["phyglue"], "g").summary() == "glue@1f0100 → … 2 nodes, 1 map, 0 IRQs"


def test_a_device_chosen_twice_or_needed_by_another_chosen_one_counts_once(toy: Tree) -> None:
    closure = dependency_closure(toy, ["phy", "usb", "/soc/usb-phy@1f0040"], "g")
    assert closure.selected == ("/soc/usb-phy@1f0040", "/soc/usb@100000")
    assert closure.chain("/soc/usb-phy@1f0040") == ()
    assert len({member.path for member in closure.members}) == len(closure.members)


def test_computing_a_closure_leaves_the_tree_alone(toy: Tree) -> None:
    before = toy.to_bytes()
    assert dependency_closure(toy, ["usb", "eth", "gpu"], "g") == dependency_closure(toy, ["usb", "eth", "gpu"], "g")
    assert toy.to_bytes() == before


VALUES = st.one_of(
    st.binary(max_size=16),
    st.lists(st.integers(0, 45) | st.integers(0, 2**32 - 1), max_size=8).map(
        lambda cells: b"".join(cell.to_bytes(4, "big") for cell in cells)
    ),
)


@given(st.data())
@settings(max_examples=300)
def test_a_tree_with_any_property_spoilt_gives_a_result_or_a_clear_error(toy: Tree, data: st.DataObject) -> None:
    tree = toy.copy()
    nodes = [node for node in tree.walk() if node.properties]
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(nodes))
        node.set_bytes(data.draw(st.sampled_from(list(node.properties))), data.draw(VALUES))
    try:
        chosen = data.draw(st.sampled_from(["usb", "eth", "gpu", "uart", "mapped2"]))
        closure = dependency_closure(tree, [chosen], "g")
        guest = server_tree(tree, closure, SPEC)
        again = Tree.parse(guest.to_bytes(), "again")
    except RouterError as error:
        assert error.message
    else:
        assert {member.path for member in closure.members} <= {node.path for node in again.walk()}
        assert closure.summary() and closure.tree_lines()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("gic", "'gic' cannot be passed through: every guest gets its own from its VMM"),
        ("/cpus/cpu@0", "'/cpus/cpu@0' cannot be passed through: every guest gets its own from its VMM"),
        ("/soc", "'/soc' is not a device and cannot be passed through"),
        ("/memory@40000000", "'/memory@40000000' is not a device and cannot be passed through"),
        ("nothing", "no node 'nothing' in the board's device tree"),
    ],
)
def test_what_cannot_be_passed_through_is_refused(toy: Tree, reference: str, message: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        dependency_closure(toy, [reference], "g")
    assert caught.value.message == message


def test_a_required_phandle_that_leads_nowhere_is_an_error(toy: Tree) -> None:
    toy.resolve("usb").set_cells("phys", 0xDEAD)
    with pytest.raises(DescriptionError, match=r"property 'phys' of /soc/usb@100000 points to no usable node .*0xdead"):
        dependency_closure(toy, ["usb"], "g")


def test_two_guests_that_need_one_node_are_both_named_with_their_chains(toy: Tree) -> None:
    usb = dependency_closure(toy, ["usb"], "server")
    eth = dependency_closure(toy, ["eth"], "net")
    found = {conflict.what: conflict for conflict in conflicts([usb, eth])}
    assert set(found) == {
        "/soc/clock-controller@50000",
        "/soc/syscon@51000",
        "/soc/gpio@54000",
        "/soc/pinctrl@52000",
    }
    clock = found["/soc/clock-controller@50000"]
    assert clock.message == "guests 'server' and 'net' both need /soc/clock-controller@50000"
    assert clock.hint == (
        "server: usb@100000 → clock-controller@50000 (clocks)\n"
        "net: ethernet@200000 → clock-controller@50000 (clocks)\n"
        "give the devices of both chains to one guest"
    )


def test_two_guests_in_one_page_are_a_conflict_though_their_nodes_differ(toy: Tree) -> None:
    phy_only = toy.resolve("phy")
    for name in ("clocks", "vbus-supply"):
        phy_only.remove_property(name)
    first = dependency_closure(toy, ["phy"], "a")
    second = dependency_closure(toy, ["phyglue"], "b")
    assert [conflict.what for conflict in conflicts([first, second])] == ["the pages 0x101f0000–0x101f0fff"]


def test_two_guests_with_one_interrupt_line_are_a_conflict(toy: Tree) -> None:
    toy.resolve("phyglue").set_cells("interrupts", 0, 90, 4)
    first = dependency_closure(toy, ["mapped"], "a")
    second = dependency_closure(toy, ["phyglue"], "b")
    assert [conflict.what for conflict in conflicts([first, second])] == ["interrupt 122"]


def test_fixed_clocks_and_buses_may_be_in_two_guests(toy: Tree) -> None:
    for name in ("usb", "eth"):
        node = toy.resolve(name)
        for prop in [prop for prop in node.properties if prop not in ("compatible", "reg", "interrupts")]:
            node.remove_property(prop)
        for child in list(node.children.values()):
            child.detach()
        node.set_cells("clocks", toy.phandle_of(toy.resolve("osc")))
    closures = [dependency_closure(toy, [name], name) for name in ("usb", "eth")]
    assert all("osc" in names(closure) for closure in closures)
    assert conflicts(closures) == ()
