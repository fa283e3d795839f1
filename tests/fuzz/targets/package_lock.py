# SPDX-License-Identifier: BSD-2-Clause
"""The lock of the guests' packages, which comes with a description's folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

from router.errors import DescriptionError
from router.guests.lock import read_lock, render_lock

_folder = tempfile.TemporaryDirectory()
_path = Path(_folder.name) / "guests.lock"


def one_input(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        locked = read_lock(_path)
    except DescriptionError as error:
        assert error.where and error.where.startswith(str(_path))
        return
    text = render_lock(locked)
    _path.write_text(text)
    assert render_lock(read_lock(_path)) == text, "what was read is written and read again"


def seeds() -> list[bytes]:
    package = f"busybox 1.36 arm64 pool/main/b/busybox.deb 1000 {'0' * 64}"
    return [
        f"# a lock\nimage usb-server busybox kmod\nkernel {package}\nuserland {package}\n".encode(),
        f"image a\nimage b x\nuserland {package}".encode(),
        b"kernel a",
        b"\xa9",
    ]
