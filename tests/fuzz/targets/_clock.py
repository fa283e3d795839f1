# SPDX-License-Identifier: BSD-2-Clause
"""A clock that stands still until a target moves it: what waits costs no time, and how long it waited is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from unittest import mock


class FakeTime:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    strftime = staticmethod(time.strftime)
    gmtime = staticmethod(time.gmtime)


@contextmanager
def fake_time(*modules: ModuleType) -> Iterator[FakeTime]:
    """These modules see the clock that it gives, as long as the context lasts."""
    clock = FakeTime()
    patches = [mock.patch.object(module, "time", clock) for module in modules]
    for patch in patches:
        patch.start()
    try:
        yield clock
    finally:
        for patch in patches:
            patch.stop()
