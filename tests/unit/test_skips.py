# SPDX-License-Identifier: BSD-2-Clause
"""Skipped tests are counted by tier and reason, so that no run looks more complete than it was."""

from __future__ import annotations

import pytest

from router.errors import HostError
from tests.support import skips


def test_skips_are_counted_by_the_tier_they_name_else_by_the_marker() -> None:
    lines = skips.counted(
        [
            ("SDK tier: no Microkit SDK", ["sel4"]),
            ("SDK tier: no Microkit SDK", ["qemu"]),
            ("newer tools tier: no cbmc 6 or newer: no network", []),
            ("tshark is not installed", ["qemu", "packages"]),
            ("tshark is not installed", []),
        ]
    )
    assert lines == [
        "SDK tier: 2 skipped: no Microkit SDK",
        "newer tools tier: 1 skipped: no cbmc 6 or newer: no network",
        "QEMU tier: 1 skipped: tshark is not installed",
        "fast tier: 1 skipped: tshark is not installed",
    ]


def test_a_tool_that_cannot_be_had_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(program: str) -> None:
        raise HostError("no network")

    monkeypatch.setattr(skips, "newer_tool", none)
    with pytest.raises(pytest.skip.Exception, match="newer tools tier: no cbmc 6 or newer: no network"):
        skips.need_newer("cbmc")


pytest_plugins = ["pytester"]


def test_the_end_of_a_run_says_what_did_not_run(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "from tests.support import skips\n"
        "def pytest_terminal_summary(terminalreporter):\n    skips.write_summary(terminalreporter)\n"
    )
    pytester.makepyfile(
        "import pytest\nfrom tests.support import skips\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_a(n): skips.skip('SDK', 'no Microkit SDK')\n"
        "@pytest.mark.xfail\ndef test_b(): assert False\n"
        "def test_c(): pass\n"
    )
    run = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    run.stdout.fnmatch_lines(["*what did not run here*", "SDK tier: 2 skipped: no Microkit SDK"])
    passing = pytester.makepyfile("def test_c(): pass\n")
    pytester.runpytest_inprocess("-p", "no:cacheprovider", passing).stdout.no_fnmatch_line("*what did not run*")
