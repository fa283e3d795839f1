# SPDX-License-Identifier: BSD-2-Clause
"""What a kernel lets guests do to each other is said wherever a system is shown; the default configuration isolates."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from router.description.models import Microkit
from router.microkit.system import render_system
from router.plan.notes import kernel_notes, port_notes
from router.report import plan_json, report_html
from router.report.isolation import isolation_json, parse_isolation
from tests.support.systems import SDKS, described, plan_of, shipped

TWO = {"client": {"image": "usb-client"}, "other": {"image": "usb-client"}}


def test_a_description_that_names_no_configuration_gets_a_release_kernel() -> None:
    assert Microkit().config == "release"
    assert plan_of(described({"system": "two", "board": "qemu", "guests": TWO})).config == "release"


@pytest.mark.parametrize("config", ["debug", "benchmark", "smp-debug", "smp-benchmark"])
def test_a_kernel_with_debug_calls_is_said_to_let_any_guest_stop_the_machine(config: str) -> None:
    first = kernel_notes(config, "2.3.0")[0]
    assert first.startswith(f"configuration '{config}': any guest can stop the whole machine and forge lines")
    assert "write 'config: release'" in first


def test_the_newest_sdk_with_a_release_kernel_has_nothing_to_say() -> None:
    assert kernel_notes("release", "2.3.0") == ()


def test_several_cores_are_said_to_leave_the_debug_registers_open() -> None:
    assert [note for note in kernel_notes("smp-release", "2.3.0") if "debug registers on core 0 only" in note]


@pytest.mark.parametrize("sdk", SDKS)
def test_an_sdk_before_2_3_0_is_said_to_leak_a_register_and_to_lose_notifications(sdk: str) -> None:
    notes = kernel_notes("release", sdk)
    old = sdk != "2.3.0"
    assert any("PAR_EL1" in note and "seL4 16.0.0" in note for note in notes) == old
    assert any("deferred notification" in note and "Microkit 2.3.0" in note for note in notes) == old


def test_every_way_to_show_a_system_has_all_its_notes() -> None:
    description = shipped("qemu")
    debug = description.model_copy(update={"microkit": Microkit.model_validate({"config": "debug"})})
    plan = plan_of(debug, "2.1.0")
    assert set(kernel_notes("debug", "2.1.0")) < set(plan.notes)
    system = render_system(plan)
    texts = [system, report_html(plan), plan_json(plan), isolation_json(parse_isolation(system), plan.notes)]
    for words in ("any guest can stop the whole machine", "PAR_EL1", "deferred notification", "by DMA"):
        assert all(words in text for text in texts), words
    assert json.loads(texts[3])["notes"] == list(plan.notes)


def test_a_port_by_its_bus_number_is_said_to_be_ambiguous_where_a_guest_has_two_controllers() -> None:
    plan = plan_of(shipped("maaxboard"))
    assert not [note for note in plan.notes if "usb rule" in note], "the shipped rule names the controller"
    by_bus = (replace(plan.grants[-1], path="1-1.2"),)
    assert port_notes(plan.guests, by_bus) == (
        "usb rule 'path: 1-1.2': which of the 2 controllers of 'server' has bus 1 depends on which one starts first;"
        " write usb@38100000/1.2 or usb@38200000/1.2",
    )
    one = plan_of(shipped("qemu"))
    assert port_notes(one.guests, (replace(one.grants[0], path="1-1"),)) == ()
