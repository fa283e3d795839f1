# SPDX-License-Identifier: BSD-2-Clause
"""A child process that never outlives us: it dies with its parent, and stopping it is bounded in time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from router.errors import HostError

UNLESS_ORPHAN = '[ "$PPID" = "$0" ] || exit 1; exec "$@"'
"""For the shell: the program, unless the parent ended before the kernel was told to end us with it."""
GRACE = 3.0
"""Seconds that a process has to end after SIGTERM."""
GONE = 60.0
"""Seconds within which the kernel has ended a process after SIGKILL: freeing a guest's memory takes a busy one long."""


class Child:
    """A started program. Its standard error goes to a log file, whose end is part of error reports."""

    def __init__(self, name: str, command: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise HostError("setpriv is not installed", hint="apt-get install util-linux")
        with log.open("ab") as errors:
            # A session of its own keeps the terminal's Ctrl-C from it: we stop it, in our order. If we are killed
            # ourselves, the kernel ends it.
            self._process = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", "--", "sh", "-c", UNLESS_ORPHAN, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

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
                self._process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait(GONE)

    def errors(self) -> str:
        """The last lines that it wrote to standard error."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-5:])
