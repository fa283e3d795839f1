# SPDX-License-Identifier: BSD-2-Clause
"""The same input gives the same bytes, a new guest moves nobody, and thirty guests take less than a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.checks import check_plan
from router.microkit.system import render_system
from router.plan.models import SystemPlan
from router.report import plan_json, report_html
from tests.support.patience import PATIENCE
from tests.support.systems import NAMES, SDKS, described, many, plan_of, shipped

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, sys
sys.path.insert(0, {root!r})
from tests.support.systems import many, plan_of, shipped
from router.microkit.system import render_system
from router.report import plan_json, report_html
for plan in (plan_of(shipped("qemu")), plan_of(shipped("maaxboard"), "2.0.1"), plan_of(many(12))):
    for make in (render_system, plan_json, report_html):
        print(hashlib.sha256(make(plan).encode()).hexdigest())
"""


def test_hash_randomisation_changes_no_byte() -> None:
    outputs = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(root=str(ROOT))],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=2 * PATIENCE,
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().split()) == 9


@pytest.mark.parametrize("make", [render_system, plan_json, report_html])
def test_a_second_run_gives_the_same_text(make: Callable[[SystemPlan], str]) -> None:
    assert make(plan_of(many(8))) == make(plan_of(many(8)))


@pytest.mark.parametrize("sdk", SDKS)
def test_a_guest_that_is_appended_leaves_the_others_as_they_were(sdk: str) -> None:
    small, large = plan_of(many(7), sdk), plan_of(many(8), sdk)
    for before in small.guests:
        after = large.guest(before.name)
        assert (after.ram, after.mac, after.address, after.index, after.virtio) == (
            before.ram,
            before.mac,
            before.address,
            before.index,
            before.virtio,
        )
    ends = {end for channel in large.channels for end in channel.ends}
    assert {end for channel in small.channels for end in channel.ends} <= ends
    for region in small.regions:
        assert large.region(region.name).phys_addr == region.phys_addr


def test_a_guest_that_is_appended_moves_no_map_of_the_others() -> None:
    small, large = plan_of(many(7)), plan_of(many(8))
    for pd in small.pds:
        grown = next(each for each in large.pds if each.name == pd.name)
        assert grown.priority == pd.priority
        assert {(each.region, each.vaddr) for each in pd.maps} <= {(each.region, each.vaddr) for each in grown.maps}
        if pd.vm is not None:
            assert grown.vm == pd.vm


def test_thirty_guests_are_planned_checked_and_rendered_within_a_second() -> None:
    description = many(30)
    took = []
    for _ in range(5):
        start = time.process_time()
        plan = plan_of(description)
        violations = check_plan(plan)
        text = render_system(plan)
        took.append(time.process_time() - start)
        assert violations == ()
        assert text.count("<virtual_machine ") == 30
    assert min(took) < 1.0, took


def test_the_shipped_descriptions_plan_without_a_violation_for_every_sdk() -> None:
    for name in NAMES:
        for sdk in SDKS:
            assert check_plan(plan_of(shipped(name), sdk)) == ()


def with_addresses(*asked: str | None) -> SystemPlan:
    """Guests a, b, c… that ask for these addresses, or for none."""
    guests = {
        name: {"image": "usb-client", "memory": "32 MiB", **({"address": address} if address else {})}
        for name, address in zip("abcdefgh", asked, strict=False)
    }
    return plan_of(described({"system": "asking", "board": "qemu", "guests": guests}))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((None, None), ("10.77.0.2", "10.77.0.3")),
        (("10.77.0.3", None, None), ("10.77.0.3", "10.77.0.4", "10.77.0.5")),
        ((None, "10.77.0.99", None), ("10.77.0.2", "10.77.0.99", "10.77.0.4")),
    ],
)
def test_addresses_are_those_asked_for_or_the_next_free_ones(
    asked: tuple[str | None, ...], given: tuple[str, ...]
) -> None:
    plan = with_addresses(*asked)
    assert tuple(str(guest.address) for guest in plan.guests) == given
    assert check_plan(plan) == ()


def test_a_guest_that_asks_for_a_taken_address_moves_nobody_and_is_told() -> None:
    plan = with_addresses(None, None, "10.77.0.2")
    assert [str(guest.address) for guest in plan.guests] == ["10.77.0.2", "10.77.0.3", "10.77.0.2"]
    (found,) = check_plan(plan)
    assert found.invariant == "address-unique"
    assert found.subject == ("guests", "c", "address")
    assert found.hint == "write an 'address' for 'c' that no guest before it has"


def test_what_a_description_tells_a_kernel_wins() -> None:
    """Linux takes the last of two arguments with one name."""
    guest = {"image": "usb-client", "memory": "32 MiB"}
    loud = {**guest, "bootargs": "loglevel=7"}
    plan = plan_of(described({"system": "asking", "board": "qemu", "guests": {"a": guest, "b": loud}}))
    levels = [[word for word in each.bootargs.split() if word.startswith("loglevel=")][-1] for each in plan.guests]
    assert levels == ["loglevel=6", "loglevel=7"]


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ("quiet nokpti=1 hugetlb_cma=2M", ["kpti=off", "cma=8M"]),
        ("kpti=on quiet", ["cma=8M", "kpti=on"]),
        ("cma=64M", ["kpti=off", "cma=64M"]),
    ],
)
def test_what_a_guest_names_itself_is_not_given_to_it(own: str, used: list[str]) -> None:
    """Isolation of page tables, and memory kept for contiguous buffers."""
    guest = {"image": "usb-client", "memory": "32 MiB", "bootargs": own}
    plan = plan_of(described({"system": "asking", "board": "qemu", "guests": {"a": guest}}))
    assert [word for word in plan.guests[0].bootargs.split() if word.startswith(("kpti=", "cma="))] == used
