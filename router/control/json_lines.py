# SPDX-License-Identifier: BSD-2-Clause
"""The wire between a running system and those who control it: one JSON object a line, each way, within limits."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from typing import Any

VERSION = 2
"""Grows when a client of before would misunderstand. New fields and new operations do not count."""
MAX_REQUEST_BYTES = 1 << 16
"""Bytes of one request, its line end included."""
MAX_ANSWER_BYTES = 1 << 20
"""Bytes of one answer."""
LINE_TIMEOUT_S = 10.0
"""Seconds that the other end may take to accept a line, or from a line's first byte to its last."""


class BrokenError(Exception):
    """The other end does not keep to the protocol, or not in time; the message says how."""


class JsonLines:
    """A connected socket as a stream of JSON objects. One thread may receive while others send."""

    def __init__(self, stream: socket.socket, longest: int) -> None:
        self._stream = stream
        self._longest = longest
        self._buffer = bytearray()
        self._sending = threading.Lock()

    def receive(self, timeout: float | None) -> dict[str, Any] | None:
        """The next object; None at the end of the stream, which may be closed meanwhile.

        BrokenError when nothing comes within `timeout` seconds (None: wait for ever), and for what is not an object,
        too long, or too slow.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) >= self._longest:
                raise BrokenError(f"a line of more than {self._longest} bytes")
            wait = None if until is None else max(0.0, until - time.monotonic())
            if self._stream.fileno() < 0:
                return None
            if not self._wait(select.POLLIN, wait):
                raise BrokenError("half a line, and then nothing" if self._buffer else "nothing for too long")
            try:
                data = self._stream.recv(1 << 16)
            except OSError:  # reset by the other end, or closed by another thread of this one
                data = b""
            if not data:
                return None
            if not self._buffer:
                until = time.monotonic() + LINE_TIMEOUT_S
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        if len(line) >= self._longest:
            raise BrokenError(f"a line of more than {self._longest} bytes")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BrokenError(f"not JSON: {error}") from None
        if not isinstance(value, dict):
            raise BrokenError("not a JSON object")
        return value

    def send(self, value: dict[str, Any]) -> None:
        """Send an object whole. BrokenError when the other end does not take it in time, or is gone."""
        view = memoryview(json.dumps(value).encode() + b"\n")
        end = time.monotonic() + LINE_TIMEOUT_S
        with self._sending:
            while view:
                try:
                    view = view[self._stream.send(view, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    # Only now the clock is looked at: it is the other end's time, not that which we were not running.
                    if not self._wait(select.POLLOUT, max(0.0, end - time.monotonic())):
                        raise BrokenError("the other end takes nothing") from None
                except OSError as error:
                    raise BrokenError("the other end is gone") from error

    def gone(self) -> bool:
        """Whether the other end has hung up."""
        return self._stream.fileno() < 0 or self._wait(select.POLLRDHUP, 0)

    def _wait(self, events: int, seconds: float | None) -> bool:
        """Whether one of the events, or the end of the connection, comes within that time (None: any)."""
        poll = select.poll()
        poll.register(self._stream, events)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def end(self) -> None:
        """End the conversation at both ends. The socket stays the caller's to close."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
