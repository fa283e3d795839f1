# SPDX-License-Identifier: BSD-2-Clause
"""Reports: well-formed, self-contained, the same for the same plan, and with everything in them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from router.boards.model import Range
from router.checks import INVARIANTS
from router.plan.models import SystemPlan
from router.report import memory_svg, plan_json, report_html, topology_svg
from router.report.drawing import fit, rounded
from router.report.memory import ram_parts
from router.report.plan import plain
from tests.support.systems import described, many, plan_of, shipped

PLANS = {
    "qemu": lambda: plan_of(shipped("qemu")),
    "maaxboard": lambda: plan_of(shipped("maaxboard"), "2.0.1"),
    "thirty": lambda: plan_of(many(30)),
    "lonely": lambda: plan_of(described({"system": "one", "board": "qemu", "guests": {"a": {"image": "usb-client"}}})),
}


@pytest.fixture(params=PLANS)
def plan(request: pytest.FixtureRequest) -> SystemPlan:
    made: SystemPlan = PLANS[request.param]()
    return made


class Balanced(HTMLParser):
    """Complains about elements that are not closed in order."""

    VOID = frozenset({"meta", "br", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_pictures_are_well_formed_svg(plan: SystemPlan) -> None:
    for picture in (topology_svg(plan), memory_svg(plan)):
        root = ElementTree.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
        assert width > 500
        assert height > 200


def test_nothing_of_a_picture_lies_outside_it(plan: SystemPlan) -> None:
    for picture in (topology_svg(plan), memory_svg(plan)):
        root = ElementTree.fromstring(picture)
        width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
        boxes = root.findall("{http://www.w3.org/2000/svg}rect")
        assert len(boxes) > 5
        for box in boxes:
            x, y = float(box.get("x", "0")), float(box.get("y", "0"))
            assert x >= 0
            assert y >= 0
            assert x + float(box.attrib["width"]) <= width
            assert y + float(box.attrib["height"]) <= height


def test_the_topology_names_every_guest_that_it_has_room_for_and_counts_the_others() -> None:
    picture = topology_svg(plan_of(many(30)))
    assert ">server<" in picture
    assert ">client4<" in picture
    assert ">25 more guests<" in picture
    assert topology_svg(plan_of(many(6))).count('class="head guesttext"') == 6


def test_the_way_of_a_usb_device_leads_to_each_client_that_gets_one() -> None:
    picture = topology_svg(plan_of(many(4)))
    lines = re.findall(r'<path class="usb" d="[^"]*" marker-end', picture)
    assert len(lines) == 1 + 3


def test_a_system_without_grants_shows_no_way() -> None:
    assert "marker-end" not in topology_svg(PLANS["lonely"]())


def test_the_memory_map_covers_the_whole_ram_without_gaps(plan: SystemPlan) -> None:
    parts = ram_parts(plan)
    assert parts[0].range.start == plan.board.ram.start
    assert parts[-1].range.end == plan.board.ram.end
    for first, second in pairwise(parts):
        assert first.range.end == second.range.start


def test_the_page_is_balanced_and_needs_nothing_from_elsewhere(plan: SystemPlan) -> None:
    page = report_html(plan)
    parser = Balanced()
    parser.feed(page)
    assert (parser.wrong, parser.open) == ([], [])
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert set(re.findall(r"https?://[^\s\"<]+", page)) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in page


def test_the_page_has_light_and_dark_colours_and_every_part(plan: SystemPlan) -> None:
    page = report_html(plan)
    assert page.count("prefers-color-scheme:dark") == 4
    for guest in plan.guests:
        assert f"<strong>{guest.name}</strong>" in page
    for region in plan.regions:
        assert f'<td class="mono">{region.name}</td>' in page
    for each in INVARIANTS:
        assert f'<td class="holds">{each.name}</td>' in page
    for note in plan.notes:
        assert note.replace("'", "&#39;") in page


def test_a_broken_invariant_is_marked() -> None:
    page = report_html(plan_of(shipped("qemu")).but(notes=()))
    assert '<td class="broken">dma-is-said</td>' in page
    assert f"{len(INVARIANTS) - 1} of {len(INVARIANTS)} hold." in page


def test_what_a_user_wrote_cannot_become_markup() -> None:
    fields = {"system": "x", "board": "qemu", "guests": {"a": {"image": "usb-client", "bootargs": "<b>&amp;"}}}
    page = report_html(plan_of(described(fields)))
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;amp;" in page


def test_the_plan_as_json_holds_every_decision(plan: SystemPlan) -> None:
    found = json.loads(plan_json(plan))
    assert found["format"] == 1
    assert found["plan"]["sdk"] == plan.sdk
    assert [each["name"] for each in found["plan"]["pds"]] == [pd.name for pd in plan.pds]
    assert found["plan"]["guests"][0]["ram"] == {"start": plan.guests[0].ram.start, "size": plan.guests[0].ram.size}
    assert found["plan"]["vswitch"]["subnet"] == "10.77.0.0/24"


def test_a_value_without_a_json_form_is_refused() -> None:
    assert plain((Range(1, 2), None, True)) == [{"start": 1, "size": 2}, None, True]
    with pytest.raises(TypeError, match="no JSON form"):
        plain(object())


def test_texts_are_cut_where_they_would_not_fit() -> None:
    assert fit("short", 100, 13) == "short"
    assert fit("a rather long text", 60, 13) == "a rathe…"


def test_corners_are_rounded_and_short_edges_only_half_way() -> None:
    assert rounded([(0, 0), (0, 100), (4, 100)], 10) == "M0 0L0 90Q0 100 2 100L4 100"
