# SPDX-License-Identifier: BSD-2-Clause
"""Runs of pytest within the tests, with a system that runs nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest

from router.testing import pool
from tests.testing.fake import Boots


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Control sockets of the test's own; paths of unix sockets are limited to 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="tst") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def boots(monkeypatch: pytest.MonkeyPatch, runtime_folder: None) -> Boots:
    """The boots of this process's inner runs of pytest."""
    found = Boots()
    monkeypatch.setattr(pool, "start", found.start)
    monkeypatch.setattr(pool, "plan", lambda setup: None)
    monkeypatch.setattr(pool, "choose_mode", lambda on, planned: "split" if on == "auto" else on)
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    return found
