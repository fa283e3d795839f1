# SPDX-License-Identifier: BSD-2-Clause
"""What holds for every board that the package has: each file in router/boards is picked up here by its name."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from router import boards, files, resources
from router.boards.model import Board, KernelTree, Range, TimerKind, UartKind
from router.checks import check_plan
from router.description.models import Description
from router.devicetree import Tree, dependency_closure, passthrough_candidates
from router.errors import DescriptionError, HostError
from router.microkit.programs import ALARMS, ROOT, UART_DRIVERS, programs
from router.pipeline.inputs import base_device_tree
from router.plan.models import Passthrough
from router.plan.ownership import passthrough
from router.plan.system import plan_system
from tests.support.systems import SDKS, described

every_board = pytest.mark.parametrize("name", boards.names())


def two_guests(name: str) -> Description:
    guests = {
        "server": {"image": "usb-server", "memory": "128 MiB"},
        "client": {"image": "usb-client", "memory": "128 MiB"},
    }
    usb = [{"class": "hid", "to": "client"}]
    return described({"system": "two", "board": name, "guests": guests, "usb": usb})


def violations(name: str, owned: Passthrough, sdk: str = "2.3.0") -> list[str]:
    """What the checks find in a system of two guests whose server owns that much of the board."""
    roles = {"server": "server", "client": "client"}
    plan = plan_system(two_guests(name), boards.board(name), roles=roles, passthrough={"server": owned}, sdk=sdk)
    return [str(each) for each in check_plan(plan)]


def board_tree(board: Board) -> Tree:
    """The board's device tree, or a skip where this computer cannot make it."""
    if shutil.which("dtc") is None:
        pytest.skip("dtc is missing (package device-tree-compiler)")
    try:
        return base_device_tree(board, None, files.cache_folder(), lambda line: None)
    except HostError as error:
        if isinstance(board.tree, KernelTree):
            pytest.skip(f"no arm64 packages: {error}")
        raise


@every_board
def test_a_board_is_called_as_its_file_is(name: str) -> None:
    assert boards.board(name).name == name


@every_board
def test_every_part_of_the_ram_has_one_use_and_guests_get_what_is_left(name: str) -> None:
    board = boards.board(name)
    used = [*board.reserved, ("the guests", board.guest_ram)]
    assert all(board.ram.contains(place) for _, place in used)
    ordered = sorted(used, key=lambda each: each[1].start)
    assert not [(a, b) for (a, one), (b, other) in pairwise(ordered) if one.overlaps(other)]
    assert board.ram.contains(Range(board.loader, 1))
    assert board.guest_ram.start % (2 << 20) == 0


@every_board
def test_what_the_vmm_emulates_does_not_overlap(name: str) -> None:
    board = boards.board(name)
    slots = Range(board.virtio.base, 3 * board.virtio.stride)
    second = board.gic.cpu_interface if board.gic.version == 2 else board.gic.redistributors(board.cores)
    assert second is not None
    places = sorted([slots, board.early_console, board.gic.distributor, second], key=lambda each: each.start)
    assert not [one for one, other in pairwise(places) if one.overlaps(other)]
    assert not any(place.overlaps(board.ram) for place in places)
    assert board.earlycon.endswith(f"{board.early_console.start:#x}")


@every_board
def test_our_drivers_know_the_uart_and_the_timer_and_their_sources_are_there(name: str) -> None:
    board = boards.board(name)
    for source in (UART_DRIVERS[UartKind(board.uart.kind)], ALARMS[TimerKind(board.timer.kind)]):
        assert (ROOT / source).is_file()
    for irq in (board.uart.irq, board.timer.irq):
        assert 16 <= irq <= board.max_irq
        assert irq not in board.kernel_irqs


@every_board
def test_the_sources_of_the_device_tree_are_there(name: str) -> None:
    tree = boards.board(name).tree
    wanted = [tree.labels, tree.fragment] if isinstance(tree, KernelTree) else [tree]
    assert [
        source for source in wanted if source is not None and not (resources.folder("dts") / source).is_file()
    ] == []


@pytest.mark.parametrize("sdk", SDKS)
@every_board
def test_two_guests_without_devices_keep_every_invariant(name: str, sdk: str) -> None:
    assert violations(name, Passthrough(), sdk) == []


@every_board
def test_every_protection_domain_has_a_program(name: str) -> None:
    plan = plan_system(two_guests(name), boards.board(name), roles={"server": "server", "client": "client"})
    assert [program.name for program in programs(plan)] == [pd.name for pd in plan.pds]
    assert all((ROOT / source).is_file() for program in programs(plan) for source in program.sources)


@pytest.mark.packages
@every_board
def test_some_device_of_the_tree_can_be_passed_through_and_no_other_is_a_crash(name: str) -> None:
    tree = board_tree(boards.board(name))
    fine: list[str] = []
    refused: list[str] = []
    for node in passthrough_candidates(tree):
        try:
            found = violations(name, passthrough(dependency_closure(tree, [node], "server")))
        except DescriptionError as error:
            found = [str(error)]
        (refused if found else fine).append(node)
    assert fine, f"refused: {refused}"


def test_a_name_that_is_no_board_lists_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="no board 'toaster'") as caught:
        boards.board("toaster")
    assert all(name in str(caught.value.hint) for name in boards.names())
