# SPDX-License-Identifier: BSD-2-Clause
"""A system that may answer anything on its control socket: it can be at a lab host, which is another's computer."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

from router.control.client import Connection
from router.control.json_lines import VERSION
from router.errors import RouterError
from router.usb.facts import guests_of, reaches_of

GREETING = json.dumps({"router": VERSION, "system": "small", "pid": 1}).encode() + b"\n"


def execute(system: Connection) -> None:
    code, output = system.execute("linux", "true")
    assert isinstance(code, int) and isinstance(output, bytes)


def state(system: Connection) -> None:
    found = system.state()
    guests_of(found)
    reaches_of(found)


def watch(system: Connection) -> None:
    for event in system.watch(0):
        assert isinstance(event, dict)


def console(system: Connection) -> None:
    shown: list[bytes] = []
    typing = system.console("linux", shown.append)
    typing.join()
    assert all(isinstance(part, bytes) for part in shown)
    typing.ended()


def plugs(system: Connection) -> None:
    assert isinstance(system.plug("keyboard"), dict)
    assert isinstance(system.unplug(1), dict)


STEPS: tuple[Callable[[Connection], None], ...] = (state, execute, watch, console, plugs)


def one_input(data: bytes) -> None:
    if not data:
        return
    mine, theirs = socket.socketpair()
    with theirs:
        theirs.sendall((b"" if data[0] & 0x80 else GREETING) + data[1:])
        theirs.shutdown(socket.SHUT_WR)
        try:
            with Connection("small", mine) as system:
                STEPS[(data[0] & 0x7F) % len(STEPS)](system)
        except RouterError as error:
            assert error.message and str(error)


def seeds() -> list[bytes]:
    def lines(step: Callable[[Connection], None], *messages: dict[str, Any]) -> bytes:
        text = b"".join(json.dumps(message).encode() + b"\n" for message in messages)
        return bytes([STEPS.index(step)]) + text

    guest = {"name": "linux", "role": "server", "address": "10.77.0.2", "usb": {"version": 2, "ports": 2}}
    whole = {
        "guests": [guest | {"up": True, "milestones": []}],
        "grants": [],
        "rules": [],
        "plugged": None,
        "system": "small",
    }
    plug = {"port": 1, "kind": "keyboard", "argument": None, "path": "1-1"}
    event = {"number": 0, "seconds": 1.5, "guest": "linux", "event": "userspace", "detail": "", "text": "up"}
    output = base64.b64encode(b"hello").decode()
    error = {"kind": "MachineError", "message": "m", "hint": None, "where": "linux"}
    return [
        lines(state, {"id": 1, "result": whole}),
        lines(state, {"id": 1, "error": error}),
        lines(state, {"id": 1, "result": {"guests": [guest]}}),
        lines(execute, {"id": 1, "output": "*"}),
        lines(execute, {"id": 1, "result": {}}),
        lines(watch, {"id": 1, "event": []}),
        lines(console, {"id": 1, "console": "linux"}, {"id": 1, "output": "*"}),
        lines(execute, {"id": 1, "output": output}, {"id": 1, "result": {"code": 0}}),
        lines(watch, {"id": 1, "watching": 0}, {"id": 1, "event": event}, {"id": 1, "result": {"next": 1}}),
        lines(console, {"id": 1, "console": "linux"}, {"id": 1, "output": output}, {"id": 1, "result": {}}),
        lines(plugs, {"id": 1, "result": plug}, {"id": 2, "result": plug}),
        b"\x80" + json.dumps({"router": 1}).encode() + b"\n",
        b"\x80" + json.dumps({"error": error}).encode() + b"\n",
    ]
