# SPDX-License-Identifier: BSD-2-Clause
"""An image, and `router disk prepare` on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cli import main
from tests.disk.images import MIB, TEXT, Says


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(16 * MIB)
    return path


@pytest.fixture
def says(tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> Says:
    def prepare(*words: str, text: str = TEXT, disk: Path = image) -> tuple[int, str, str]:
        description = tmp_path / "disks.yaml"
        description.write_text(text)
        code = main(["disk", "prepare", str(description), str(disk), *words])
        return code, *capsys.readouterr()

    return prepare
