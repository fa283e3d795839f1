# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the deployment tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.deploy.fakeboard import FakeBoard
from tests.deploy.lab import LabOfOne, MakeLab, write_build
from tests.deploy.running_board import RunningBoard


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build folder with a loader image of 300 kB and its plan."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "loader.img").write_bytes(os.urandom(300_000))
    write_build(folder)
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> MakeLab:
    """Make a lab from a fake board."""

    def make(board: FakeBoard | RunningBoard, **extra: object) -> LabOfOne:
        return LabOfOne(tmp_path, board, **extra)

    return make
