# SPDX-License-Identifier: BSD-2-Clause
"""Console lines become milestones, and milestones a time line for people or for programs."""

from __future__ import annotations

import io
import json
import threading

import pytest

from router.control.milestones import match
from router.control.timeline import Timeline


@pytest.mark.parametrize(
    ("line", "name", "detail"),
    [
        ("[    0.000000] Linux version 6.1.0-56-arm64 (debian)", "kernel", "6.1.0-56-arm64"),
        ("[    1.3] router: guest server: userspace up", "userspace", ""),
        ("[    3.5] router: guest server: usbipd listening 10.77.0.2:3240", "listening", "10.77.0.2:3240"),
        ("[    3.5] router: guest client: attached 2-1 port 1", "attached", "2-1 port 1"),
        ("[    9.9] Kernel panic - not syncing: VFS: no root", "panic", "VFS: no root"),
        (
            "[    4.1] router: guest server: unhardened: the root stays writable",
            "unhardened",
            "the root stays writable",
        ),
        ("vmm client: the guest is started again in 4 s", "delayed", "4"),
    ],
)
def test_a_line_tells_its_milestone(line: str, name: str, detail: str) -> None:
    found = match(line)
    assert found is not None
    assert (found[0].name, found[1]) == (name, detail)


def test_other_lines_tell_nothing() -> None:
    assert match("[    1.0] usb 1-1: new high-speed USB device") is None


def test_the_time_line_counts_from_the_start() -> None:
    times = iter([100.0, 102.5])
    out = io.StringIO()
    timeline = Timeline(out=out, clock=lambda: next(times))
    timeline.line("client", "router: guest client: userspace up")
    assert out.getvalue() == "   2.50 s  client     user space up\n"
    assert [event.name for event in timeline.seen("client", "userspace")] == ["userspace"]
    assert timeline.seen("server", "userspace") == []


def test_a_guest_that_is_not_as_its_description_asks_is_a_warning() -> None:
    times = iter([0.0, 1.0])
    out = io.StringIO()
    Timeline(out=out, clock=lambda: next(times)).line("a", "router: guest a: unhardened: the root stays writable")
    assert out.getvalue() == "   1.00 s  a          warning: not hardened: the root stays writable\n"


def test_events_are_json_for_programs() -> None:
    times = iter([0.0, 1.0])
    out = io.StringIO()
    Timeline(as_json=True, out=out, clock=lambda: next(times)).line("a", "router: guest a: attached 1-1 port 2")
    assert json.loads(out.getvalue()) == {"seconds": 1.0, "guest": "a", "event": "attached", "detail": "1-1 port 2"}


def test_a_muted_time_line_still_notes() -> None:
    out = io.StringIO()
    timeline = Timeline(out=out)
    timeline.mute()
    timeline.line("a", "router: guest a: userspace up")
    assert out.getvalue() == ""
    assert timeline.seen("a", "userspace")


def test_who_waits_for_news_gets_them_from_any_thread() -> None:
    timeline = Timeline()
    timeline.mute()
    timeline.line("a", "router: guest a: userspace up")
    assert [event.name for event in timeline.wait(0, 0)] == ["userspace"]
    assert timeline.wait(1, 0.01) == []
    later = threading.Timer(0.05, timeline.line, ("a", "router: guest a: withdrawn 1-1 0627:0001"))
    later.start()
    assert [(event.name, event.detail) for event in timeline.wait(1, 5)] == [("withdrawn", "1-1 0627:0001")]
    later.join()
