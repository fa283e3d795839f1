# SPDX-License-Identifier: BSD-2-Clause
"""A terminal as a machine's console."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

from tests.support.patience import PATIENCE

READER = """
import os, sys
from router.console.terminal import raw_terminal
os.read(int(sys.argv[1]), 1)  # the test has typed
with raw_terminal():
    print(os.read(0, 100).decode(), flush=True)
"""


LEAVER = """
import os, select
from router.console.terminal import END_KEY, converse, show
show(b"ask\\n")
stopped = []
converse(lambda data: None, lambda: False, lambda: 0.0, lambda: stopped.append(True))
rest = os.read(0, 100) if select.select([0], [], [], 0.5)[0] else b"nothing"
show(b"%s is left for the shell, %d" % (rest, len(stopped)))
"""
ANSWER = b"\x1b]lrm -rf ~\n\x1b\\"
"""A title that a guest has set and asks for: some terminals answer with it (xterm, CVE-2003-0063)."""


def test_what_the_terminal_answers_to_a_guest_is_not_typed_into_the_shell_and_its_modes_are_off() -> None:
    ours, theirs = pty.openpty()
    shown = b""

    def expect(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            assert select.select([ours], [], [], PATIENCE)[0], shown
            shown += os.read(ours, 4096)

    try:
        environment = {**os.environ, "TERM": "xterm"}
        command = [sys.executable, "-c", LEAVER]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, env=environment) as child:
            try:
                expect(b"ask")
                os.write(ours, ANSWER + b"\x1b[0n\x1d" + ANSWER)
                expect(b"\x1b[5n")
                os.write(ours, ANSWER + b"\x1b[0n")
                expect(b" is left for the shell, 1")
                assert child.wait(PATIENCE) == 0
            finally:
                child.kill()
    finally:
        for each in (ours, theirs):
            os.close(each)
    assert b"nothing is left" in shown
    modes = shown.partition(b"\x1b[5n")[0]
    assert b"\x1b[!p" in modes and b";1003;" in modes and b";2004l" in modes


def test_keys_that_are_typed_before_the_terminal_is_raw_are_kept() -> None:
    ours, theirs = pty.openpty()
    typed, wait = os.pipe()
    try:
        command = [sys.executable, "-c", READER, str(typed)]
        with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, pass_fds=[typed]) as child:
            try:
                os.write(ours, b"hello")
                os.write(wait, b"x")
                assert child.communicate(timeout=PATIENCE)[0].strip() == b"hello"
            finally:
                child.kill()
    finally:
        for each in (ours, theirs, typed, wait):
            os.close(each)
