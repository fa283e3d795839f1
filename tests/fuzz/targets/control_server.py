# SPDX-License-Identifier: BSD-2-Clause
"""A client of a running system's control socket. Every line gets an answer, or the conversation ends with one."""

from __future__ import annotations

import base64
import io
import json
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from router.control import server
from router.control.facts import GuestFacts, SystemFacts
from router.control.json_lines import MAX_REQUEST_BYTES, VERSION, BrokenError, JsonLines
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.errors import MachineError

GUEST = GuestFacts(name="linux", role="server", address="10.77.0.2", usb_version=2, usb_ports=2, owns_devices=True)
FACTS = SystemFacts(system="small", board="qemu", guests=(GUEST,))


class Plug:
    kind, argument, port, path = "keyboard", Path("/a"), 1, "1-1"


class Ports:
    """Emulated USB ports; every other call fails."""

    def plugged(self) -> list[Plug]:
        return [Plug()]

    def plug(self, text: str) -> Plug:
        if len(text) % 2:
            raise MachineError(f"no device '{text}'")
        return Plug()

    def unplug(self, port: int) -> Plug:
        if port != 1:
            raise MachineError("nothing is there")
        return Plug()


class System:
    """A system without machines."""

    facts, usb = FACTS, Ports()

    def __init__(self) -> None:
        self.timeline = Timeline(out=io.StringIO())
        self.typed: list[bytes] = []
        self.listeners = 0

    def switch_counters(self) -> None:
        return None

    def pump(self) -> bool:
        return False

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None],
        cancelled: Callable[[], bool],
    ) -> tuple[int, bytes]:
        assert guest == "linux" and 0 < timeout <= server.MAX_COMMAND_TIMEOUT_S
        on_output(command.encode("utf-8", "surrogatepass")[:64])
        if cancelled():
            raise MachineError("the command was cancelled")
        return len(command) & 0xFF, b""

    def listen(self, guest: str, echo: Callable[[bytes], None]) -> None:
        self.listeners += 1
        echo(b"login: ")

    def unlisten(self, guest: str, echo: Callable[[bytes], None]) -> None:
        self.listeners -= 1

    def type_in(self, guest: str, data: bytes) -> None:
        self.typed.append(data)

    def give_keyboard(self, guest: str | None) -> None:
        assert guest in (None, "linux")


def converse(data: bytes) -> tuple[System, list[dict[str, Any]], BrokenError | None]:
    """The system, what it answered, and how the conversation ended."""
    system, mine_theirs = System(), socket.socketpair()
    mine, theirs = mine_theirs
    got: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while part := mine.recv(1 << 16):
            got.put(part)

    reader = threading.Thread(target=read)
    with mine:
        mine.sendall(data)
        mine.shutdown(socket.SHUT_WR)
        reader.start()
        serving: Any = ControlServer.__new__(ControlServer)
        serving._system, serving._mode, serving._stopping = system, "split", threading.Event()
        ended: BrokenError | None = None
        # A client that has sent all and reads on counts as gone; without this, `watch` would wait for it.
        with theirs, mock.patch.object(server, "POLL_S", 0.0):
            try:
                serving._converse(JsonLines(theirs, MAX_REQUEST_BYTES))
            except BrokenError as error:
                ended = error
        reader.join()
    text = b"".join(got.get() for _ in range(got.qsize()))
    return system, [json.loads(line) for line in text.split(b"\n")[:-1]], ended


def one_input(data: bytes) -> None:
    system, answers, ended = converse(data)
    assert answers[0]["router"] == VERSION
    for answer in answers[1:]:
        assert "id" in answer and len(answer) == 2, answer
        if "error" in answer:
            assert answer["error"]["kind"] in ("DescriptionError", "MachineError"), answer
            assert answer["error"]["message"]
    told = [answer for answer in answers[1:] if "error" in answer and answer["id"] is None]
    assert ended is None or told, "a broken line is answered before the end"
    assert not system.listeners, "what a client listened to is given up when it goes"


def seeds() -> list[bytes]:
    requests: list[dict[str, Any]] = [
        {"id": 1, "op": "state"},
        {"id": "x", "op": "execute", "guest": "linux", "command": "true", "timeout": 1.5},
        {"id": None, "op": "plug", "device": "keyboard"},
        {"id": 4, "op": "unplug", "port": 1},
        {"id": 5, "op": "watch", "since": 0},
        {"id": 6, "op": "execute", "guest": "nobody", "command": ""},
        {"id": [], "op": "none"},
    ]
    console = [
        {"id": 7, "op": "console", "guest": "linux"},
        {"id": 7, "input": base64.b64encode(b"root\n").decode()},
        {"id": 7, "input": None},
        {"id": 8, "op": "state"},
    ]
    lines = [json.dumps(each).encode() + b"\n" for each in requests]
    torn = json.dumps(console[0]).encode() + b'\n{"id": 7, "in'
    return [
        *lines,
        torn + b"\n",
        b"".join(lines[:4]),
        b"".join(json.dumps(each).encode() + b"\n" for each in console),
        b"[]\n",
        b"{",
    ]
