# SPDX-License-Identifier: BSD-2-Clause
"""The definition of a guest image, and what extends itself, names no folder or is no YAML."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from router.description.guest_image import SHIPPED, image_names, load_definition
from router.errors import DescriptionError

_folder = tempfile.TemporaryDirectory()
_path = Path(_folder.name) / "mine.yaml"
shutil.copy(SHIPPED / "common.yaml", _folder.name)
(Path(_folder.name) / "common").mkdir()


def one_input(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        image_names(_path.parent)
        found = load_definition("mine", _path.parent)
    except DescriptionError as error:
        assert str(error)
        return
    assert found.image.role in ("server", "client", "none")
    assert found.sources[-1] == _path and len(set(found.sources)) == len(found.sources)
    assert len(set(found.modules())) <= len(found.modules())
    list(found.tree_files())


def seeds() -> list[bytes]:
    shipped = [path.read_bytes() for path in sorted(SHIPPED.glob("*.yaml"))]
    return [*shipped, b"extends: [mine]", b"extends: [none]", b"summary: 2001-99-99", b"packages: [&a [*a]]", b"\xff"]
