# SPDX-License-Identifier: BSD-2-Clause
"""A served system, in a runtime folder of the test's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.control.client import Connection
from router.control.place import Claim
from router.control.server import ControlServer
from tests.control.running import FakeSystem


@pytest.fixture(autouse=True)
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Paths of unix sockets are limited to 108 bytes, which the test's own folder may exceed."""
    with tempfile.TemporaryDirectory(prefix="ctl") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)


@pytest.fixture
def system() -> Iterator[FakeSystem]:
    """The running system `desk`."""
    system = FakeSystem()
    with Claim("desk") as claim, ControlServer(claim, system, "split"):
        yield system


@pytest.fixture
def connection(system: FakeSystem) -> Iterator[Connection]:
    with Connection("desk") as connection:
        yield connection
