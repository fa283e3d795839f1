# SPDX-License-Identifier: BSD-2-Clause
"""Each invariant holds for a good plan, and one minimal change breaks exactly it, with exactly this message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from router.checks import INVARIANTS, Violation, check_plan
from router.checks.model import REGISTRY, invariant
from tests.checks.cases import BASES, CASES, Case, with_memory
from tests.checks.mutations import add_map, with_map, with_region, with_vswitch
from tests.support.systems import described, many, plan_of, shipped


def told(violation: Violation) -> str:
    """A violation as the golden files hold it."""
    place = ".".join(map(str, violation.subject)) if violation.subject else "nowhere in the description"
    hint = f"  hint: {violation.hint}\n" if violation.hint else ""
    return f"{violation.message}\n  at: {place}\n{hint}"


@pytest.mark.parametrize("base", BASES)
def test_a_good_plan_breaks_no_invariant(base: str) -> None:
    assert check_plan(BASES[base]()) == ()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_change_breaks_exactly_the_invariant_meant_for_it(
    case: Case, assert_golden: Callable[[str, str], None]
) -> None:
    found = check_plan(case.mutate(BASES[case.base]()))
    assert {each.invariant for each in found} == {case.name}
    assert_golden(f"violations/{case.name}.txt", "".join(told(each) for each in found))


def test_every_invariant_has_a_case() -> None:
    assert {case.name for case in CASES} == {each.name for each in INVARIANTS}


def test_a_guest_named_like_another_ones_domain_is_found_in_the_plan_too() -> None:
    image = {"image": "usb-client", "memory": "128 MiB"}
    plan = plan_of(described({"system": "g", "board": "qemu", "guests": {"a": image, "vmm_a": image}}))
    (found,) = check_plan(plan)
    assert (found.invariant, found.subject) == ("names-unique", ("guests", "vmm_a"))
    assert found.message == "a protection domain and a virtual machine are named 'vmm_a'"


def test_every_invariant_has_a_promise_in_one_line() -> None:
    assert len(INVARIANTS) >= 35
    for each in INVARIANTS:
        assert each.promise == each.promise.strip()
        assert 20 < len(each.promise) <= 120
        assert "\n" not in each.promise


def test_causes_are_checked_before_their_consequences() -> None:
    order = [each.name for each in INVARIANTS]
    for each in INVARIANTS:
        for cause in each.after:
            assert order.index(cause) < order.index(each.name), each.name


def test_two_invariants_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two invariants are named pages"):
        invariant("pages", "again")(REGISTRY["pages"].check)


def test_a_violation_names_the_place_in_the_description_and_what_to_write() -> None:
    (found,) = check_plan(plan_of(with_memory("1 GiB", "512 MiB")))
    assert found.subject == ("guests", "client", "memory")
    assert found.hint == "take 400 MiB away from one or several guests"
    (found,) = check_plan(plan_of(with_memory("3 MiB", "512 MiB")))
    assert found.subject == ("guests", "server", "memory")
    assert found.hint == "write 'memory: 4 MiB'"


def test_a_missing_way_for_usb_says_which_rule_to_add() -> None:
    plan = plan_of(shipped("qemu"))
    (found,) = check_plan(with_vswitch(plan, rules=plan.vswitch.rules[1:]))
    assert found.subject == ("network", "allow")
    assert found.hint == "add 'client -> server tcp/3240' to 'allow', or leave 'allow' out: the USB rules bring theirs"


def test_an_image_that_nobody_fills_or_that_is_filled_twice_is_told() -> None:
    new, old = BASES["two"](), BASES["old"]()
    assert [str(each) for each in check_plan(with_region(new, "Image", payload=None))] == [
        "payloads-filled: 'Image' is an image, and no file is named that fills it"
    ]
    assert [each.message for each in check_plan(add_map(new, "timer", "Image", "rw"))] == [
        "'Image' is filled at build time, and protection domain 'timer' can write it"
    ]
    assert [each.message for each in check_plan(with_map(old, "images", "Image", perms="r"))] == [
        "SDK 2.0.1 cannot fill 'Image' at build time, and no domain writes it"
    ]


def test_images_that_are_filled_at_boot_are_read_on_the_core_that_fills_them() -> None:
    fields = {
        "system": "cores",
        "board": "qemu",
        "microkit": {"sdk": "2.1.0", "config": "smp-release"},
        "guests": {"one": {"image": "usb-client", "cpu": 1}},
    }
    found = check_plan(plan_of(described(fields)))
    assert {each.invariant for each in found} == {"payloads-filled"}
    assert found[0].message == (
        "protection domain 'vmm_one' (core 1) may read 'Image' before protection domain 'images' (core 0) has filled"
        " it: priorities order one core only"
    )
    assert found[0].subject == ("guests", "one", "cpu")
    fields["microkit"] = {"sdk": "2.2.0", "config": "smp-release"}
    assert check_plan(plan_of(described(fields))) == ()


@pytest.mark.parametrize(
    ("guests", "memory", "placed"), [(24, "32 MiB", True), (25, "32 MiB", False), (28, "2 MiB", True)]
)
def test_the_oldest_sdk_needs_one_free_piece_for_all_large_pages(guests: int, memory: str, placed: bool) -> None:
    """The tool of SDK 2.0.1 was seen to take the first and the last of these systems, and to refuse the second."""
    found = {each.invariant for each in check_plan(plan_of(many(guests, memory=memory), "2.0.1"))}
    assert found == (set() if placed else {"sdk-one-block"})
    assert check_plan(plan_of(many(guests, memory=memory), "2.1.0")) == ()
