# SPDX-License-Identifier: BSD-2-Clause
"""Progress of something that is measured: a line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

from router.cli._common import Progress

LIVE_INTERVAL_S = 0.2
LINE_INTERVAL_S = 5.0


class Meter:
    """Passes on what it hears (a step and how far it is) when the step is new, and then not too often."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._interval = LIVE_INTERVAL_S if sys.stderr.isatty() else LINE_INTERVAL_S
        self._step = ""
        self._next = 0.0

    def __call__(self, step: str, how_far: str) -> None:
        now = time.monotonic()
        if step == self._step and now < self._next:
            return
        self._step, self._next = step, now + self._interval
        self._progress(f"{step}: {how_far}")
