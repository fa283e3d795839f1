# SPDX-License-Identifier: BSD-2-Clause
"""A client that sends more than a device takes, by way of the user-space engines."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from router.usbip.engines import session as engine
from router.usbip.engines.session import UserSession
from router.usbip.protocol import urb
from router.usbip.runtime.event_loop import SCRATCH_SIZE, Loop
from tests.support.patience import PATIENCE

if TYPE_CHECKING:
    from router.usbip.engines.target import Completer

USER_TIMEOUT_S = 2
SIZE = 8192


class Stuck:
    """A device that ends no transfer."""

    def is_isochronous(self, address: int) -> bool:
        return False

    def kind_of(self, address: int) -> int:
        return 2

    def submit(self, submit: urb.Submit, session: Completer) -> None:
        return

    def settle(self) -> None:
        return

    def cancel(self, submit: urb.Submit, session: Completer) -> None:
        return

    def buffer(self, size: int) -> bytearray:
        return bytearray(size)

    def stop(self, session: Completer) -> None:
        return


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.mark.parametrize(("ahead", "error"), [(64 << 20, 0), (1 << 20, errno.ETIMEDOUT)])
def test_a_client_is_kept_while_its_device_takes_nothing_until_too_much_waits(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, ahead: int, error: int
) -> None:
    for name, value in {"MAX_IN_FLIGHT": 1 << 16, "MAX_DEFERRED": 1 << 16, "MAX_OVERREAD": ahead}.items():
        monkeypatch.setattr(engine, name, value)
    monkeypatch.setattr(engine, "OVERREAD_INTERVAL_S", USER_TIMEOUT_S / 5)
    # Through a small window, so that what is read opens it whatever this machine's buffers are.
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    stream = b"".join(urb.pack_submit(urb.Submit(n, 1, urb.OUT, 2, SIZE, bytes(SIZE))) for n in range(1, 4000))
    with listener, socket.create_connection(listener.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * USER_TIMEOUT_S)
        client.setblocking(False)
        session = UserSession(loop, listener.accept()[0], Stuck(), lambda: None)
        sent, found, end = 0, 0, time.monotonic() + (PATIENCE if error else 4 * USER_TIMEOUT_S)
        while time.monotonic() < end and not found:
            try:
                sent += client.send(stream[sent : sent + SIZE])
            except BlockingIOError:
                loop.run_once(0.02)
            except OSError as problem:
                found = problem.errno or 0
        waiting = len(session._in)
        session.close()
    assert found == error
    assert sent < len(stream), "there was more to send all the time"
    assert waiting <= ahead + SCRATCH_SIZE
