# SPDX-License-Identifier: BSD-2-Clause
"""This terminal as a machine's console: raw while it lasts, Ctrl-] ends it, its settings are restored."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from types import FrameType

END_KEY = b"\x1d"
"""Ctrl-], as telnet and virsh have it."""
SILENCE_TIMEOUT_S = 3.0
"""Silence that ends a conversation after the end of its input: what was typed may still be answered."""
MODES_OFF = b"\x1b[!p\x1b[?9;1000;1002;1003;1004;1005;1006;1015;2004l\x1b[?47l\x1b[0m\x1b[?25h"
"""A soft reset, no reports of the mouse, of focus and of pastes, the usual screen, no colours, and a cursor (xterm's
ctlseqs; DEC STD 070, DECSTR)."""
STATUS_QUESTION, STATUS_ANSWER = b"\x1b[5n", b"\x1b[0n"
"""DSR (ECMA-48, 8.3.35). A terminal answers in the order of the questions."""
ANSWER_TIMEOUT_S = 0.5
QUIET_S = 0.05


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Standard input gives every key as it is; does nothing where it is not a terminal.

    At the end the terminal is as a program expects to find it, and what it has answered to a machine's questions is
    thrown away: the shell would take it for typed.
    """
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(0)
    try:
        tty.setraw(0, termios.TCSADRAIN)  # keys that were typed meanwhile are kept
        yield
    finally:
        try:
            _take_leave()
        finally:
            termios.tcsetattr(0, termios.TCSAFLUSH, settings)


def _take_leave() -> None:
    """Switch off what a machine may have switched on, and read the terminal's answers until it has given all."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return
    show(MODES_OFF + STATUS_QUESTION)
    heard, end = b"", time.monotonic() + ANSWER_TIMEOUT_S
    while (left := end - time.monotonic()) > 0:
        # The machine may have asked the same, so the first such answer need not be the last of all.
        if not select.select([0], [], [], QUIET_S if STATUS_ANSWER in heard else left)[0]:
            return
        if not (more := os.read(0, 4096)):
            return
        heard = (heard + more)[-4096 - len(STATUS_ANSWER) :]


def show(data: bytes) -> None:
    """Put bytes onto standard output at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def show_raw(data: bytes) -> None:
    """The same for a terminal that `raw_terminal` has: there a line feed alone does not go back to the beginning."""
    sys.stdout.buffer.write(re.sub(rb"(?<!\r)\n", b"\r\n", data) if sys.stdin.isatty() else data)
    sys.stdout.buffer.flush()


class Keys:
    """What is typed, until Ctrl-] or the end of the input."""

    def __init__(self) -> None:
        self.left = False
        """Whether Ctrl-] was typed."""
        self.open = True
        """Whether more may come."""

    def take(self, seconds: float) -> bytes:
        """What was typed, waiting up to that long for it; may be empty."""
        if not self.open or not select.select([0], [], [], seconds)[0]:
            return b""
        typed = os.read(0, 4096)
        before, end, _ = typed.partition(END_KEY)
        self.left = bool(end)
        self.open = bool(typed) and not end
        return before


def converse(
    send: Callable[[bytes], None], ended: Callable[[], bool], heard: Callable[[], float], stop: Callable[[], None]
) -> None:
    """Hand what is typed to `send` until Ctrl-], until `ended`, or until all is silent after the input has ended.

    heard: when output came last, by time.monotonic. The output itself is shown by another thread, until `stop`.
    """
    keys = Keys()
    with raw_terminal():
        while not keys.left and not ended():
            if typed := keys.take(0.1):
                send(typed)
            if keys.open:
                continue
            closed = time.monotonic()
            while not keys.left and not ended() and time.monotonic() < max(closed, heard()) + SILENCE_TIMEOUT_S:
                time.sleep(0.05)
            break
        stop()


@contextlib.contextmanager
def sized(tell: Callable[[int, int], None]) -> Iterator[None]:
    """Call `tell` with this terminal's columns and lines, now and whenever they change, from a thread of its own.

    A serial line cannot carry it. Does nothing where standard input is not a terminal.
    """
    if not sys.stdin.isatty() or threading.current_thread() is not threading.main_thread():
        yield
        return
    changed, over = threading.Event(), threading.Event()
    changed.set()

    def watch() -> None:
        while changed.wait() and not over.is_set():
            changed.clear()
            # shutil.get_terminal_size prefers stale COLUMNS and LINES.
            with contextlib.suppress(OSError):
                tell(*os.get_terminal_size(0))

    def resized(_: int, __: FrameType | None) -> None:
        changed.set()

    before = signal.signal(signal.SIGWINCH, resized)
    thread = threading.Thread(target=watch, name="terminal-size", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
        over.set()
        changed.set()


def size_command(columns: int, lines: int) -> str:
    """What tells a guest's first virtio console how large the terminal at its other end is."""
    return f"stty -F /dev/hvc0 cols {columns} rows {lines}"
