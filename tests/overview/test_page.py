# SPDX-License-Identifier: BSD-2-Clause
"""The page of a run: complete, self-contained, and with nothing in it that a guest could act by."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from router.control.place import Claim
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.errors import MachineError
from router.overview.moment import Event, Looks
from router.overview.page import MAX_ROWS, RunPage
from router.overview.picture import Step, run_svg, ticks
from router.overview.record import MAX_POINTS, MAX_ROADS, Point, Record, rates
from router.overview.sample import Rate, Sample, Traffic
from tests.control.running import FakeSystem
from tests.overview.moments import DISK, NOW, ON_PORT, PORT, PORT_COUNTERS, moment, snapshot
from tests.report.test_report import Balanced

EVIL = "<script>alert(1)</script>\x1b[2J\u202e"


def timeline(*lines: str) -> Timeline:
    found = Timeline(out=io.StringIO())
    for line in lines:
        found.line("client", f"router: guest client: {line}")
    return found


def page_of(told: Timeline, path: Path | None = None) -> RunPage:
    page = RunPage(path, "desk", "split", told)
    page.record.add(moment(switch={"server": PORT_COUNTERS, "client": PORT_COUNTERS}))
    later = {**PORT_COUNTERS, "rx_bytes": 4_001_500, "drops": {"source-mac": 7}}
    page.record.add(moment(seconds=102.0, switch={"server": later, "client": PORT_COUNTERS}))
    return page


def well_formed(html: str) -> str:
    reader = Balanced()
    reader.feed(html)
    assert reader.wrong == []
    assert reader.open == []
    return html


def test_the_page_has_steps_rates_drops_devices_policy_and_time_line() -> None:
    page = page_of(timeline("userspace up", "attached 2-1 port 1"))
    html = well_formed(page.html([Step("boot", 0.0, 9.0), Step("client: true", 9.0, 1.0, "exit code 7")], ""))
    for part in (
        "1 of 2 steps went wrong",
        "exit code 7",
        "at most 2.00 MB/s",
        "source-mac 7",
        "server/2-1 → client port 1",
        "3.00 MB",
        "1.50 MB/s",
        "client → server",
        "tcp/3240",
        "device attached: 2-1 port 1",
    ):
        assert part in html, part


def test_what_the_switch_has_to_say_of_its_ports_has_a_column_only_if_there_is_something() -> None:
    page = page_of(timeline("userspace up"))
    assert ">NOW<" not in page.html([], "")
    gone = {**PORT_COUNTERS, "connected": False}
    page.record.add(moment(seconds=103.0, switch={"server": gone, "client": PORT_COUNTERS}))
    html = well_formed(page.html([], ""))
    assert ">NOW<" in html and "not connected" in html


def test_a_run_that_went_through_says_so_and_one_that_ended_early_says_why() -> None:
    page = page_of(timeline("userspace up"))
    assert "The run went through." in page.html([Step("boot", 0.0, 9.0)], "")
    html = well_formed(page.html([], "error: guest 'client' is gone\n  its console ended with:\n    <nothing>"))
    assert "The run ended early." in html
    assert "    &lt;nothing&gt;" in html
    assert "went through" not in html


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
    ],
)
def test_whatever_ends_a_run_early_is_on_its_page(tmp_path: Path, error: BaseException, words: str) -> None:
    page = page_of(timeline("userspace up"), tmp_path / "run.html")
    with pytest.raises(type(error)), page.writing(lambda: [Step("boot", 0.0, 9.0)]):
        raise error
    html = well_formed((tmp_path / "run.html").read_text())
    assert "The run ended early." in html and words in html
    assert "went through" not in html


def test_nothing_comes_from_elsewhere_and_no_script_could_run() -> None:
    html = page_of(timeline("userspace up")).html([Step("boot", 0.0, 9.0)], "")
    assert "default-src 'none'" in html
    assert re.findall(r"<(script|link|img|iframe|object|embed)\b", html) == []
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"|url\((?!#)|@import", html) == []


def test_whatever_guests_say_is_text() -> None:
    told = timeline(f"attached {EVIL}")
    page = RunPage(None, "desk", "split", told)
    device = replace(DISK, product=EVIL, holder=EVIL)
    odd = {EVIL: {**PORT_COUNTERS, "drops": {EVIL: 1}}}
    page.record.add(moment(usb=snapshot(device), switch=odd, looks={"client": Looks(trouble=EVIL)}))
    html = well_formed(page.html([Step(f"client: {EVIL}", 0.0, 1.0, EVIL)], EVIL))
    assert "<script>" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e") >= 6
    assert [char for char in html if not char.isprintable() and char not in "\n"] == []


def test_a_run_of_which_nothing_was_seen_has_its_time_line_only() -> None:
    html = well_formed(RunPage(None, "desk", "split", timeline("userspace up")).html([], "error: too late"))
    assert "user space up" in html
    assert 'id="devices"' not in html


def test_of_an_endless_time_line_the_end_is_kept_and_the_page_says_so() -> None:
    told = timeline()
    told.mute()
    for number in range(MAX_ROWS + 5):
        told.line("client", f"router: guest client: attached 1-1 port {number}")
    html = page_of(told).html([], "")
    assert "5 earlier events are in the logs only" in html
    rows = well_formed(html).partition('id="events"')[2]
    assert f"1-1 port {MAX_ROWS + 4}<" in rows
    assert "1-1 port 4<" not in rows and "1-1 port 5<" in rows
    assert html.count("<tr") < MAX_ROWS + 100


@pytest.mark.usefixtures("runtime_folder")
def test_a_served_system_is_watched_and_its_page_is_written_however_the_run_ends(tmp_path: Path) -> None:
    system = FakeSystem()
    system.counters = {"client": PORT_COUNTERS}
    page = RunPage(tmp_path / "run.html", "desk", "split", system.timeline)
    with pytest.raises(MachineError), page.writing(lambda: [Step("boot", 0.0, 1.0)]):
        with Claim("desk") as claim, ControlServer(claim, system, "split"), page.watching():
            pass
        raise MachineError("guest 'client' is gone")
    html = well_formed((tmp_path / "run.html").read_text())
    assert "guest &#39;client&#39; is gone" in html
    assert page.record.last is not None
    assert "path 1-2" in html or "port 1-2" in html


def test_without_a_path_nothing_is_watched_or_written(tmp_path: Path) -> None:
    page = RunPage(None, "desk", "split", timeline())
    with page.writing(list), page.watching():
        assert page.record.last is None
    assert list(tmp_path.iterdir()) == []


# What is kept


def test_rates_are_the_switchs_or_else_the_guests_own() -> None:
    first = moment(switch={"client": PORT_COUNTERS})
    later = moment(seconds=102.0, switch={"client": {**PORT_COUNTERS, "rx_bytes": 5500}, "new": PORT_COUNTERS})
    assert rates(first, later) == {"client": 2000.0}
    assert rates(None, first) == rates(first, first) == {}
    before, now = Sample(1.0, sent_bytes=10), Sample(3.0, sent_bytes=30)
    assert rates(None, moment(switch=None, looks={"client": Looks(before, now)})) == {"client": 10.0}


def test_a_road_keeps_what_went_over_it_after_the_device_has_gone() -> None:
    record = Record()
    record.add(moment())
    record.add(moment(usb=snapshot(ports=())))
    (road,) = record.roads.values()
    assert (road.urbs, road.disk) == (300, Traffic(30, 3_001_000, 5, 500, 60))
    assert road.peak == Rate(100.0, 1_500_000.0, 0.0)


def test_what_a_road_did_before_its_guest_said_what_is_attached_counts() -> None:
    record = Record()
    record.add(moment(usb=None))
    idle = {"client": Looks(NOW, replace(NOW, uptime=NOW.uptime + 1))}
    record.add(moment(looks=idle))
    (road,) = record.roads.values()
    assert road.peak == Rate(100.0, 1_500_000.0, 0.0)
    # What comes later under the same name there has a road of its own.
    record.add(moment(usb=snapshot(ports=())))
    record.add(moment(usb=snapshot(ports=(replace(PORT, device=replace(ON_PORT, busid="2-2")),)), looks=idle))
    assert [road.peak.read_bytes for road in record.roads.values()] == [1_500_000.0, 0.0]


def test_a_guest_that_claims_ever_new_devices_fills_no_memory() -> None:
    record = Record()
    for number in range(MAX_ROADS + 9):
        there = replace(ON_PORT, busid=f"1-{number}", busnum=9)
        record.add(moment(usb=snapshot(ports=(replace(PORT, device=there),))))
    assert len(record.roads) == MAX_ROADS


def test_a_long_run_has_a_bounded_number_of_points_and_keeps_its_bursts() -> None:
    record = Record()
    for number in range(5 * MAX_POINTS):
        sent = 5_000 if number == 1234 else 10
        looks = {"client": Looks(Sample(1.0), Sample(2.0, sent_bytes=sent))}
        record.add(moment(seconds=float(number), usb=None, switch=None, looks=looks))
    assert MAX_POINTS / 4 < len(record.points) <= MAX_POINTS
    assert max(point.sent["client"] for point in record.points) == 5_000.0
    assert record.points[-1].seconds == 5 * MAX_POINTS - 1


def test_the_picture_is_well_formed_and_nothing_lies_outside_it() -> None:
    points = [Point(float(n), {"client": n * 1e6, "server": 0.0}) for n in range(30)]
    happened = [Event(3.0, "client", "panic", EVIL), Event(99.0, "client", "attached", "late")]
    steps = [Step(f"client: {n}", n * 3.0, 40.0, "x" if n == 2 else "") for n in range(30)]
    root = ElementTree.fromstring(run_svg(["server", "client"], points, happened, steps, 30.0))
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    for box in root.findall("{http://www.w3.org/2000/svg}rect"):
        x, y = float(box.get("x", "0")), float(box.get("y", "0"))
        assert 0 <= x <= x + float(box.attrib["width"]) <= width
        assert 0 <= y <= y + float(box.attrib["height"]) <= height


@pytest.mark.parametrize("seconds", [1.0, 7.3, 95.0, 4000.0, 1e6])
def test_the_axis_has_a_few_round_numbers(seconds: float) -> None:
    found = ticks(seconds)
    assert 4 <= len(found) <= 12
    assert found[0] == 0
    assert found[-1] <= seconds
