# SPDX-License-Identifier: BSD-2-Clause
"""The data archive of a Debian package, as `dpkg-deb --fsys-tarfile` gives it: a tar stream that may be damaged."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any
from unittest import mock

from router import requirements
from router.errors import HostError
from router.guests import debs


class Unpacker:
    """dpkg-deb."""

    returncode = 0

    def __init__(self, data: bytes) -> None:
        self.stdout, self.stderr = io.BytesIO(data), io.BytesIO(b"")

    def __enter__(self) -> Unpacker:
        return self

    def __exit__(self, *_: object) -> None:
        return


def one_input(data: bytes) -> None:
    unpacker: Any = lambda *_, **__: Unpacker(data)  # noqa: E731
    with (
        mock.patch.object(subprocess, "Popen", unpacker),
        mock.patch.object(requirements, "find", lambda name: name),
    ):
        try:
            found = list(debs.members(Path("a.deb")))
        except HostError as error:
            assert error.where == "a.deb" and error.hint
            return
    assert sum(len(each.data) for each in found) <= len(data)
    assert not any(each.path.startswith("/") for each in found)


def archive(*items: tuple[str, bytes | str], kind: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind, bufsize=512) as tar:
        for name, content in items:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()[:2048]


def seeds() -> list[bytes]:
    return [
        archive(("./usr/bin/a", b"content"), ("./lib", "usr/lib")),
        archive(("../../etc/passwd", b"x")),
        archive(("./" + "a" * 120, b"x")),
        archive(("./µ", b"x"), kind=tarfile.PAX_FORMAT),
        b"",
    ]
