# SPDX-License-Identifier: BSD-2-Clause
"""A lab host that may answer anything: events of a run, and what its verbs print."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

from router.cli._deployments import Display, as_json
from router.deploy.events import DeployEvent, Reporter
from router.deploy.lab_host import Lab
from router.errors import RouterError, to_row

RUN = "20260101-000000-desk-0000"


class Channel:
    """What a command on the host says, in pieces."""

    def __init__(self, data: bytes) -> None:
        self.parts = [data[: len(data) // 2], data[len(data) // 2 :]]

    def recv(self, size: int) -> bytes:
        return self.parts.pop(0) if self.parts else b""

    def close(self) -> None:
        return

    def exit_status_ready(self) -> bool:
        return True

    def recv_exit_status(self) -> int:
        return 1


class Host:
    target = "lab"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def channel(self, command: str) -> Channel:
        return Channel(self.data)

    def run(self, command: str, data: bytes = b"") -> tuple[int, str]:
        return self.data[:1] == b"1", self.data[1:].decode("utf-8", "replace")


def follow(lab: Lab) -> None:
    """All events of a run, shown to people and to programs; a connection that ends is an end here."""
    show, told = Display(console=True), []

    def sink(event: DeployEvent) -> None:
        told.append(event)
        show(event)
        as_json(event)

    with contextlib.suppress(EOFError):
        reporter = Reporter(sink)
        for event in lab._events(RUN, 0):
            reporter.say(event.kind, **event.data)


def probe(lab: Lab) -> None:
    assert all(isinstance(each, str) for each in lab.probe(RUN).troubles)


def withdraw(lab: Lab) -> None:
    assert all(isinstance(each, str) for each in lab.withdraw(RUN))


STEPS: tuple[Callable[[Lab], None], ...] = (follow, probe, withdraw)


def one_input(data: bytes) -> None:
    if not data:
        return
    host: Any = Host(data[1:])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            STEPS[data[0] % len(STEPS)](Lab(host))
        except RouterError as error:
            assert str(error)


def seeds() -> list[bytes]:
    events = [
        DeployEvent("step", 0.0, {"name": "upload"}),
        DeployEvent("done", 0.5, {"name": "upload", "seconds": 0.5, "text": ""}),
        DeployEvent("progress", 0.6, {"name": "loader.img", "done": 1, "size": 2}),
        *(DeployEvent(kind, 1.0, {"text": "t"}) for kind in ("command", "note", "warning", "ask", "console")),
        DeployEvent("milestone", 2.0, {"name": "up", "seconds": 1.0, "line": "up"}),
        DeployEvent("result", 3.0, {"ok": True}),
    ]
    failed = DeployEvent("result", 3.0, {"ok": False, "error": to_row(RouterError("m")), "exit_code": 1})
    lines = [event.to_line().encode() + b"\n" for event in events]
    facts = {"name": "desk", "serial": "/dev/a", "held": None, "power": ["on"], "troubles": ["t"]}
    return [
        b"\0" + b"".join(lines),
        *(b"\0" + line for line in lines),
        b"\0" + failed.to_line().encode() + b"\n",
        b"\0" + json.dumps({"error": to_row(RouterError("m"))}).encode(),
        b"\0" + b'{"event": "done"}\n{"event": "note", "at": [], "text": {}}\n',
        b"\x010" + json.dumps(facts).encode(),
        b"\x011" + json.dumps({"error": to_row(RouterError("m"))}).encode(),
        b"\x010" + b'{"troubles": 1}',
        b"\x010" + b"[" * 2000,
        b"\x020" + b'{"names": ["a"]}',
    ]
