# SPDX-License-Identifier: BSD-2-Clause
"""What an image gives is read from its capabilities, and every right too many is found."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from router.errors import HostError
from router.isolation.compare import Difference, IsolationError, differences
from router.isolation.facts import MONITOR, Fact, Kind
from router.isolation.image import image_facts, mappings
from router.microkit.capdl import parse_specification
from tests.isolation import planted
from tests.isolation.small import SYSTEM, wanted, write


def facts(spec: dict[str, Any]) -> tuple[Fact, ...]:
    return image_facts(parse_specification(json.dumps(spec)))


def test_an_image_as_described_gives_what_the_description_says() -> None:
    assert facts(write()) == wanted()


def test_facts_say_who_holds_what_and_how() -> None:
    said = {(each.holder, each.what): each.how for each in facts(write())}
    assert said["guest linux", "memory ram"] == "rwx, 4 MiB at 0x40000000, physical 0x40000000"
    assert said["driver", "memory regs"] == "rw uncached, 4 KiB at 0x1000000, physical 0x9000000"
    assert said["vmm", "memory kernel"] == "r, 8 KiB at 0x1300000"
    assert said["vmm", "notifies by channel 1"] == "notification, driver, badge 0x4, read write"
    assert said["vmm", "calls by channel 1"] == "endpoint, driver, badge 0x8000000000000002, read write grant"
    assert said["driver", "interrupt on channel 3"] == "interrupt 40, edge, core 0, badge 0x8"
    assert said["vmm", "runs as"] == "priority 100, core 0, 500 of 2000 us, starts at boot"
    assert said["guest linux", "runs as vCPU 0"] == "priority 50, core 0, 1000 of 1000 us, starts when told"
    assert said["guest linux", "faults go to vCPU 0"] == "endpoint, vmm, badge 0x4000000000000000, read write grant"
    assert said["spare", "SMC"] == "every call"
    assert said["spare", "own memory program at 0x200000"] == "rx, 8 KiB"
    assert said[MONITOR, "thread capability of vCPU 0 of guest linux"] == "thread, vCPU 0 of guest linux"
    assert not [each for each in said if each[0] == "guest linux" and each[1].startswith(Kind.OTHER)]


def test_regions_are_shared_by_the_domains_that_map_their_frames() -> None:
    seen = {(holder, each.region) for holder, each in mappings(parse_specification(json.dumps(write())))}
    assert seen == {
        *(("driver", "regs"), ("driver", "ring"), ("driver", "log")),
        *(("vmm", "ram"), ("vmm", "ring"), ("vmm", "log"), ("vmm", "kernel"), ("guest linux", "ram")),
    }


@pytest.mark.parametrize("name", planted.FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    spec = write()
    whole = copy.deepcopy(spec)
    planted.FAULTS[name](spec)
    assert spec != whole, "the fault changes the specification"
    found = differences(facts(spec), wanted(), wanted())
    assert found, name
    assert all(each.image != each.text == each.plan for each in found)


def test_a_difference_names_both_sides() -> None:
    spec = write()
    planted.a_write_right(spec)
    (found,) = differences(facts(spec), wanted(), wanted())
    assert str(found) == (
        "vmm, memory log: the image: rw, 4 KiB at 0x1200000; the .system text and the plan: r, 4 KiB at 0x1200000"
    )
    spec = write()
    planted.smc(spec)
    (found,) = differences(facts(spec), wanted(), wanted())
    assert str(found) == "vmm, SMC: the image: every call; the .system text and the plan: nothing"


def test_a_text_that_is_not_the_plans_is_found_too() -> None:
    meant = wanted(SYSTEM.replace('mr="log" vaddr="0x1200000" perms="r"', 'mr="log" vaddr="0x1200000" perms="rw"'))
    (found,) = differences(facts(write()), wanted(), meant)
    assert str(found) == (
        "vmm, memory log: the image: r, 4 KiB at 0x1200000; the .system text: r, 4 KiB at 0x1200000; "
        "the plan: rw, 4 KiB at 0x1200000"
    )


def test_an_image_has_exactly_as_many_capabilities_as_described() -> None:
    more = (*facts(write()), facts(write())[0])
    assert len(differences(more, wanted(), wanted())) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('priority="100"', 'priority="101"'),
        ('budget="500"', 'budget="400"'),
        ('perms="rwx"', 'perms="rw"'),
        ('cached="false"', 'cached="true"'),
        ('phys_addr="0x9000000"', 'phys_addr="0x9001000"'),
        ('size="0x2000"', 'size="0x3000"'),
        ('irq="40"', 'irq="41"'),
        ('id="3" trigger="edge"', 'id="3"'),
        ('pp="true"', 'pp="false"'),
        ('notify="false"', 'notify="true"'),
        ('smc="true"', 'smc="false"'),
        ('<vcpu id="0" />', '<vcpu id="0" cpu="1" />'),
        ('name="spare" smc', 'name="spare" stack_size="0x4000" smc'),
        ('<end pd="driver" id="2"', '<end pd="driver" id="5"'),
    ],
)
def test_whatever_a_description_says_else_the_image_differs(old: str, new: str) -> None:
    assert old in SYSTEM
    said = wanted(SYSTEM.replace(old, new))
    assert differences(facts(write()), said, said)


def test_an_image_that_gives_other_rights_is_a_fault_of_ours() -> None:
    error = IsolationError([Difference("vmm", "SMC", ("every call",), (), ()) for _ in range(30)])
    assert error.exit_code == 1
    assert error.message.startswith("the capabilities of the image are not those of its description, in 30 places\n")
    assert error.message.count("vmm, SMC: the image: every call; the .system text and the plan: nothing") == 20
    assert error.message.endswith("and 10 more")


def test_page_tables_that_do_not_fit_are_refused() -> None:
    spec = write()
    table = planted.fields(spec["objects"][planted.find(spec, "pud_spare")])
    table["slots"][0]["cap"]["PageTable"]["object"] = planted.find(spec, "pud_driver")
    with pytest.raises(HostError, match="holds 'pud_driver', which does not fit there"):
        facts(spec)
