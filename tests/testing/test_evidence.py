# SPDX-License-Identifier: BSD-2-Clause
"""What a failed test leaves: a folder of its own, and what could not be saved is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from router import files
from router.testing import evidence
from router.testing.names import folder_name
from tests.testing.fake import Boots
from tests.testing.test_plugin import assert_outcome

TWO = """
def test_one(router): assert 0, "mine"
def test_two(router): assert router.guest("client").run("uname").stdout
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("t.py::t[a/b]", "t.py::t[a-b]"),
        ("t.py::t[a-b]", "t.py::t[a b]"),
        ("one" + 100 * "x", "two" + 100 * "x"),
        ("t.py::t[ä]", "t.py::t[ö]"),
    ],
)
def test_no_two_tests_share_a_folder(one: str, other: str) -> None:
    assert folder_name(one) != folder_name(other)
    assert folder_name(one) == folder_name(one)
    for name in map(folder_name, (one, other)):
        assert os.sep not in name and len(name.encode()) <= 255


def test_a_disk_that_is_full_ends_no_run_and_the_report_says_what_is_missing(
    pytester: pytest.Pytester, boots: Boots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(files, "write", full)
    result = assert_outcome(pytester, TWO, "--router-logs", "kept", failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: mine*", "*client.console, the last lines*", "*[[]?ATTACHMENT|*client.console.log*",
         "not saved: */timeline.json: No space left on device"]
    )  # fmt: skip
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_folder_that_cannot_be_made_ends_no_run(pytester: pytest.Pytester, boots: Boots) -> None:
    (pytester.path / "kept").mkdir()
    nodeid = "test_a_folder_that_cannot_be_made_ends_no_run.py::test_one"
    (pytester.path / "kept" / folder_name(nodeid)).write_text("a file in its place")
    result = assert_outcome(pytester, TWO, "--router-logs", "kept", failed=1, passed=1)
    result.stdout.fnmatch_lines(["not saved: *client.console.log: *", "not saved: *timeline.json: *"])


def test_a_log_that_has_gone_ends_no_run_and_loses_no_other(pytester: pytest.Pytester, boots: Boots) -> None:
    text = TWO.replace("assert 0", "router.machine.attachments[0].unlink(); assert 0")
    result = assert_outcome(pytester, text, "--router-logs", "kept", failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["not read: No such file or directory", "*ATTACHMENT*timeline.json*", "not saved: *No such file or directory"]
    )


def test_a_log_that_is_rotated_while_the_logs_are_listed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_text("said\n")
    (tmp_path / "empty.log").touch()
    (tmp_path / "folder.log").mkdir()
    names = ("one.log", "empty.log", "folder.log", "gone.log")
    assert [name for name in names if files.has_content(tmp_path / name)] == ["one.log"]
    assert evidence.tail(tmp_path / "one.log") == "said"
