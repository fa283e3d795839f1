# SPDX-License-Identifier: BSD-2-Clause
"""What the tests of SDK installation share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.sdk.install import Places
from tests.sdk.release_server import ReleaseServer


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseServer]:
    """A release page on loopback, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ReleaseServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "share", tmp_path / "cache")
