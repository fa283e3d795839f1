# SPDX-License-Identifier: BSD-2-Clause
"""Answers a guest's control agent out of a daemon that runs anyway: starting Python for each question costs a guest
more time than everything else about it.

The agent writes the identifier of a request into the pipe `ask.VERB`, and the daemon writes the answer's lines, as
docs/reference/control-channel.md has them, into the pipe `answers`. Its reader passes on what the agent waits for: a
daemon that was taken over must not answer other requests. The daemon makes `ask.VERB` once it can answer; `answers`
is there where the image has a reader.
"""

from __future__ import annotations

import binascii
import fcntl
import os
from collections.abc import Callable

from router.errors import HostError, RouterError
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text, printable

_PIECE = 720
"""Bytes of output in one line. It is then shorter than 1024 bytes, the buffer that the reader may have for a terminal,
and so goes to the channel in one write. A pipe takes 4096 bytes as a whole (PIPE_BUF)."""
_ROOM = 1 << 20
"""Bytes of the pipe `answers`: room for 700 KiB of output, some 1000 devices."""
_MAX_REQUESTS = 4096
_MAX_DIGITS = 20


class AnsweringPipe:
    """Both pipes for one verb; answer: makes the text, and may raise RouterError or OSError.

    To be made before the daemon is confined. OSError if the folder has no `answers`.
    """

    def __init__(self, loop: event_loop.Loop, verb: str, answer: Callable[[], str], folder: str) -> None:
        self._loop = loop
        self._answer = answer
        self._path = f"{folder}/ask.{verb}"
        both = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        # Opened for writing alone it has to have a reader, which may start later.
        reader = os.open(f"{folder}/answers", both)
        try:
            self._answers = os.open(f"{folder}/answers", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        finally:
            os.close(reader)
        try:
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _ROOM)
            _remove(self._path)
            os.mkfifo(self._path, 0o600)
            self._asked = os.open(self._path, both)
        except OSError:
            os.close(self._answers)
            raise
        loop.watch(self._asked, event_loop.IN, self._ready)

    def close(self) -> None:
        self._loop.forget(self._asked)
        os.close(self._asked)
        os.close(self._answers)
        try:
            _remove(self._path)
        except OSError:
            # A confined daemon may not remove it; what has started the daemon does.
            return

    def _ready(self, _: int) -> None:
        try:
            requests = os.read(self._asked, _MAX_REQUESTS).split()
        except BlockingIOError:
            return
        for identifier in requests:
            if identifier.isdigit() and len(identifier) <= _MAX_DIGITS:
                self._say(identifier)

    def _say(self, identifier: bytes) -> None:
        try:
            text, code = self._answer(), 0
        except RouterError as error:
            text, code = "".join(f"{printable(line)}\n" for line in str(error).split("\n")), error.exit_code
        except OSError as error:
            text, code = f"error: {error_text(error)}\n", HostError.exit_code
        output = text.encode("utf-8", "backslashreplace")
        pieces = [output[at : at + _PIECE] for at in range(0, len(output), _PIECE)]
        lines = [b"%s o %s" % (identifier, binascii.b2a_base64(piece, newline=False)) for piece in pieces]
        for line in (*lines, b"%s x %d" % (identifier, code)):
            try:
                os.write(self._answers, line + b"\n")
            except (BlockingIOError, BrokenPipeError):
                # Its reader does not read, or starts again. The agent or the caller notices by a timeout.
                log("the control channel takes no answers: one is left out")
                return


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def answer_agent(loop: event_loop.Loop, verb: str, answer: Callable[[], str], folder: str) -> AnsweringPipe | None:
    """The pipe for that verb; None without a folder, and where it cannot be had: then the agent starts a program."""
    if not folder:
        return None
    try:
        return AnsweringPipe(loop, verb, answer, folder)
    except OSError as error:
        log(f"`{verb}` is answered by a program of its own: {error_text(error)}")
        return None
