# SPDX-License-Identifier: BSD-2-Clause
"""A process for calls that may wait in the kernel, so that the daemon which needs them goes on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

from router.usbip.runtime import event_loop

MAX_REQUEST = 4096
Done = Callable[[OSError | None], None]


class Helper:
    """Runs `work` with the words of each request, one after another, in a process of its own.

    It is forked at once, and first calls `prepare` there: a daemon that confines itself makes its helpers before, and
    each confines itself. It ends with the daemon.
    """

    def __init__(
        self, loop: event_loop.Loop, work: Callable[[list[str]], None], prepare: Callable[[], None] | None = None
    ) -> None:
        self._loop = loop
        self._done: Done | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            try:
                _serve(theirs, work, prepare)
            finally:
                os._exit(0)
        theirs.close()
        loop.watch(self._socket.fileno(), event_loop.IN, self._answered)

    @property
    def idle(self) -> bool:
        """Whether it can be asked."""
        return self._done is None

    def ask(self, words: list[str], done: Done) -> None:
        """Has `work` called; `done` gets the OSError that it raised, or None. Only while it is idle."""
        assert self.idle, "one request at a time"
        self._done = done
        try:
            self._socket.send("\n".join(words).encode())
        except OSError as error:
            self._finish(error)

    def close(self) -> None:
        """Ends it, once it has done what it is at."""
        if self._socket.fileno() >= 0:
            self._loop.forget(self._socket.fileno())
            self._socket.close()

    def _answered(self, _: int) -> None:
        answer = self._socket.recv(MAX_REQUEST).decode()
        if not answer:
            # Without it the daemon is not what it should be: whoever started it starts it again.
            raise ChildProcessError("a helper process has ended")
        number = int(answer)
        self._finish(OSError(number, os.strerror(number)) if number else None)

    def _finish(self, error: OSError | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(error)


def _serve(sock: socket.socket, work: Callable[[list[str]], None], prepare: Callable[[], None] | None) -> None:
    """The helper's life: until the daemon closes its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Ctrl-C in a terminal is for the daemon, whose end is the helper's too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Of the daemon's descriptors only standard output and error are the helper's.
    mine = sock.fileno()
    os.closerange(3, mine)
    os.closerange(mine + 1, os.sysconf("SC_OPEN_MAX"))
    if prepare is not None:
        prepare()
    while request := sock.recv(MAX_REQUEST):
        try:
            work(request.decode().split("\n"))
            number = 0
        except OSError as error:
            number = error.errno or 5
        sock.send(str(number).encode())
