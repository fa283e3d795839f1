# SPDX-License-Identifier: BSD-2-Clause
"""The other end of a control socket: what `router usb` and `router exec` talk through."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from router.control import shapes
from router.control.json_lines import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, VERSION, BrokenError, JsonLines
from router.control.place import running, socket_path
from router.control.system import MAX_OUTPUT
from router.errors import DescriptionError, HostError, MachineError, RouterError, from_row

ANSWER_TIMEOUT_S = 30.0
"""For an answer; the time of a command in a guest comes on top."""


def choose(system: str | None) -> str:
    """The system of that name, or the only one that runs; DescriptionError when there is none, or a choice."""
    names = running()
    if system is not None:
        if system in names:
            return system
        hint = f"running: {', '.join(names)}" if names else "router run FILE starts one"
        raise DescriptionError(f"no system '{system}' runs", hint=hint, where="--system")
    if not names:
        raise DescriptionError("no system runs", hint="router run FILE starts one; for a board: --on BOARD")
    if len(names) > 1:
        raise DescriptionError(f"{len(names)} systems run", hint=f"choose by --system: {', '.join(names)}")
    return names[0]


def decoded(message: dict[str, Any]) -> bytes:
    """The output in a message; ValueError when it is not base64."""
    return base64.b64decode(str(message.get("output", "")), validate=True)


class Connection:
    """A conversation with a running system, one request at a time. HostError when nothing answers."""

    def __init__(self, system: str, stream: socket.socket | None = None) -> None:
        """`stream`: a connection that there is already; None: to the system of that name on this computer."""
        self.system = system
        self._numbers = itertools.count(1)
        self._stream = stream or socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path = socket_path(system) if stream is None else None
        try:
            if path is not None:
                self._stream.connect(str(path))
            self._lines = JsonLines(self._stream, MAX_ANSWER_BYTES)
            greeting = self._receive(ANSWER_TIMEOUT_S)
            if "error" in greeting:
                raise from_row(greeting["error"])
            if greeting.get("router") != VERSION:
                raise HostError(
                    f"'{system}' speaks control protocol {greeting.get('router')}, this program {VERSION}",
                    hint="use the version of router that started it",
                )
        except OSError as error:
            self._stream.close()
            raise HostError(
                f"the system '{system}' does not answer: {error.strerror}", hint="has it stopped?", where=system
            ) from error
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hang_up(self) -> None:
        """End the conversation from another thread: a request that is under way fails there."""
        self._lines.end()

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def state(self) -> dict[str, Any]:
        """The system's state: docs/reference/control.md."""
        return self._request({"op": "state"}, shapes.STATE)

    def switch(self) -> dict[str, dict[str, Any]] | None:
        """The switch's counters by guest: docs/reference/vswitch.md. None where nothing tells them."""
        guests: dict[str, Any] | None = self._request({"op": "switch"}, shapes.SWITCH)["guests"]
        for row in (guests or {}).values():
            self._checked(row, shapes.COUNTERS)
            self._checked(list(row["drops"].values()), [int])
            if row.get("vsock") is not None:
                self._checked(row["vsock"], shapes.COUNTERS)
                self._checked(list(row["vsock"]["drops"].values()), [int])
        return guests

    def execute(
        self, guest: str, command: str, timeout: float = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> tuple[int, bytes]:
        """Run a shell command in a guest: exit code and output. The errors of the system are raised here.

        on_output gets the output as it comes, and it is not returned then. Without, MachineError once there is more of
        it than MAX_OUTPUT: the connection is of no use after that.
        """
        output = bytearray()

        def take(message: dict[str, Any]) -> None:
            data = self._output(message)
            if on_output is not None:
                on_output(data)
            elif len(output) + len(data) > MAX_OUTPUT:
                raise MachineError(f"the command printed more than {MAX_OUTPUT >> 20} MiB: {command}", where=guest)
            else:
                output.extend(data)

        request = {"op": "execute", "guest": guest, "command": command, "timeout": timeout}
        result = self._request(request, shapes.CODE, timeout, take)
        return result["code"], bytes(output)

    def console(self, guest: str, show: Callable[[bytes], None]) -> Typing:
        """Connect to a guest's console: `show` gets what it says, from another thread."""
        number = self._send({"op": "console", "guest": guest})
        self._next(number, ANSWER_TIMEOUT_S)
        return Typing(self._lines, number, show)

    def plug(self, device: str) -> dict[str, Any]:
        """Plug an emulated device in: `port`, `kind` and where Linux should see it (`path`)."""
        return self._request({"op": "plug", "device": device}, shapes.PLUG)

    def unplug(self, port: int) -> dict[str, Any]:
        """Pull an emulated device out."""
        return self._request({"op": "unplug", "port": port}, shapes.PLUG)

    def watch(self, since: int | None = None) -> Iterator[dict[str, Any]]:
        """Events as they come, from the event of number `since` on (None: the next); ends when the system stops.

        The first thing that is given is {}: from there on nothing is missed.
        """
        number = self._send({"op": "watch", **({} if since is None else {"since": since})})
        while (message := self._next(number, None)) is not None:
            if "watching" in message:
                yield {}
            elif "event" in message:
                yield self._checked(message["event"], shapes.EVENT)
            elif "result" in message:
                return

    def _request(
        self,
        request: dict[str, Any],
        shape: shapes.Shape,
        patience: float = 0.0,
        take: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        number = self._send(request)
        while True:
            message = self._next(number, patience + ANSWER_TIMEOUT_S)
            if message is None:
                raise MachineError(f"the system '{self.system}' has stopped")
            if "result" in message:
                return self._checked(message["result"], shape)
            if take is not None:
                take(message)

    def _checked(self, value: Any, shape: shapes.Shape) -> dict[str, Any]:
        if not shapes.fits(value, shape):
            raise MachineError(
                f"the system '{self.system}' answers in a form that is not known here",
                hint="use the version of router that started it",
            )
        checked: dict[str, Any] = value
        return checked

    def _output(self, message: dict[str, Any]) -> bytes:
        try:
            return decoded(message)
        except ValueError:
            raise MachineError(f"the system '{self.system}' sends output that is not base64") from None

    def _send(self, request: dict[str, Any]) -> int:
        number = next(self._numbers)
        request = {"id": number, **request}
        if len(json.dumps(request)) >= MAX_REQUEST_BYTES:
            raise DescriptionError("the command is too long", hint=f"a request may have {MAX_REQUEST_BYTES} bytes")
        try:
            self._lines.send(request)
        except BrokenError as error:
            raise MachineError(f"the system '{self.system}' does not listen: {error}") from error
        return number

    def _next(self, number: int, timeout: float | None) -> dict[str, Any] | None:
        """The next message of a request; None when the system has stopped. Its error is raised."""
        try:
            message = self._lines.receive(timeout)
        except BrokenError as error:
            raise MachineError(f"the system '{self.system}' does not answer: {error}") from error
        if message is not None and "error" in message:
            raise from_row(message["error"])
        if message is not None and message.get("id") != number:
            raise MachineError(f"the system '{self.system}' answers another question")
        return message

    def _receive(self, timeout: float) -> dict[str, Any]:
        try:
            message = self._lines.receive(timeout)
        except BrokenError as error:
            raise HostError(f"the system '{self.system}' does not answer: {error}") from error
        if message is None:
            raise HostError(f"the system '{self.system}' has just stopped")
        return message


class Typing(threading.Thread):
    """A guest's console, until it is closed or the system stops."""

    def __init__(self, lines: JsonLines, number: int, show: Callable[[bytes], None]) -> None:
        super().__init__(name="console", daemon=True)
        self._lines = lines
        self._number = number
        self._show = show
        self._error: RouterError | None = None
        self.start()

    def run(self) -> None:
        try:
            while (message := self._lines.receive(None)) is not None and "result" not in message:
                if "error" in message:
                    self._error = from_row(message["error"])
                    return
                self._show(decoded(message))
        except BrokenError as error:
            self._error = MachineError(f"the console does not answer: {error}")
        except ValueError:
            self._error = MachineError("the console's output is not base64")

    def send(self, data: bytes) -> None:
        """Type; MachineError when the system does not listen any more."""
        self._say(base64.b64encode(data).decode())

    def ended(self) -> bool:
        """Whether the console has ended; raises the error that it ended with."""
        if self._error is not None:
            raise self._error
        return not self.is_alive()

    def close(self) -> None:
        """Leave; what the console has said before is shown before."""
        if self.is_alive():
            self._say(None)
            self.join(ANSWER_TIMEOUT_S)

    def _say(self, text: str | None) -> None:
        try:
            self._lines.send({"id": self._number, "input": text})
        except BrokenError as error:
            raise MachineError(f"the console does not listen: {error}") from error
