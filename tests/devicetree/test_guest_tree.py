# SPDX-License-Identifier: BSD-2-Clause
"""The trees that guests boot with: golden text, dtc's judgement, and no trace of what the guest does not own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.boards import board
from router.devicetree import (
    AddressRange,
    GuestGic,
    GuestTreeSpec,
    Tree,
    VirtioSlot,
    base_tree,
    client_tree,
    dependency_closure,
    passthrough_candidates,
    server_tree,
)
from router.devicetree.interrupts import interrupts_of, line_of
from router.devicetree.references import references
from router.errors import DescriptionError

GIC_V2 = GuestGic(2, AddressRange(0x800_0000, 0x1_0000), AddressRange(0x801_0000, 0x1_0000))
GIC_V3 = GuestGic(3, AddressRange(0x3880_0000, 0x1_0000), AddressRange(0x3888_0000, 0x4_0000))
VIRTIO = tuple(VirtioSlot(0xA00_0000 + 0x200 * slot, 48 + slot) for slot in range(3))
SERVER = GuestTreeSpec(
    name="server",
    memory=AddressRange(0x8000_0000, 0x2000_0000),
    vcpus=1,
    gic=GIC_V2,
    bootargs="console=hvc0 pci=nomsi",
    initrd=AddressRange(0x8C00_0000, 0x60_1234),
    virtio=VIRTIO,
)
CLIENT = replace(
    SERVER, name="client", memory=AddressRange(0xA000_0000, 0x2000_0000), vcpus=2, bootargs="console=hvc0", initrd=None
)
TOY_SPEC = replace(SERVER, gic=GIC_V3, initrd=None)


def no_kernel(name: str) -> Path:
    raise AssertionError(f"the kernel package was asked for {name}")


@pytest.fixture(scope="module")
def qemu() -> Tree:
    return base_tree(board("qemu").tree, no_kernel)


def dangling(tree: Tree) -> list[str]:
    return [f"{node.path}: {ref.name}" for node in tree.walk() for ref in references(tree, node) if ref.target is None]


def test_the_client_tree_is_the_golden_one_and_dtc_has_nothing_to_say(
    decompile: Callable[[bytes], str],
    warnings_of: Callable[[bytes], set[str]],
    assert_golden: Callable[[str, str], None],
) -> None:
    blob = client_tree(CLIENT).to_bytes()
    assert_golden("devicetree/qemu-client.dts", decompile(blob))
    assert warnings_of(blob) == set()


def test_the_qemu_server_tree_is_the_golden_one_and_dtc_has_nothing_to_say(
    qemu: Tree,
    decompile: Callable[[bytes], str],
    warnings_of: Callable[[bytes], set[str]],
    assert_golden: Callable[[str, str], None],
) -> None:
    blob = server_tree(qemu, dependency_closure(qemu, ["pcie"], "server"), SERVER).to_bytes()
    assert_golden("devicetree/qemu-server.dts", decompile(blob))
    assert warnings_of(blob) == set()


def test_fdtget_reads_what_the_plan_decided(qemu: Tree, fdtget: Callable[..., str]) -> None:
    blob = server_tree(qemu, dependency_closure(qemu, ["pcie"], "server"), SERVER).to_bytes()
    assert fdtget(blob, "/memory@80000000", "reg") == "0 80000000 0 20000000"
    assert fdtget(blob, "/chosen", "bootargs", "s") == "console=hvc0 pci=nomsi"
    assert fdtget(blob, "/chosen", "linux,initrd-start") == "0 8c000000"
    assert fdtget(blob, "/chosen", "linux,initrd-end") == "0 8c601234"
    assert fdtget(blob, "/virtio_mmio@a000200", "interrupts", "u") == "0 17 1"
    assert fdtget(blob, "/psci", "method", "s") == "hvc"
    assert fdtget(blob, "/timer", "interrupts") == "1 d 108 1 e 108 1 b 108 1 a 108"


def test_the_client_has_no_node_of_the_board(qemu: Tree) -> None:
    tree = client_tree(CLIENT)
    top = {node.base_name for node in tree.root.children.values()}
    assert top == {"interrupt-controller", "chosen", "memory", "cpus", "psci", "timer", "virtio_mmio"}
    assert passthrough_candidates(tree) == tuple(f"/virtio_mmio@{slot.address:x}" for slot in VIRTIO)


def test_a_guest_without_pass_through_gets_its_platform_from_the_board_tree_too(qemu: Tree) -> None:
    tree = server_tree(qemu, dependency_closure(qemu, [], "g"), SERVER)
    assert {node.base_name for node in tree.root.children.values()} == {
        *("interrupt-controller", "chosen", "memory", "cpus", "psci", "timer", "virtio_mmio"),
    }


def test_the_base_tree_is_left_alone(toy: Tree) -> None:
    before = toy.to_bytes()
    tree = server_tree(toy, dependency_closure(toy, ["usb"], "g"), TOY_SPEC)
    assert toy.to_bytes() == before and tree.to_bytes() != before


def test_a_guest_that_owns_the_gpc_keeps_its_interrupts_behind_it(toy: Tree) -> None:
    tree = server_tree(toy, dependency_closure(toy, ["usb"], "g"), TOY_SPEC)
    gpc, usb = tree.resolve("gpc"), tree.resolve("usb")
    assert tree.by_phandle(tree.root.u32("interrupt-parent")) is gpc
    (interrupt,) = interrupts_of(tree, usb)
    assert interrupt.controller is gpc
    line = line_of(tree, interrupt)
    assert line is not None and line.intid == 72


def test_a_guest_without_the_gpc_gets_its_interrupts_from_the_gic(toy: Tree) -> None:
    tree = server_tree(toy, dependency_closure(toy, ["eth"], "g"), TOY_SPEC)
    gic = tree.node("/interrupt-controller@38800000")
    assert tree.get("/soc/gpc@40000") is None
    assert tree.by_phandle(tree.root.u32("interrupt-parent")) is gic
    interrupts = interrupts_of(tree, tree.resolve("ethernet@200000"))
    assert [interrupt.controller for interrupt in interrupts] == [gic, gic]
    assert [line.intid for interrupt in interrupts if (line := line_of(tree, interrupt))] == [150, 151]


def test_interrupts_extended_are_turned_to_the_gic_entry_by_entry(toy: Tree) -> None:
    gpu = toy.resolve("gpu")
    gpu.remove_property("power-domains")
    tree = server_tree(toy, dependency_closure(toy, ["gpu"], "g"), TOY_SPEC)
    gic = tree.phandle_of(tree.node("/interrupt-controller@38800000"))
    assert tree.resolve("gpu@400000").cells("interrupts-extended") == (gic, 0, 3, 4, gic, 0, 4, 4)


def test_rows_of_an_interrupt_map_that_lead_nowhere_are_dropped(toy: Tree) -> None:
    tree = server_tree(toy, dependency_closure(toy, ["mapped"], "g"), TOY_SPEC)
    nexus = tree.node("/soc/bus@300000")
    gic = tree.phandle_of(tree.node("/interrupt-controller@38800000"))
    assert nexus.cells("interrupt-map") == (0x1000, 1, gic, 0, 90, 4, 0x2000, 1, gic, 0, 91, 1)


def test_lists_that_lead_to_what_stays_behind_go_with_their_names(toy: Tree) -> None:
    usb = server_tree(toy, dependency_closure(toy, ["usb"], "g"), TOY_SPEC).resolve("usb@100000")
    for gone in ("interconnects", "interconnect-names", "memory-region"):
        assert gone not in usb
    for stays in ("clocks", "clock-names", "phys", "phy-names", "power-domains"):
        assert stays in usb


def test_assigned_clocks_of_a_lost_provider_go_all_three(toy: Tree) -> None:
    usb = toy.resolve("usb")
    usb.set_cells("assigned-clock-parents", 0xDEAD)
    usb.set_cells("assigned-clocks", toy.phandle_of(toy.resolve("ccm")), 1)
    usb.set_cells("assigned-clock-rates", 5)
    closure = dependency_closure(toy_without(toy, "assigned-clock-parents"), ["usb"], "g")
    tree = server_tree(toy, closure, TOY_SPEC)
    assert not [name for name in tree.resolve("usb@100000").properties if name.startswith("assigned-")]


def toy_without(tree: Tree, name: str) -> Tree:
    copy = tree.copy()
    copy.resolve("usb").remove_property(name)
    return copy


def test_what_was_disabled_but_is_needed_is_on(toy: Tree) -> None:
    tree = server_tree(toy, dependency_closure(toy, ["usb"], "g"), TOY_SPEC)
    assert tree.resolve("usb@100000").enabled and tree.resolve("usb-phy@1f0040").enabled


def test_aliases_labels_memory_and_reservations_of_the_board_do_not_leak(toy: Tree) -> None:
    tree = server_tree(toy, dependency_closure(toy, ["eth"], "g"), TOY_SPEC)
    assert tree.aliases == {"ethernet0": "/soc/ethernet@200000"}
    assert "usb" not in tree.labels and tree.labels["eth"] == "/soc/ethernet@200000"
    assert tree.get("/reserved-memory") is None and tree.reservations == ()
    assert [node.name for node in tree.root.children.values() if node.base_name == "memory"] == ["memory@80000000"]


def test_any_set_of_devices_gives_a_tree_without_loose_ends(toy: Tree, decompile: Callable[[bytes], str]) -> None:
    for chosen in passthrough_candidates(toy):
        if chosen == "/soc/gpu@400000":
            toy.node(chosen).remove_property("thermal-sensors")  # its sensor has no #thermal-sensor-cells, on purpose
        tree = server_tree(toy, dependency_closure(toy, [chosen], "g"), TOY_SPEC)
        assert dangling(tree) == []
        assert tree.get(chosen) is not None and decompile(tree.to_bytes())


@given(st.lists(st.integers(0, 18), min_size=1, max_size=6, unique=True))
@settings(max_examples=40)
def test_random_choices_keep_members_and_nothing_but_members(toy: Tree, numbers: list[int]) -> None:
    candidates = passthrough_candidates(toy)
    closure = dependency_closure(toy, [candidates[number % len(candidates)] for number in numbers], "g")
    tree = server_tree(toy, closure, TOY_SPEC)
    own = {"/", "/chosen", "/psci", "/timer", "/cpus", "/aliases", "/__symbols__"}
    prefixes = ("/memory@", "/cpus/", "/virtio_mmio@", "/interrupt-controller@38800000")
    left = {node.path for node in tree.walk() if not node.path.startswith(prefixes)} - own
    assert left == {member.path for member in closure.members}


def test_memory_over_a_device_is_refused(toy: Tree) -> None:
    closure = dependency_closure(toy, ["usb"], "server")
    with pytest.raises(DescriptionError) as caught:
        server_tree(toy, closure, replace(TOY_SPEC, memory=AddressRange(0x1000_0000, 0x1000_0000)))
    assert "guest 'server': its memory (0x10000000–0x1fffffff) lies over gpc@40000" in caught.value.message


def test_a_board_tree_without_a_gic_is_refused() -> None:
    base = Tree()
    with pytest.raises(DescriptionError, match="no GIC"):
        server_tree(base, dependency_closure(base, [], "g"), SERVER)


def test_a_gic_with_wider_specifiers_gets_them_from_us_too(toy: Tree, fdtget: Callable[..., str]) -> None:
    toy.resolve("gic").set_cells("#interrupt-cells", 4)
    tree = server_tree(toy, dependency_closure(toy, [], "g"), TOY_SPEC)
    assert fdtget(tree.to_bytes(), "/virtio_mmio@a000000", "interrupts", "u") == "0 16 1 0"


def test_a_version_3_gic_has_distributor_and_redistributors(fdtget: Callable[..., str]) -> None:
    blob = client_tree(replace(CLIENT, gic=GIC_V3)).to_bytes()
    path = "/interrupt-controller@38800000"
    assert fdtget(blob, path, "compatible", "s") == "arm,gic-v3"
    assert fdtget(blob, path, "reg") == "0 38800000 0 10000 0 38880000 0 40000"
    assert fdtget(blob, "/timer", "interrupts") == "1 d 8 1 e 8 1 b 8 1 a 8"
