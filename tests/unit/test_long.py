# SPDX-License-Identifier: BSD-2-Clause
"""`make long` keeps the last result of each step, and a failed step fails the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.guests.sources import Source, parse_sources
from tests.support import long

REPORT = '<testsuites><testsuite tests="7" failures="1" errors="1" skipped="2"/></testsuites>'


def result(failed: int) -> long.Result:
    return long.Result("2026-01-02", "abc1234", 60, 5, failed, 1)


def test_errors_count_as_failures() -> None:
    assert long.counts(REPORT) == (3, 2, 2)


@pytest.mark.parametrize(("failed", "code"), [(0, 0), (1, 1)])
def test_a_step_that_was_run_is_kept_and_the_others_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failed: int, code: int
) -> None:
    monkeypatch.setattr(long, "RESULTS", tmp_path / "long.json")
    monkeypatch.setattr(long, "run", lambda step: result(failed))
    assert long.main(["cycles"]) == code
    assert long.main(["fuzzing"]) == code
    assert sorted(json.loads((tmp_path / "long.json").read_text())) == ["cycles", "fuzzing"]
    shown = f"5 passed, {failed} failed, 1 skipped in 60 s, 2026-01-02, abc1234"
    assert long.lines()[:2] == [f"cycles   {shown}", f"fuzzing  {shown}"]
    assert long.lines()[3] == "kernel   never run"


def test_two_steps_that_run_at_the_same_time_keep_each_others_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long, "RESULTS", tmp_path / "long.json")

    def run(step: long.Step) -> long.Result:
        long.record("fuzzing", result(0))  # the other one ends while this one runs
        return result(0)

    monkeypatch.setattr(long, "run", run)
    assert long.main(["cycles"]) == 0
    assert sorted(json.loads((tmp_path / "long.json").read_text())) == ["cycles", "fuzzing"]


def test_an_unknown_step_names_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert long.main(["everything"]) == 2
    assert "choose from cycles, fuzzing, hostile, kernel, contents" in capsys.readouterr().err


def test_the_next_releases_sources_are_read_back_as_they_are() -> None:
    sources = [Source("http://packages.invalid/debian", "trixie", ("main",), (("Signed-By", "/usr/share/key.gpg"),))]
    assert parse_sources(long.sources_text(sources), True, "next.sources") == sources
