# SPDX-License-Identifier: BSD-2-Clause
"""A system in stages: each is a smaller system that keeps every promise, and what it has is what its number says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from router.boards import board as board_of
from router.boards import names
from router.checks import check_plan
from router.description.load import find_description, load
from router.description.models import Description, image_names_of
from router.microkit.configuration import render_configuration
from router.microkit.programs import programs
from router.microkit.system import render_system
from router.plan.models import SystemPlan
from router.plan.stages import CLIENT, GUESTS, SERIAL, TIMER, WHOLE, first_client, first_steps, stage_description
from router.plan.system import plan_system
from router.report import report_html

ROLES = {"server": "server", "client": "client", "other": "none"}
TEXT = """
system: ladder
board: {board}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [usb@38100000], smc: [0xC2000000]}}
  client: {{image: usb-client, memory: 256 MiB, root: {{label: home}}}}
  other: {{image: usb-client, memory: 256 MiB}}
network:
  allow: [client -> server tcp/3240, client -> other icmp]
usb:
  - {{class: mass-storage, to: client}}
"""


@pytest.fixture
def description(tmp_path: Path) -> Description:
    return described("qemu", tmp_path)


def described(board: str, folder: Path) -> Description:
    path = folder / "ladder.yaml"
    path.write_text(TEXT.format(board=board))
    return load(path).description


def planned(description: Description, stage: int, sdk: str = "2.3.0") -> SystemPlan:
    smaller = stage_description(description, stage, ROLES)
    plan = plan_system(smaller, board_of(description.board), roles=ROLES, sdk=sdk)
    return first_steps(plan, timer=stage >= TIMER) if stage < CLIENT else plan


@pytest.mark.parametrize("stage", [SERIAL, TIMER, CLIENT, GUESTS])
@pytest.mark.parametrize("board", names())
def test_every_stage_of_every_board_keeps_all_promises(board: str, stage: int, tmp_path: Path) -> None:
    for sdk in ("2.0.1", "2.3.0"):
        description = described(board, tmp_path)
        if sdk == "2.0.1":  # which forwards no SMC calls, and a stage without devices needs none
            assert description.guests["server"].smc
        assert check_plan(planned(description, stage, sdk)) == ()


@pytest.mark.parametrize("board", names())
def test_the_first_stage_drives_the_serial_port_and_nothing_else(board: str, tmp_path: Path) -> None:
    plan = planned(described(board, tmp_path), SERIAL)
    uart = board_of(board).uart
    assert [pd.name for pd in plan.pds] == ["bringup"]
    assert [irq.number for irq in plan.pds[0].irqs] == [uart.irq]
    assert [region.physical for region in plan.regions] == [uart.registers]
    assert plan.channels == () and plan.guests == () and plan.vswitch.ports == () and plan.grants == ()


@pytest.mark.parametrize("board", names())
def test_the_second_stage_adds_the_timer_as_the_whole_system_has_it(board: str, tmp_path: Path) -> None:
    description = described(board, tmp_path)
    plan, whole = planned(description, TIMER), planned(description, WHOLE)
    timers = [pd for pd in whole.pds if pd.name in ("timer", "ticker")]
    assert [pd for pd in plan.pds if pd.name != "bringup"] == timers
    callers = {each.a.pd for each in plan.channels if each.a.pp and each.b.pd == "timer"}
    assert callers == {"bringup"}
    files = render_configuration(plan, {})
    assert set(files) == {f"{pd.name}.c" for pd in plan.pds}
    assert f".clients = {1 << 61:#x}ULL" in files["timer.c"]
    assert ".timer_channel = 61" in files["bringup.c"]


def test_the_third_stage_is_one_client_and_the_fourth_all_guests_without_devices(description: Description) -> None:
    third = stage_description(description, CLIENT, ROLES)
    assert list(third.guests) == ["client"] and third.usb == () and third.network.allow == ()
    fourth = stage_description(description, GUESTS, ROLES)
    assert list(fourth.guests) == list(description.guests)
    assert fourth.network == description.network
    assert [rule.source for rule in fourth.usb] == ["server"]
    assert [rule.model_copy(update={"source": None}) for rule in fourth.usb] == list(description.usb)
    for guest in (*third.guests.values(), *fourth.guests.values()):
        assert (guest.passthrough, guest.smc, guest.root) == ((), (), None)
    assert (third.system, fourth.system) == ("ladder-stage3", "ladder-stage4")


def test_a_disk_as_blocks_gives_the_fourth_stage_the_images_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "blocks.yaml"
    text = TEXT.format(board="qemu").replace(
        "class: mass-storage, to: client", "class: mass-storage, to: client, as: block"
    )
    path.write_text(text.replace("  allow: [client -> server tcp/3240, client -> other icmp]", "  mtu: 1500"))
    description = load(path).description
    whole = image_names_of(description)
    assert whole["server"] != "usb-server"
    assert image_names_of(stage_description(description, GUESTS, ROLES)) == whole


def test_the_last_stage_is_the_description_itself(description: Description) -> None:
    assert stage_description(description, WHOLE, ROLES) is description


def test_a_system_of_servers_alone_has_a_third_stage_too() -> None:
    assert first_client({"one": "server", "two": "server"}) == "one"
    assert first_client({"one": "server", "two": "none"}) == "two"


def test_the_third_stage_takes_an_image_of_ours_before_an_own_one() -> None:
    roles = {"server": "server", "own": "client", "other": "none", "ours": "client"}
    assert first_client(roles, {"own"}) == "ours"
    assert first_client(roles) == "own"
    assert first_client({"server": "server", "own": "client"}, {"own"}) == "server"
    assert first_client({"server": "server", "own": "client"}, {"own", "server"}) == "own"


@pytest.mark.parametrize("stage", [SERIAL, TIMER])
def test_stages_without_guests_have_a_system_file_a_report_and_programs(description: Description, stage: int) -> None:
    plan = planned(description, stage)
    assert render_system(plan).count("<protection_domain ") == len(plan.pds)
    assert "bringup" in report_html(plan)
    assert [program.name for program in programs(plan)] == [pd.name for pd in plan.pds]


def test_the_console_is_still_required_where_there_are_guests(description: Description) -> None:
    plan = planned(description, WHOLE)
    pds = tuple(dataclasses.replace(pd, name="bringup") if pd.name == "console" else pd for pd in plan.pds)
    assert "drivers-served" in {violation.invariant for violation in check_plan(plan.but(pds=pds))}


@pytest.mark.parametrize("name", ["maaxboard.yaml", "imx8mp_evk.yaml", "qemu.yaml"])
def test_shipped_descriptions_have_a_guest_for_the_third_stage(name: str) -> None:
    description = load(find_description(name)).description
    assert "client" in description.guests
