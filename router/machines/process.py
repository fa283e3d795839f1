# SPDX-License-Identifier: BSD-2-Clause
"""A child process that never outlives us: it dies with its parent, and stopping it is bounded in time."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from pathlib import Path

from router import files, requirements

UNLESS_ORPHAN = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
"""For the shell: the program, unless the parent ended before PR_SET_PDEATHSIG took effect."""
TERM_TIMEOUT_S = 3.0
"""From SIGTERM to SIGKILL."""
KILL_TIMEOUT_S = 60.0
"""From SIGKILL to the end: freeing a guest's memory takes a busy kernel long."""
LAST_LINES = 5
MAX_NEWS = 20
"""Lines of output that `news` gives in all: a guest can make QEMU repeat a complaint for ever."""
MAX_LINE_BYTES = 1024


class Child:
    """A started program. What it prints goes to a log file, and its last lines become part of error reports."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        setpriv = requirements.find("setpriv")
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._news: deque[str] = deque()
        self._seen = 0
        file = files.Log(log)
        # A session of its own keeps the terminal's Ctrl-C from it: we stop it, in our order. If we are killed
        # ourselves, the kernel ends it.
        self._process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", "--", "sh", "-c", UNLESS_ORPHAN, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(file,), name=f"log-{log.name}", daemon=True)
        self._reader.start()

    def _read(self, log: files.Log) -> None:
        assert self._process.stdout is not None, "its output is a pipe"
        with log, self._process.stdout as output:
            while line := output.readline(MAX_LINE_BYTES):
                log.write(line)
                text = line.decode(errors="replace").strip()
                if text:
                    self._lines.append(text)
                    self._seen += 1
                    if self._seen <= MAX_NEWS:
                        self._news.append(text)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        return self._process.poll()

    def stop(self) -> int:
        """End it: SIGTERM, then SIGKILL. The exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(TERM_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        code = self._process.wait(KILL_TIMEOUT_S)
        self._reader.join(TERM_TIMEOUT_S)
        return code

    def kill(self) -> None:
        """End it at once: SIGKILL."""
        self._process.kill()
        self._process.wait(KILL_TIMEOUT_S)

    def errors(self) -> str:
        """The last lines that it printed."""
        if self._process.poll() is not None:
            self._reader.join(TERM_TIMEOUT_S)
        return "\n".join(tuple(self._lines))

    def news(self) -> list[str]:
        """The lines that it has printed since the last call."""
        return [self._news.popleft() for _ in range(len(self._news))]
