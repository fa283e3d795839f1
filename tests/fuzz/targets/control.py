# SPDX-License-Identifier: BSD-2-Clause
"""Requests on the daemon's control socket, and a device's own names in the answers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from router.errors import RouterError
from router.usbip.policy.file import parse_policy
from router.usbip.runtime.event_loop import Loop
from router.usbip.server.control import Control
from router.usbip.server.server import Server
from router.usbip.server.statistics import Statistics
from router.usbip.virtual.engine import VirtualEngine
from router.usbip.virtual.serial import Serial

_loop = Loop()
_folder = tempfile.TemporaryDirectory()
_policy = Path(_folder.name) / "policy"
POLICY = "allow any class communications\nallow 10.77.0.4 path 90-2\n"


def one_input(data: bytes) -> None:
    head, _, names = data.partition(b"\0")
    serial = Serial()
    given = names.decode("utf-8", "surrogateescape").split("\0")
    serial.strings = ["", *[*given, "", "", ""][:3]]
    engine = VirtualEngine(_loop)
    engine.plug(serial)
    server = Server(_loop, [engine], parse_policy(POLICY))
    server.rescan()
    _policy.write_text(POLICY)
    control = Control(_loop, server, f"{_folder.name}/socket", str(_policy), Statistics())
    try:
        for line in (*head.split(b"\n")[:4], b"status", b"status json"):
            words = line.decode("utf-8", "replace").split()
            try:
                text = control.answer(words)
            except RouterError as error:
                assert error.message
                continue
            assert all(shown.isprintable() for shown in text.split("\n")), text
            text.encode("utf-8")
    finally:
        control.close()
        server.close()
        engine.close()


def seeds() -> list[bytes]:
    return [
        b"grant 10.77.0.3 90-1 4 take\nrevoke 10.77.0.3 90-1\0Maker\0Product\0Serial",
        b"stats\nstats json\nstats prometheus\nreload\0\x1b[31m\0\xff\0\xe2\x80\xae",
        b'grant any 90-1\ngrant fd00::1 90-2 999\n\0"#\0\\\0a b',
    ]
