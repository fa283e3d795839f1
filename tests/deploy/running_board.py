# SPDX-License-Identifier: BSD-2-Clause
"""A board on which a system runs: the multiplexer and the agents of tests/support/fake_qemu.py on a TCP port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType

from router.console.counts import Counts
from router.console.serial_line import ports
from tests.support import fake_qemu
from tests.support.fake_mux import FakeMux
from tests.support.patience import PATIENCE


class RunningBoard:
    """Its serial line is `device`, for one at a time. silent: nothing of the system is on it.

    guests: their names. answer: what runs their commands. counts: what the switch has counted, by its ports; without
    it is of an older router, which answers no question for that.
    """

    def __init__(
        self,
        *,
        silent: bool = False,
        guests: Sequence[str] = ("server", "client"),
        answer: fake_qemu.Answer = fake_qemu.shell,
        counts: Mapping[int, Counts] = MappingProxyType({}),
    ) -> None:
        self._ports = ports(guests)
        self._answer = answer
        self._counts = dict(counts)
        self._listen = socket.create_server(("127.0.0.1", 0))
        self._silent = silent
        self._line: socket.socket | None = None
        self._mux: FakeMux | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.device = f"socket://127.0.0.1:{self._listen.getsockname()[1]}"
        self.openings = 0

    def __enter__(self) -> RunningBoard:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listen.shutdown(socket.SHUT_RDWR)
        self.unplug()
        self._thread.join(PATIENCE)
        self._listen.close()

    def speak(self, line: str) -> None:
        """Say a line by itself, `NAME| text` of a port or one of no port."""
        assert self._mux is not None
        self._mux.line(line)

    def unplug(self) -> None:
        """The line goes away under whoever holds it."""
        with contextlib.suppress(OSError):
            if self._line is not None:
                self._line.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                self._line, _ = self._listen.accept()
            except OSError:
                return
            self.openings += 1
            with self._line, contextlib.suppress(OSError):
                if self._silent:
                    while self._line.recv(1024):
                        pass
                else:
                    self._mux = FakeMux(self._ports, self._line.sendall)
                    self._mux.counts = self._counts
                    fake_qemu.keyboard(self._line, self._mux, self._answer)
