# SPDX-License-Identifier: BSD-2-Clause
"""The control channel: running commands in a guest through its agent on hvc1 (guest-images/common).

The protocol is one line each, described in docs/reference/control-channel.md. Besides the agent, a guest's
daemon writes there, through a filter that passes answers to its own questions alone. A line that does not parse is a
remnant (of an earlier caller, or from before the guest was up) and is skipped.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import os
import secrets
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from router.control.system import MAX_OUTPUT
from router.errors import MachineError

_HELLO = b"router-agent 1 "
_POKE = 0.5  # seconds between empty lines that ask an agent for its greeting
_GRACE = 2.0  # seconds that a killed command has to report its end
_LOOK = 0.2  # seconds between looks at whether the command is still wanted
_LONGEST = 1 << 16  # bytes of one line; the agent's are below 4 KiB
_MAX_STALE = 1 << 20  # bytes of remnants that are thrown away before a command: more than any reader in between keeps
_MAX_CODE = 255  # of an exit
_LAST_WORDS = 4096  # bytes of output that are kept for an error


class Stream(Protocol):
    """A connected byte stream: a socket, a pseudo-terminal's file, anything with a descriptor to read and write."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class AgentChannel:
    """One guest's control channel over `stream`, which stays the caller's to close, and which no longer blocks.

    Not for several threads at once, except for `forget`.
    lost: how many pieces of what the agent said are known to be lost so far, where the channel may lose some.
    expect_answer: called with True before a command, and with False after it.
    """

    def __init__(
        self,
        stream: Stream,
        guest: str = "guest",
        lost: Callable[[], int] = lambda: 0,
        expect_answer: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._stream = stream
        # `select` may name data that another reader takes first: then a blocking read would ignore every timeout.
        os.set_blocking(stream.fileno(), False)
        self._expect_answer = expect_answer
        self._guest = guest
        self._lost = lost
        self._buffer = b""
        self._whole: deque[bytes] = deque()
        self._greeted = False
        self._restarted = False
        # Identifiers do not repeat between callers that follow one another on the same channel.
        self._ids = itertools.count(secrets.randbelow(1 << 30) + 1)

    def forget(self) -> None:
        """The guest has started again: nothing is known of its agent. Any thread may say so, also while one waits."""
        self._restarted = True
        self._greeted = False

    def hello(self, timeout: float, cancelled: Callable[[], bool] | None = None) -> str:
        """Waits for the agent and returns the guest's name as the agent tells it.

        Raises MachineError when it does not answer within `timeout` seconds, once `cancelled` (asked a few times a
        second) says so, and when the channel is closed.
        """
        deadline = time.monotonic() + timeout
        if self._restarted:
            self._restarted = False
            self._discard()  # a greeting of before the restart says nothing
        while not (cancelled and cancelled()):
            self._send(b"\n", deadline, cancelled)
            poke = time.monotonic() + _POKE
            while (now := time.monotonic()) < min(deadline, poke) and not (cancelled and cancelled()):
                for line in self._lines(min(deadline, poke, now + _LOOK)):
                    if line.startswith(_HELLO):
                        self._greeted = not self._restarted
                        return line[len(_HELLO) :].decode("utf-8", "replace").strip()
            if time.monotonic() >= deadline:
                raise MachineError(
                    f"no answer on the control channel within {timeout:g} s", "see the guest's console log", self._guest
                )
        raise self._unwanted()

    def run(
        self,
        command: str | Callable[[], str],
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Runs a shell command in the guest: (exit code, standard output and standard error together).

        command: also a function that makes it, which is called when the agent is there to take it.
        on_output gets the output in pieces as it appears, and nothing of it is returned. After `timeout` seconds, or
        once `cancelled` (asked a few times a second) says so, the command is killed, with its children, and a
        MachineError is raised; also when it has printed more than MAX_OUTPUT without on_output, and when the channel
        is closed or loses some of the answer.
        """
        self._expect_answer(True)
        try:
            return self._run(command, timeout, on_output, cancelled)
        finally:
            self._expect_answer(False)

    def _run(
        self,
        command: str | Callable[[], str],
        timeout: float,
        on_output: Callable[[bytes], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout
        self._discard()
        # What another program of the guest has written there without a line end would take the answer's line with it.
        if self._buffer or not self._greeted:
            self.hello(timeout, cancelled)
        command = command if isinstance(command, str) else command()
        lost = self._lost()
        identifier = b"%d" % next(self._ids)
        self._send(identifier + b" " + base64.b64encode(command.encode()) + b"\n", deadline, cancelled)
        output = _Output(on_output)
        code = self._collect(identifier, deadline, output, cancelled)
        if code is None:
            late = time.monotonic() >= deadline
            said = output.last_line()
            self._send(identifier + b" kill\n", time.monotonic() + _GRACE)
            self._collect(identifier, time.monotonic() + _GRACE, output)
            why = f"did not end within {timeout:g} s" if late else "was cancelled"
            if output.full:
                why = f"printed more than {MAX_OUTPUT >> 20} MiB"
            raise MachineError(f"the command {why}: {command}", said, self._guest)
        missing = self._lost() - lost
        if missing:
            raise MachineError(
                f"the serial line has lost {missing} pieces of what the command said: {command}",
                f"it has ended with exit code {code}; its output is incomplete",
                self._guest,
            )
        return code, bytes(output.kept)

    def _collect(
        self,
        identifier: bytes,
        deadline: float,
        output: _Output,
        cancelled: Callable[[], bool] | None = None,
    ) -> int | None:
        """The exit code, or None when the time is over or the command is not wanted any more."""
        code: int | None = None
        full = output.full
        while code is None and time.monotonic() < deadline and not (cancelled and cancelled()):
            until = min(deadline, time.monotonic() + _LOOK) if cancelled else deadline
            code = self._take(identifier, until, output)
            if output.full and not full:
                break
        return code

    def _take(self, identifier: bytes, deadline: float, output: _Output) -> int | None:
        for line in self._lines(deadline):
            words = line.split()
            if len(words) != 3 or words[0] != identifier:
                continue
            try:
                if words[1] == b"o":
                    chunk = base64.b64decode(words[2], validate=True)
                elif words[1] == b"x" and 0 <= (code := int(words[2])) <= _MAX_CODE:
                    return code
                else:
                    continue
            except (ValueError, binascii.Error):
                continue
            full = output.full
            output.add(chunk)
            if output.full and not full:
                break
        return None

    def _discard(self) -> None:
        """Throw away what has come since the last command: no command has asked for it."""
        self._whole.clear()
        self._buffer = b""
        stale = 0
        while stale < _MAX_STALE and self._ready(reading=True, seconds=0):
            try:
                data = os.read(self._stream.fileno(), 1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                raise self._closed() from error
            if not data:
                raise self._closed()
            stale += len(data)
            # The beginning of a line may belong to one that goes on.
            self._buffer = data.rpartition(b"\n")[2][-_LONGEST:]

    def _lines(self, deadline: float) -> Iterator[bytes]:
        """Complete lines as they come, until `deadline`; what follows the last one stays for the next call."""
        while True:
            while self._whole:
                yield self._whole.popleft().strip()
            if len(self._buffer) > _LONGEST:
                self._buffer = b""
            wait = deadline - time.monotonic()
            if wait <= 0 or not self._ready(reading=True, seconds=wait):
                return
            try:
                data = os.read(self._stream.fileno(), 1 << 16)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._closed() from error
            if not data:
                raise self._closed()
            *whole, self._buffer = (self._buffer + data).split(b"\n")
            self._whole.extend(whole)

    def _send(self, data: bytes, deadline: float, cancelled: Callable[[], bool] | None = None) -> None:
        view = memoryview(data)
        while view:
            if cancelled and cancelled():
                raise self._unwanted()
            wait = deadline - time.monotonic()
            if wait <= 0:
                raise MachineError("the control channel takes no more data", "see the guest's console log", self._guest)
            if not self._ready(reading=False, seconds=min(wait, _LOOK)):
                continue
            try:
                view = view[os.write(self._stream.fileno(), view[:2048]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._closed() from error

    def _ready(self, *, reading: bool, seconds: float) -> bool:
        mine = [self._stream]
        try:
            return any(select.select(mine if reading else [], [] if reading else mine, [], seconds))
        except (ValueError, OSError) as error:  # closed meanwhile, by another thread
            raise self._closed() from error

    def _unwanted(self) -> MachineError:
        return MachineError("the wait for the guest's agent was cancelled", where=self._guest)

    def _closed(self) -> MachineError:
        return MachineError("the control channel was closed", "the guest, or its machine, has ended", self._guest)


class _Output:
    """What a command prints: handed on, or kept up to a limit."""

    def __init__(self, on_output: Callable[[bytes], None] | None) -> None:
        self.kept = bytearray()
        self.full = False
        self._on_output = on_output
        self._last = b""

    def add(self, chunk: bytes) -> None:
        """The next piece."""
        self._last = (self._last + chunk)[-_LAST_WORDS:]
        if self._on_output is not None:
            self._on_output(chunk)
        elif len(self.kept) + len(chunk) > MAX_OUTPUT:
            self.full = True
        else:
            self.kept += chunk

    def last_line(self) -> str:
        """A hint for errors."""
        lines = self._last.decode("utf-8", "replace").strip().splitlines()
        return f"its last line of output: {lines[-1]}" if lines else "it printed nothing"
