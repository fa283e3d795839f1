# SPDX-License-Identifier: BSD-2-Clause
"""A person at a terminal: a program under a pseudo-terminal, typed into and watched."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.patience import PATIENCE


class Terminal:
    """The program's only standard streams and its controlling terminal; it is killed at exit if it still runs."""

    def __init__(self, command: Sequence[str], folder: Path, columns: int = 100, lines: int = 30) -> None:
        self._master, self._slave = pty.openpty()
        self.resize(columns, lines)
        self._before = termios.tcgetattr(self._slave)
        self.shown = b""
        self._from = 0
        self._process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            cwd=folder,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A hang-up, as when somebody closes the window.
        os.close(self._slave)
        os.close(self._master)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def expect(self, pattern: str, seconds: float = 2 * PATIENCE) -> None:
        """Wait for something to be shown after what was found before."""
        end = time.monotonic() + seconds
        while not (found := re.compile(pattern.encode()).search(self.shown, self._from)):
            if time.monotonic() > end:
                raise AssertionError(f"not shown within {seconds} s: {pattern!r} in {self.shown[self._from :]!r}")
            self._read(0.2)
        self._from = found.end()

    def ended(self, seconds: float = 2 * PATIENCE) -> int:
        """The exit code, once the program has ended; the terminal's settings are then what they were."""
        end = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        assert self._process.poll() is not None, f"still runs after {seconds} s: {self.shown[-500:]!r}"
        assert termios.tcgetattr(self._slave) == self._before, "the terminal's settings are restored"
        return self._process.returncode

    def _read(self, seconds: float) -> None:
        if select.select([self._master], [], [], seconds)[0]:
            self.shown += os.read(self._master, 65536)


def use_a_shell(terminal: Terminal) -> None:
    """A guest's shell works as people expect: editing, history, Ctrl-C, size; lines begin at the left."""
    began = len(terminal.shown)
    terminal.send("\r")
    terminal.expect("# ")
    # Nothing of the kernel's in between, for as long as we look at single lines.
    terminal.send("read -r level rest </proc/sys/kernel/printk; dmesg -n 1; sleep 0.5; echo quiet\r")
    terminal.expect("\nquiet\r\n")
    terminal.send("echo $((6 * 7))-shell\r")
    terminal.expect("\n42-shell\r\n")
    terminal.send("echo onf\x7fe tw\x1b[Do\x1b[D\r")
    terminal.expect("\none tow\r\n")
    terminal.send("\x1b[A\x1b[A\r")
    # ash writes the line from history over the one that is there, which takes a carriage return.
    terminal.expect("\r[^\n]*echo \\$\\(\\(6 \\* 7\\)\\)-shell")
    terminal.expect("\n42-shell\r\n")
    terminal.send("echo; sleep 99; echo not reached\r")
    terminal.expect("\n\r\n")
    time.sleep(0.5)
    terminal.send("\x03")
    terminal.send("echo code $?\r")
    terminal.expect("\ncode 130\r\n")
    expect_size(terminal, "30 100")
    terminal.resize(70, 20)
    expect_size(terminal, "20 70")
    terminal.send("dmesg -n $level; echo as before\r")
    terminal.expect("\nas before\r\n")
    assert not re.search(rb"(?<!\r)\n", terminal.shown[began:]), terminal.shown[began:]


def expect_size(terminal: Terminal, size: str) -> None:
    """The guest is told in its own time."""
    terminal.send(f'until [ "$(stty size)" = "{size}" ]; do usleep 100000; done; echo sized {size[:2]}\r')
    terminal.expect(f"\nsized {size[:2]}\r\n")
