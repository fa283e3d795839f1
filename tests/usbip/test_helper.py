# SPDX-License-Identifier: BSD-2-Clause
"""The process for calls that may wait: the daemon goes on meanwhile, and gets what came of them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.helper import Helper
from tests.support.patience import PATIENCE


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def answers(loop: Loop, got: list[OSError | None], count: int) -> None:
    end = time.monotonic() + PATIENCE
    while len(got) < count and time.monotonic() < end:
        loop.run_once(0.1)
    assert len(got) == count


def test_a_helper_has_the_words_done_and_its_errors_come_back(loop: Loop, tmp_path: Path) -> None:
    def work(words: list[str]) -> None:
        (tmp_path / words[0]).write_text(words[1])

    helper, got = Helper(loop, work), list[OSError | None]()
    helper.ask(["file", "with blanks, and\ttabs"], got.append)
    answers(loop, got, 1)
    assert got == [None] and (tmp_path / "file").read_text() == "with blanks, and\ttabs"
    helper.ask(["no/such/folder", ""], got.append)
    answers(loop, got, 2)
    assert isinstance(got[1], FileNotFoundError)
    helper.close()


def test_one_that_waits_holds_up_neither_the_loop_nor_another(loop: Loop, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def wait(words: list[str]) -> None:
        pipe.write_text("x")

    slow, quick = Helper(loop, wait), Helper(loop, lambda words: None)
    waited, got = list[OSError | None](), list[OSError | None]()
    slow.ask(["go"], waited.append)
    quick.ask(["go"], got.append)
    answers(loop, got, 1)
    assert not waited and not slow.idle and quick.idle
    assert pipe.read_text() == "x"
    answers(loop, waited, 1)
    for helper in (slow, quick):
        helper.close()


def test_a_daemon_whose_helper_ends_ends_too(loop: Loop) -> None:
    helper, got = Helper(loop, lambda words: os._exit(1)), list[OSError | None]()
    helper.ask(["go"], got.append)
    with pytest.raises(ChildProcessError):
        answers(loop, got, 1)
    helper.close()


def test_a_helper_has_none_of_the_daemons_descriptors_and_prepares_itself_first(loop: Loop, tmp_path: Path) -> None:
    with (tmp_path / "open").open("w") as file:
        prepared = tmp_path / "prepared"

        def work(words: list[str]) -> None:
            assert prepared.exists()
            os.fstat(int(words[0]))

        helper, got = Helper(loop, work, prepared.touch), list[OSError | None]()
        helper.ask([str(file.fileno())], got.append)
        answers(loop, got, 1)
        assert got[0] is not None and got[0].errno == errno.EBADF
        helper.close()
