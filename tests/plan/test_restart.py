# SPDX-License-Identifier: BSD-2-Clause
"""A guest is started again where its devices can be kept from its memory meanwhile, and else stays down."""

from __future__ import annotations

from pathlib import Path

from router.boards import board
from router.boards.model import Range
from router.checks import check_plan
from router.description.models import OnExit
from router.devicetree import base_tree, dependency_closure
from router.plan.models import Map
from router.plan.ownership import passthrough
from tests.support.systems import plan_of, shipped

ECAM = Range(0x3F00_0000, 0x100_0000)


def test_a_guest_with_pci_devices_is_started_again_and_its_vmm_can_stop_them() -> None:
    plan = plan_of(shipped("qemu"))
    assert plan.guest("server").on_exit == "restart"
    vmm = next(pd for pd in plan.pds if pd.name == "vmm_server")
    assert Map("server_pcie_3f000000", 0x1_8000_0000, "rw", cached=False) in vmm.maps
    client = next(pd for pd in plan.pds if pd.name == "vmm_client")
    assert not [each for each in client.maps if "pcie" in each.region]


def test_a_guest_with_other_devices_that_write_memory_stays_down_and_a_note_says_so() -> None:
    plan = plan_of(shipped("maaxboard"))
    assert plan.guest("server").on_exit == "stop"
    assert plan.guest("client").on_exit == "restart"
    assert any("'server' is not restarted" in note and "usb@38100000" in note for note in plan.notes)
    assert check_plan(plan) == ()


def test_who_asks_for_a_restart_all_the_same_is_told_why_not() -> None:
    description = shipped("maaxboard")
    server = description.guests["server"].model_copy(update={"on_exit": OnExit.RESTART})
    guests = {**description.guests, "server": server}
    violations = check_plan(plan_of(description.model_copy(update={"guests": guests})))
    assert [violation.invariant for violation in violations] == ["restart-is-clean"]
    assert violations[0].subject == ("guests", "server", "on_exit")


def test_the_configuration_space_is_found_in_the_boards_own_tree() -> None:
    tree = base_tree(board("qemu").tree, Path, None)
    owned = passthrough(dependency_closure(tree, ("pcie@3f000000",), "server"))
    assert owned.config_spaces == (ECAM,)
    assert owned.unstoppable == ()
    assert owned.dma
