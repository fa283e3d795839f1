# SPDX-License-Identifier: BSD-2-Clause
"""The JUnit report of `router run --junit`: what went wrong is in it, whatever the guests said."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.errors import DescriptionError, MachineError
from router.machines.qemu.junit import MAX_OUTPUT_CHARACTERS, Case, JunitReport
from router.machines.qemu.session import GuestCommand, RunOptions


def timeline() -> Timeline:
    seconds = iter((0.0, 1.5, 2.5, 9.0))
    found = Timeline(out=io.StringIO(), clock=lambda: next(seconds))
    for line in ("userspace up", "attached 1-1 port 1", "attached 1-2 port 2"):
        found.line("client", f"router: guest client: {line}")
    return found


def test_a_report_has_the_boot_the_commands_and_the_milestones(tmp_path: Path) -> None:
    log = tmp_path / "client.console.log"
    report = JunitReport(tmp_path / "report.xml", "demo")
    with report.writing(timeline(), lambda: [log]):
        with report.case("boot"):
            pass
        with report.case("client: true"):
            pass
        with report.case("client: sensor --read") as case:
            case.hear(b"\x1b[2J no <sensor> & \xff\x00\r\n")
            case.failure = f"exit code 3\n{case.output}"
    (suite,) = ElementTree.parse(tmp_path / "report.xml").getroot()
    counts = {name: suite.get(name) for name in ("name", "tests", "failures", "errors")}
    assert counts == {"name": "demo", "tests": "3", "failures": "1", "errors": "0"}
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
        "router.boot.client.userspace": "1.50",
        "router.boot.client.attached": "2.50",
    }
    boot, good, bad = suite.iter("testcase")
    assert [case.get("name") for case in (boot, good, bad)] == ["boot", "client: true", "client: sensor --read"]
    assert [case.find("failure") is None for case in (boot, good, bad)] == [True, True, False]
    assert bad.find("failure").get("message") == "exit code 3"  # type: ignore[union-attr]
    said = bad.findtext("system-out")
    assert said == f"\\x1b[2J no <sensor> & \ufffd\\x00\n\n[[ATTACHMENT|{log}]]"
    assert "ATTACHMENT" not in str(good.findtext("system-out"))


def test_a_run_that_is_broken_off_is_reported_as_far_as_it_got(tmp_path: Path) -> None:
    report = JunitReport(tmp_path / "report.xml", "demo")
    with pytest.raises(MachineError), report.writing(timeline(), list), report.case("boot"):
        raise MachineError("guest 'client' is gone: kernel panic", hint="its console ended with:\n    oops")
    (case,) = ElementTree.parse(tmp_path / "report.xml").iter("testcase")
    error = case.find("error")
    assert error is not None and error.get("message") == "error: guest 'client' is gone: kernel panic"
    assert "oops" in str(error.text)


def test_a_command_that_prints_without_end_has_its_end_in_the_report() -> None:
    with JunitReport(None, "demo").case("client: yes") as case:
        for _ in range(3):
            case.hear(b"y" * MAX_OUTPUT_CHARACTERS)
        case.hear(b"end")
    assert len(case.output) == MAX_OUTPUT_CHARACTERS and case.output.endswith("yend")


def test_without_commands_there_is_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="no commands to report on"):
        RunOptions(junit=tmp_path / "report.xml").check(["client"])
    RunOptions(junit=tmp_path / "report.xml", commands=(GuestCommand("client", "true"),)).check(["client"])


def test_a_character_whose_bytes_come_in_two_pieces_is_one() -> None:
    case = Case("client: cat letter")
    for piece in (b"gr\xc3", b"\xbc\xc3\x9fe ", b"\xff", b"!"):
        case.hear(piece)
    assert case.output == "grüße \ufffd!"
