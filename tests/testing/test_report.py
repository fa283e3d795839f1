# SPDX-License-Identifier: BSD-2-Clause
"""`--router-report`: the page of each system that tests have used, with the tests as its steps."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from router import files
from router.control.place import running
from tests.overview.moments import PORT_COUNTERS
from tests.overview.test_page import well_formed
from tests.testing.fake import Boots, FakeMachine
from tests.testing.test_plugin import assert_outcome

TWO = """
def test_one(router):
    router.plug("mouse")
def test_two(router):
    assert router.guest("client").run("uname").stdout == "another", "mine"
"""


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch of each system counts."""
    begin = FakeMachine.__init__

    def begun(machine: FakeMachine, mode: str, logs: Path, capture: bool) -> None:
        begin(machine, mode, logs, capture)
        machine.system.counters = {"client": {**PORT_COUNTERS, "drops": {"source-mac": 7}}}

    monkeypatch.setattr(FakeMachine, "__init__", begun)


@pytest.mark.usefixtures("counting")
def test_the_page_has_the_tests_as_steps_the_time_line_drops_and_devices(
    pytester: pytest.Pytester, boots: Boots
) -> None:
    assert_outcome(pytester, TWO, "--router-report", "pages", passed=1, failed=1)
    (page,) = (pytester.path / "pages").iterdir()
    assert page.name == "desk-split-1.html"
    html = well_formed(page.read_text())
    for part in (
        "1 of 3 steps went wrong",
        "test_the_page_has_the_tests_as_steps_the_time_line_drops_and_devices.py::test_one",
        "AssertionError: mine",
        "plugged on USB port",
        "source-mac 7",
        "QEMU USB Mouse",
    ):
        assert part in html, part


def test_each_boot_has_a_page_and_that_of_a_system_that_died_says_why(pytester: pytest.Pytester, boots: Boots) -> None:
    test = """
    def test_one(router): router.machine.die("kernel panic: <b>")
    def test_two(router): pass
    """
    assert_outcome(pytester, test, "--router-report", "pages", "--router-on", "microkit", passed=1, failed=1)
    first, second = sorted((pytester.path / "pages").iterdir())
    assert (first.name, second.name) == ("desk-microkit-1.html", "desk-microkit-2.html")
    html = well_formed(first.read_text())
    assert "The run ended early." in html and "kernel panic: &lt;b&gt;" in html
    html = well_formed(second.read_text())
    assert "The run went through." in html and "no counters: the switch" in html


def test_without_the_option_nothing_is_asked_or_written(pytester: pytest.Pytester, boots: Boots) -> None:
    assert_outcome(pytester, "def test_one(router): pass", passed=1)
    assert list(pytester.path.glob("**/*.html")) == []
    assert [guest.commands for guest in boots.machines[0].system.guests.values()] == 4 * [[]]


def test_a_page_that_cannot_be_written_ends_no_run_and_is_said(
    pytester: pytest.Pytester, boots: Boots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.write

    def full(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
        if path.suffix == ".html":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, data, mode=mode)

    monkeypatch.setattr(files, "write", full)
    pytester.makepyfile("def test_one(router): pass")
    result = pytester.runpytest_inprocess("-W", "default", "--router", "qemu.yaml", "--router-report", "pages")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*desk-split-1.html is not written: No space left on device"])
    assert running() == []
