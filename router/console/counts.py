# SPDX-License-Identifier: BSD-2-Clause
"""Questions to the console for the switch's counters, and the answers (docs/reference/serial-line.md).

What comes back has passed a line that alters bytes, from a system that may be of another version: each answer is
parsed with bounds, and what it says is numbers and one of three words.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from router.console.frames import KEYS, SEQUENCES, to_port
from router.errors import MachineError

ASKS = b"counts "
"""Begins the body of a question, and of each frame of its answer; the key of the switch's port follows
(`MUX_COUNTS`)."""
MAX_VALUES = 48
"""Of one port (`TALLY_VALUES` of common/tally.h)."""
MAX_VALUE = (1 << 64) - 1
RETRY_S = 1.0
"""Without a frame of the answer, after which the question is asked again."""
FRAMES, PACKETS, NOTHING = "frames", "packets", "nothing"

_ANSWER = re.compile(rb"counts ([0-9a-zA-Z]) (frames|packets|nothing) ([0-9]{1,2})/([0-9]{1,2})((?: [0-9]{1,20})*)")


@dataclass(frozen=True)
class Counts:
    """One port's counters as the switch has published them. kind: `frames`, `packets` or `nothing`."""

    kind: str
    values: tuple[int, ...]
    """At the places that `enum tally_value` of common/tally.h names; each has 64 bits."""


@dataclass(frozen=True)
class Part:
    """One frame of an answer: the values from `first` on, of `count`."""

    port: int
    kind: str
    first: int
    count: int
    values: tuple[int, ...]


def parse_part(body: bytes) -> Part:
    """The body of a frame of an answer. MachineError when it is none, or when a number is out of its bounds."""
    found = _ANSWER.fullmatch(body)
    if found is None:
        raise MachineError("the console's answer about the switch's counters makes no sense")
    values = tuple(int(value) for value in found[5].split())
    part = Part(KEYS.index(found[1]), found[2].decode(), int(found[3]), int(found[4]), values)
    if part.count > MAX_VALUES or part.first + len(values) > part.count or max(values, default=0) > MAX_VALUE:
        raise MachineError("the console's answer about the switch's counters has a number out of its bounds")
    return part


class Question:
    """Asks for the counters of a port of the switch, and again while no answer comes.

    system: the number of the serial line's system port. One thread calls `take`, `due` and `said`; any may `wait`.
    """

    def __init__(self, system: int, port: int) -> None:
        self._system = system
        self._port = port
        self._sequence = secrets.randbelow(SEQUENCES)
        self._due = 0.0
        self._parts: dict[int, dict[int, Part]] = {}
        """By the question's sequence number, then by the first value's place."""
        self._over = threading.Event()
        self._found: Counts | None = None
        self._error: MachineError | None = None

    def take(self, now: float) -> bytes:
        """The frame that is to be sent now; empty when there is none."""
        if now < self._due or self._over.is_set():
            return b""
        self._due = now + RETRY_S
        # The answer to the question before may still be on its way; of older ones nothing comes any more.
        before = self._parts.get(self._sequence, {})
        self._parts = {self._sequence: before, (self._sequence + 1) % SEQUENCES: {}}
        self._sequence = (self._sequence + 1) % SEQUENCES
        return to_port(self._system, self._sequence, ASKS + KEYS[self._port : self._port + 1])[0]

    def due(self) -> float | None:
        """When `take` has something next, unless an answer comes."""
        return None if self._over.is_set() else self._due

    def said(self, sequence: int, body: bytes, now: float) -> None:
        """The system has said something to a frame: perhaps a part of the answer."""
        if sequence not in self._parts or self._over.is_set():
            return
        try:
            part = parse_part(body)
        except MachineError as error:
            self._error = error
            self._over.set()
            return
        if part.port != self._port:
            return
        self._due = now + RETRY_S
        parts = self._parts[sequence]
        parts[part.first] = part
        whole = _joined(parts)
        if whole is not None:
            self._found = whole
            self._over.set()

    def fail(self, why: str) -> None:
        """No answer will come."""
        if not self._over.is_set():
            self._error = MachineError(why)
            self._over.set()

    def wait(self, seconds: float) -> Counts | None:
        """The answer; None when it does not come in time. MachineError when it makes no sense, or cannot come."""
        self._over.wait(seconds)
        if self._error is not None:
            raise self._error
        return self._found


def _joined(parts: Mapping[int, Part]) -> Counts | None:
    """All values, once every part is there."""
    one = next(iter(parts.values()))
    values: list[int] = []
    while len(values) < one.count:
        part = parts.get(len(values))
        if part is None or not part.values or (part.count, part.kind) != (one.count, one.kind):
            return None
        values += part.values
    return Counts(one.kind, tuple(values))
