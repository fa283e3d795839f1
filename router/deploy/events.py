# SPDX-License-Identifier: BSD-2-Clause
"""The events of a deployment: one stream for the terminal, for --json and from a lab host."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from router.errors import RouterError, Stopped, from_row, to_row

KINDS: dict[str, dict[str, type]] = {
    "step": {"name": str},  # a piece of work begins
    "done": {"name": str, "seconds": float, "text": str},  # it has ended well
    "progress": {"name": str, "done": int, "size": int},  # bytes
    "command": {"text": str},  # sent to the boot loader
    "note": {"text": str},
    "warning": {"text": str},
    "ask": {"text": str},  # the user has to do something
    "milestone": {"name": str, "seconds": float, "line": str},  # seconds since the start command
    "console": {"text": str},  # one line of the board's console
    "result": {"ok": bool},  # of a failure also error (kind, message, hint, where) and exit_code
}
"""The kinds of events, with the fields that each has."""
FAILURE = {"error": dict, "exit_code": int}
MAX_NUMBER = 1 << 62
"""Of a field: what can be shown as a decimal fraction."""


@dataclass(frozen=True, slots=True)
class DeployEvent:
    """One thing that happened `at` seconds after the deployment began."""

    kind: str
    at: float
    data: dict[str, Any] = field(default_factory=dict)

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps({"event": self.kind, "at": round(self.at, 3), **self.data})


def from_line(line: str) -> DeployEvent:
    """The event of one line of JSON; ValueError when it is none, or one without the fields of its kind."""
    try:
        raw = json.loads(line)
    except RecursionError:
        raise ValueError("not an event: nested too deep") from None
    kind = raw.pop("event", None) if isinstance(raw, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"not an event: {line[:80]!r}")
    at, fields = raw.pop("at", 0.0), KINDS[kind]
    if kind == "result" and raw.get("ok") is False:
        fields = fields | FAILURE
    if raw.keys() != fields.keys() or not all(_fits(raw[name], kind) for name, kind in fields.items()):
        raise ValueError(f"not an event of the kind {kind}: {line[:80]!r}")
    if not _fits(at, float):
        raise ValueError(f"an event without its time: {line[:80]!r}")
    return DeployEvent(kind, float(at), raw)


def _fits(value: Any, kind: type) -> bool:
    if kind in (int, float) and type(value) in (int, kind):
        return bool(-MAX_NUMBER < value < MAX_NUMBER)
    return type(value) is kind


class Reporter:
    """Stamps events and hands them to one sink; the runner's only way to say anything."""

    def __init__(self, sink: Callable[[DeployEvent], None]) -> None:
        self._sink = sink
        self._started = time.monotonic()
        self._lock = threading.Lock()  # the TFTP server speaks from threads of its own
        self.last: str | None = None

    def say(self, kind: str, **data: Any) -> None:
        """Emit one event of a kind in KINDS."""
        with self._lock:
            self.last = kind
            self._sink(DeployEvent(kind, time.monotonic() - self._started, data))

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """A named, timed piece of work; what is appended to the list it yields becomes its closing text."""
        started = time.monotonic()
        self.say("step", name=name)
        texts: list[str] = []
        yield texts
        self.say("done", name=name, seconds=round(time.monotonic() - started, 3), text=", ".join(texts))

    def failed(self, error: RouterError) -> None:
        """Emit the final event of a run that ended in an error."""
        self.say("result", ok=False, error=to_row(error), exit_code=error.exit_code)


def error_of(event: DeployEvent) -> RouterError | None:
    """The error that a result event carries, as it was raised on the other side; None when the run went well."""
    return None if event.data.get("ok") else from_row(event.data.get("error"))


def _ignore(number: int, _: FrameType | None) -> None:
    """Not SIG_IGN, which the programs that clean up would inherit."""


@contextmanager
def stoppable(left: str) -> Iterator[None]:
    """Turn the signals that end a process into Stopped, so that everything is left in order; `left` says so.

    Only the first: a second Ctrl-C would end the cleaning up. Nothing happens outside of the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        for each in wanted:
            signal.signal(each, _ignore)
        raise Stopped(f"stopped by {signal.Signals(number).name}", hint=left)

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in wanted]
    try:
        yield
    finally:
        for number, handler in zip(wanted, before, strict=True):
            signal.signal(number, handler)
