# SPDX-License-Identifier: BSD-2-Clause
"""Serves a running system on its control socket, in threads of its own. docs/reference/control.md.

One thread accepts and keeps the time line up to date, one thread each serves a client, all bounded: how many there are,
how long a line is, how long anything takes. A client can end its own connection, and nothing else.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from router.control.json_lines import MAX_REQUEST_BYTES, VERSION, BrokenError, JsonLines
from router.control.place import Claim
from router.control.system import RunningSystem, plugged, state
from router.errors import DescriptionError, RouterError, to_row

MAX_CLIENTS = 16
IDLE_TIMEOUT_S = 60.0
"""Seconds that a client may be connected without asking for anything."""
MAX_COMMAND_TIMEOUT_S = 3600.0
"""Seconds that a command in a guest may take at most."""
POLL_S = 0.2
MAX_CONSOLE_BYTES = 4 << 20
"""Of a console's output that wait for a client; then it is disconnected."""
PIECE_COST = 64
"""Bytes that each piece takes beyond its own: a guest may print two bytes at a time."""
log = logging.getLogger(__name__)

Fields = dict[str, Any]


class ControlServer:
    """Serves while its context lasts. `mode`: split, microkit or board, as `state` reports it."""

    def __init__(self, claim: Claim, system: RunningSystem, mode: str) -> None:
        self._system = system
        self._mode = mode
        self._path = claim.socket
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._clients: dict[threading.Thread, JsonLines] = {}
        self._retired = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)

    def __enter__(self) -> Self:
        try:
            self._listener.bind(str(self._path))
            self._path.chmod(0o600)
            self._listener.listen(MAX_CLIENTS)
        except BaseException:
            self._listener.close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._listener.close()
        self._path.unlink(missing_ok=True)
        with self._lock:
            clients = dict(self._clients)
        for thread, lines in clients.items():
            lines.end()
            thread.join(10)

    @property
    def clients(self) -> int:
        """How many are connected."""
        with self._lock:
            return len(self._clients)

    def retire(self) -> bool:
        """Refuse new clients, unless one is connected; whether it does.

        Who comes later is hung up on before a greeting, and can tell by that to look for another server.
        """
        with self._lock:
            self._retired = not self._clients
            return self._retired

    # Accepting

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                # While lines wait, nothing else may: they have room for some thousand only.
                self._listener.settimeout(0 if self._system.pump() else POLL_S)
                stream, _ = self._listener.accept()
            except (TimeoutError, BlockingIOError):
                continue
            except OSError as error:
                log.warning("control socket: %s", error.strerror)
                time.sleep(POLL_S)
                continue
            self._begin(stream)

    def _begin(self, stream: socket.socket) -> None:
        stream.settimeout(None)
        lines = JsonLines(stream, MAX_REQUEST_BYTES)
        thread = threading.Thread(target=self._serve, args=(stream, lines), name="control-client", daemon=True)
        with self._lock:
            full = len(self._clients) >= MAX_CLIENTS
            if not full and not self._retired:
                self._clients[thread] = lines
        if self._retired:
            stream.close()
            return
        if full:
            with stream, contextlib.suppress(BrokenError):
                lines.send(_failure(None, DescriptionError(f"more than {MAX_CLIENTS} clients at once", "try again")))
            return
        thread.start()

    def _serve(self, stream: socket.socket, lines: JsonLines) -> None:
        try:
            with stream:
                self._converse(lines)
        except BrokenError as error:
            log.info("control client: %s", error)
        finally:
            with self._lock:
                del self._clients[threading.current_thread()]

    def _converse(self, lines: JsonLines) -> None:
        lines.send({"router": VERSION, "system": self._system.facts.system, "pid": os.getpid()})
        while not self._stopping.is_set():
            request = _receive(lines, IDLE_TIMEOUT_S)
            if request is None:
                return
            number = request.get("id")
            if not isinstance(number, int | str | None):
                number = None
            try:
                lines.send({"id": number, "result": self._answer(number, request, lines)})
            except RouterError as error:
                lines.send(_failure(number, error))

    # Answering

    def _answer(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        operations: dict[str, Callable[[int | str | None, Fields, JsonLines], Fields]] = {
            "state": self._state,
            "execute": self._execute,
            "plug": self._plug,
            "unplug": self._unplug,
            "watch": self._watch,
            "switch": self._switch,
            "console": self._console,
        }
        name = _field(request, "op", str)
        if name not in operations:
            raise DescriptionError(f"no operation '{name}'", hint=f"operations: {', '.join(operations)}")
        return operations[name](number, request, lines)

    def _state(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        self._system.pump()
        return state(self._system, self._mode, os.getpid())

    def _switch(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        return {"guests": self._system.switch_counters()}

    def _guest(self, request: Fields) -> str:
        guest: str = _field(request, "guest", str)
        names = self._system.facts.names
        if guest not in names:
            raise DescriptionError(f"no guest '{guest}'", hint=f"guests: {', '.join(names)}")
        return guest

    def _execute(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        guest, command = self._guest(request), _field(request, "command", str)
        timeout = request.get("timeout", 60.0)
        if (
            isinstance(timeout, bool)
            or not isinstance(timeout, int | float)
            or not 0 < timeout <= MAX_COMMAND_TIMEOUT_S
        ):
            raise DescriptionError(f"a timeout of {timeout!r}", hint=f"seconds, at most {MAX_COMMAND_TIMEOUT_S:g}")

        def output(data: bytes) -> None:
            # A client that has gone ends its command by `cancelled`; one that reads nothing, within LINE_TIMEOUT_S.
            try:
                lines.send({"id": number, "output": base64.b64encode(data).decode()})
            except BrokenError:
                lines.end()

        code, _ = self._system.execute(
            guest, command, float(timeout), output, lambda: self._stopping.is_set() or lines.gone()
        )
        return {"code": code}

    def _usb_ports(self) -> Any:
        ports = self._system.usb
        if ports is None:
            raise DescriptionError(
                "no emulated device can be plugged into this system", hint="it has no emulated USB controller"
            )
        return ports

    def _plug(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        plug = self._usb_ports().plug(_field(request, "device", str))
        self._note("plugged", plug)
        return plugged(plug)

    def _unplug(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        plug = self._usb_ports().unplug(_field(request, "port", int))
        self._note("unplugged", plug)
        return plugged(plug)

    def _note(self, event: str, plug: Any) -> None:
        owner = next(guest.name for guest in self._system.facts.guests if guest.owns_devices)
        self._system.timeline.add(
            owner, event, f"{plug.kind} port {plug.port}", f"{event} on USB port {plug.port}: {plug.kind}"
        )

    def _watch(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        timeline = self._system.timeline
        since = request.get("since")
        if since is None:
            since = len(timeline.events)
        elif isinstance(since, bool) or not isinstance(since, int) or since < 0:
            raise DescriptionError(f"'since' is {since!r}", hint="the number of the first event to tell, from 0")
        lines.send({"id": number, "watching": since})
        while not self._stopping.is_set() and not lines.gone():
            for event in timeline.wait(since, POLL_S):
                row = {"number": since, "seconds": event.seconds, "guest": event.guest, "event": event.name}
                lines.send({"id": number, "event": {**row, "detail": event.detail, "text": event.text}})
                since += 1
        return {"next": since}

    def _console(self, number: int | str | None, request: Fields, lines: JsonLines) -> Fields:
        """Both ways until the client says `"input": null` or hangs up."""
        guest, system = self._guest(request), self._system
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        pending, counting = 0, threading.Lock()

        def count(change: int) -> int:
            nonlocal pending
            with counting:
                pending += change
                return pending

        def heard(data: bytes) -> None:
            if count(len(data) + PIECE_COST) > MAX_CONSOLE_BYTES:  # a client that does not read delays no other
                lines.end()
            else:
                waiting.put(data)

        def tell() -> None:
            with contextlib.suppress(BrokenError):
                while (data := waiting.get()) is not None:
                    lines.send({"id": number, "output": base64.b64encode(data).decode()})
                    count(-len(data) - PIECE_COST)

        lines.send({"id": number, "console": guest})
        teller = threading.Thread(target=tell, name="control-console", daemon=True)
        teller.start()
        system.listen(guest, heard)
        system.give_keyboard(guest)
        try:
            while (message := _receive(lines, None)) is not None and not self._stopping.is_set():
                typed = message.get("input")
                if message.get("id") != number or not isinstance(typed, str | None):
                    raise DescriptionError("not input for the console", hint="see docs/reference/control.md")
                if typed is None:
                    break
                # Each time: another may have typed elsewhere meanwhile.
                system.give_keyboard(guest)
                try:
                    system.type_in(guest, base64.b64decode(typed, validate=True))
                except (ValueError, OSError) as error:
                    raise DescriptionError(f"the console does not take it: {error}") from None
        finally:
            system.unlisten(guest, heard)
            system.give_keyboard(None)
            waiting.put(None)
            teller.join(1)
        return {}


def _receive(lines: JsonLines, timeout: float | None) -> Fields | None:
    """The client's next line. One that breaks the protocol is answered, and ends the conversation."""
    try:
        return lines.receive(timeout)
    except BrokenError as error:
        lines.send(_failure(None, DescriptionError(f"bad request: {error}", "see docs/reference/control.md")))
        raise


def _failure(number: int | str | None, error: RouterError) -> Fields:
    return {"id": number, "error": to_row(error)}


def _field(request: Fields, name: str, kind: type) -> Any:
    value = request.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DescriptionError(f"the request has no '{name}'", hint="see docs/reference/control.md")
    return value
