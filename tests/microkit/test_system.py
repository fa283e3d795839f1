# SPDX-License-Identifier: BSD-2-Clause
"""The .system file: what Microkit's tool reads, for every shipped description and every SDK version."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace

import pytest

from router.microkit.configuration import vswitch_source
from router.microkit.system import render_system
from router.templates import comment
from router.vswitch import switch_config
from tests.support.systems import NAMES, SDKS, described, many, plan_of, shipped

ATTRIBUTES = {
    # What the manual of 2.0.1 lists, and what later versions add to it.
    "2.0.1": {
        "memory_region": {"name", "size", "page_size", "phys_addr"},
        "protection_domain": {"name", "priority", "budget", "period", "passive", "stack_size"},
        "map": {"mr", "vaddr", "perms", "cached", "setvar_vaddr", "setvar_size"},
        "irq": {"irq", "id", "trigger"},
        "virtual_machine": {"name", "budget", "period", "priority"},
        "vcpu": {"id"},
        "end": {"pd", "id", "pp", "notify"},
        "program_image": {"path"},
        "channel": set(),
        "system": set(),
    },
    "2.1.0": {"protection_domain": {"cpu", "smc"}, "vcpu": {"cpu"}, "irq": {"setvar_id"}, "end": {"setvar_id"}},
    "2.2.0": {"memory_region": {"prefill_path"}, "map": {"setvar_prefill_size"}, "program_image": {"path_for_symbols"}},
    "2.3.0": {"protection_domain": {"fpu", "domain"}},
}


def offered(sdk: str) -> dict[str, set[str]]:
    """The attributes that an SDK version has, by element."""
    found = {name: set(attributes) for name, attributes in ATTRIBUTES["2.0.1"].items()}
    for version in SDKS[1 : SDKS.index(sdk) + 1]:
        for name, attributes in ATTRIBUTES[version].items():
            found[name] |= attributes
    return found


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("name", NAMES)
def test_the_system_file_of_a_shipped_description_is_as_it_was(
    name: str, sdk: str, assert_golden: Callable[[str, str], None]
) -> None:
    assert_golden(f"system/{name}-{sdk}.system", render_system(plan_of(shipped(name), sdk)))


@pytest.mark.parametrize("sdk", SDKS)
@pytest.mark.parametrize("name", NAMES)
def test_only_what_the_sdk_version_offers_is_used(name: str, sdk: str) -> None:
    system = ElementTree.fromstring(render_system(plan_of(shipped(name), sdk)))
    known = offered(sdk)
    for element in system.iter():
        assert set(element.attrib) <= known[element.tag], element.tag


@pytest.mark.parametrize("sdk", SDKS)
def test_cores_are_named_only_where_the_sdk_and_the_configuration_have_them(sdk: str) -> None:
    for config in ("release", "smp-release"):
        description = described(
            {
                "system": "cores",
                "board": "qemu",
                "microkit": {"sdk": sdk, "config": config},
                "guests": {"one": {"image": "usb-client", "cpu": 2, "vcpus": 2}},
            }
        )
        text = render_system(plan_of(description))
        assert (text.count('cpu="2"') == 3) == (sdk != "2.0.1" and config == "smp-release")


def smp_cores(sdk: str, guests: int, **wishes: int) -> dict[str, set[int | None]]:
    """The cores of each VMM and its vCPUs."""
    fields: dict[str, dict[str, object]] = {f"g{n}": {"image": "usb-client", "vcpus": 2} for n in range(guests)}
    for name, core in wishes.items():
        fields[name]["cpu"] = core
    microkit = {"sdk": sdk, "config": "smp-debug"}
    plan = plan_of(described({"system": "cores", "board": "qemu", "microkit": microkit, "guests": fields}))
    return {pd.vm.name: {pd.cpu, *(vcpu.cpu for vcpu in pd.vm.vcpus)} for pd in plan.pds if pd.vm is not None}


def test_with_several_cores_guests_take_turns_and_a_new_guest_moves_nobody() -> None:
    five = smp_cores("2.3.0", 5)
    assert five == {"g0": {1}, "g1": {2}, "g2": {3}, "g3": {0}, "g4": {1}}
    assert smp_cores("2.3.0", 3) == {name: five[name] for name in ("g0", "g1", "g2")}
    assert smp_cores("2.3.0", 3, g1=3) == {"g0": {1}, "g1": {3}, "g2": {3}}
    # Where a domain fills the images first, all stay on its core.
    assert smp_cores("2.1.0", 3) == {"g0": {0}, "g1": {0}, "g2": {0}}


def test_images_are_filled_at_build_time_from_2_2_on_and_by_a_domain_before() -> None:
    old = ElementTree.fromstring(render_system(plan_of(shipped("qemu"), "2.1.0")))
    new = ElementTree.fromstring(render_system(plan_of(shipped("qemu"), "2.2.0")))
    assert old.find("protection_domain[@name='images']") is not None
    assert not old.findall("memory_region[@prefill_path]")
    assert new.find("protection_domain[@name='images']") is None
    assert {each.attrib["prefill_path"] for each in new.findall("memory_region[@prefill_path]")} == {
        "images/Image",
        "images/usb-server.initramfs",
        "images/usb-client.initramfs",
        "guests/server/overlay.initramfs",
        "guests/server/guest.dtb",
        "guests/client/overlay.initramfs",
        "guests/client/guest.dtb",
    }


@pytest.mark.parametrize("sdk", SDKS)
def test_numbers_that_the_tool_reads_as_decimal_are_decimal(sdk: str) -> None:
    system = ElementTree.fromstring(render_system(plan_of(shipped("maaxboard"), sdk)))
    texts = [
        each.attrib[key]
        for tag, key in (("irq", "irq"), ("irq", "id"), ("vcpu", "id"), ("end", "id"))
        for each in system.iter(tag)
    ]
    assert len(texts) > 10
    assert all(text.isdecimal() for text in texts)


def test_everything_of_the_plan_is_in_the_file() -> None:
    plan = plan_of(many(5))
    system = ElementTree.fromstring(render_system(plan))
    assert [each.attrib["name"] for each in system.findall("protection_domain")] == [pd.name for pd in plan.pds]
    assert {each.attrib["name"] for each in system.findall("memory_region")} == {each.name for each in plan.regions}
    assert len(system.findall("channel")) == len(plan.channels)
    assert len(list(system.iter("map"))) == sum(len(pd.maps) + (len(pd.vm.maps) if pd.vm else 0) for pd in plan.pds)


def test_smc_calls_are_asked_for_where_a_guest_does_and_the_sdk_can() -> None:
    fields = {"system": "calls", "board": "maaxboard", "guests": {"one": {"image": "usb-client", "smc": [0xC2000000]}}}
    description = described(fields)
    assert render_system(plan_of(description, "2.1.0")).count('smc="true"') == 1
    assert "smc=" not in render_system(plan_of(description, "2.0.1"))


def test_a_comment_never_ends_early() -> None:
    assert comment("a --> b ---") == "a -> b "


def test_the_frame_limit_is_the_same_on_sel4_and_in_split_runs() -> None:
    plan = plan_of(many(2))
    plan = replace(plan, vswitch=replace(plan.vswitch, mtu=1280))
    assert switch_config(plan.vswitch).frame_max == plan.vswitch.frame_max == 1294
    assert ".frame_max = 1294," in vswitch_source(plan)
