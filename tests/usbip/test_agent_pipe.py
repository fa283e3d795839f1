# SPDX-License-Identifier: BSD-2-Clause
"""A daemon answers the guest's control agent through two pipes, whatever is written into them."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.errors import HostError
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.pipe import AnsweringPipe, answer_agent
from tests.usbip.fakes import run_for, run_until


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[int]:
    """The end of the pipe `answers` that the reader has, which does not block."""
    os.mkfifo(tmp_path / "answers")
    reader = os.open(tmp_path / "answers", os.O_RDWR | os.O_NONBLOCK)
    yield reader
    os.close(reader)


def ask(folder: Path, request: bytes) -> None:
    descriptor = os.open(folder / "ask.status", os.O_RDWR | os.O_NONBLOCK)
    os.write(descriptor, request)
    os.close(descriptor)


def said(loop: Loop, reader: int) -> list[bytes]:
    """The lines that come until no more do."""
    found = bytearray()

    def take() -> bool:
        try:
            found.extend(os.read(reader, 4096))
        except BlockingIOError:
            return bool(found)
        return False

    run_until(loop, take)
    return bytes(found).splitlines(keepends=True)


def test_an_answer_comes_in_lines_that_fit_a_terminals_buffer(loop: Loop, tmp_path: Path, answers: int) -> None:
    text = "ümlaut " * 60_000  # more than any server's list
    pipe = AnsweringPipe(loop, "status", lambda: text, str(tmp_path))
    assert stat.S_IMODE((tmp_path / "ask.status").stat().st_mode) == 0o600
    ask(tmp_path, b"17\n")
    lines = said(loop, answers)
    assert all(line.endswith(b"\n") and len(line) <= 1024 for line in lines)
    words = [line.split() for line in lines]
    assert [(word[0], word[1]) for word in words] == [(b"17", b"o")] * (len(lines) - 1) + [(b"17", b"x")]
    assert b"".join(base64.b64decode(word[2]) for word in words[:-1]).decode() == text
    assert words[-1][2] == b"0"
    pipe.close()
    assert not (tmp_path / "ask.status").exists()


def test_the_daemon_cannot_read_the_answers(loop: Loop, tmp_path: Path, answers: int) -> None:
    pipe = AnsweringPipe(loop, "status", lambda: "", str(tmp_path))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(pipe._answers, 1)
    pipe.close()


def test_what_cannot_be_answered_is_an_error_with_its_code(loop: Loop, tmp_path: Path, answers: int) -> None:
    def fail() -> str:
        raise HostError("no vhci", "load it")

    AnsweringPipe(loop, "status", fail, str(tmp_path))
    ask(tmp_path, b"1\n")
    first, last = said(loop, answers)
    assert base64.b64decode(first.split()[2]) == b"error: no vhci\n  load it\n"
    assert last == b"1 x 3\n"


def test_garbage_is_no_question(loop: Loop, tmp_path: Path, answers: int) -> None:
    AnsweringPipe(loop, "status", lambda: "fine\n", str(tmp_path))
    ask(tmp_path, b"\xff\xfe x -1 999999999999999999999999 \n\n5\n")
    assert [line.split()[0] for line in said(loop, answers)] == [b"5", b"5"]


def test_a_reader_that_does_not_read_stops_nothing(loop: Loop, tmp_path: Path, answers: int) -> None:
    asked = 0

    def answer() -> str:
        nonlocal asked
        asked += 1
        return "x" * 100_000

    AnsweringPipe(loop, "status", answer, str(tmp_path))
    for number in range(50):
        ask(tmp_path, b"%d\n" % number)
        run_for(loop, 0.001)
    run_until(loop, lambda: asked == 50)
    while True:
        try:
            os.read(answers, 4096)
        except BlockingIOError:
            break
    ask(tmp_path, b"77\n")
    assert said(loop, answers)[-1] == b"77 x 0\n"


def test_without_a_reader_the_daemon_goes_on_without_the_pipes(loop: Loop, tmp_path: Path) -> None:
    assert answer_agent(loop, "status", lambda: "", str(tmp_path)) is None
    assert not (tmp_path / "ask.status").exists()
