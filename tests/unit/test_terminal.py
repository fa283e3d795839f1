# SPDX-License-Identifier: BSD-2-Clause
"""A terminal as a machine's console."""

from __future__ import annotations

import os
import pty
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
