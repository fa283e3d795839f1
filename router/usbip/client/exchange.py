# SPDX-License-Identifier: BSD-2-Clause
"""A client's requests, written once as generators that yield how many bytes they need next; two ways to run them."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Generator

from router.errors import MachineError, RouterError
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop, net

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Steps = Generator[int, bytes, Any]


# Shorter than TCP's own second try would need: a new attempt finds a server that has just come up sooner.
CONNECT_TIMEOUT_S = 1.5
# For a whole answer to a command, however the server doles it out.
WHOLE_ANSWER_TIMEOUT_S = 30.0


class RefusedError(MachineError):
    """The server said no; `status` is its ST_*."""

    def __init__(self, status: int, where: str | None = None) -> None:
        text = handshake.STATUS_TEXT.get(status, f"status {status}")
        super().__init__(f"the server refuses: {text}", None, where)
        self.status = status


def import_steps(busid: str) -> Generator[int, bytes, Device]:
    """The answer to an import request: the device; it must be the one that was asked for."""
    status = handshake.check_reply((yield handshake.COMMON_SIZE), handshake.OP_IMPORT)
    if status != handshake.ST_OK:
        raise RefusedError(status, busid)
    device, _ = handshake.unpack_device((yield handshake.DEVICE_SIZE))
    if device.busid != busid:
        raise handshake.WireError(f"the server answered for {device.busid} where {busid} was asked for")
    return device


def devlist_steps(odd: Callable[[str], None] = lambda _: None) -> Generator[int, bytes, list[Device]]:
    """The answer to a device list request. A record that no device can have is left out and said to `odd`."""
    status = handshake.check_reply((yield handshake.COMMON_SIZE), handshake.OP_DEVLIST)
    if status != handshake.ST_OK:
        raise RefusedError(status)
    devices: list[Device] = []
    for _ in range(handshake.unpack_count((yield handshake.COUNT_SIZE))):
        record = yield handshake.DEVICE_SIZE
        interfaces = handshake.interface_count(record)
        triples = (yield interfaces * handshake.INTERFACE_SIZE) if interfaces else b""
        try:
            device, _ = handshake.unpack_device(record)
        except handshake.WireError as error:
            odd(error.message)
            continue
        device.interfaces = handshake.unpack_interfaces(triples)
        devices.append(device)
    return devices


def watch_steps(heard: Callable[[list[handshake.Grant]], None]) -> Generator[int, bytes, None]:
    """The answer to a watch request: never ends, calls `heard` with each list."""
    status = handshake.check_reply((yield handshake.COMMON_SIZE), handshake.OP_WATCH)
    if status != handshake.ST_OK:
        raise RefusedError(status)
    version, _ = handshake.unpack_watch_head((yield handshake.WATCH_HEAD_SIZE))
    if version != handshake.WATCH_VERSION:
        raise handshake.WireError(f"the server's watch extension has version {version}")
    while True:
        length = handshake.unpack_watch_length((yield handshake.COUNT_SIZE))
        heard(handshake.unpack_watch_list((yield length)))


def run_steps(sock: socket.socket, request: bytes, steps: Steps) -> Any:
    """Sends the request on a blocking socket and returns the steps' result; MachineError when the peer fails."""
    until = time.monotonic() + WHOLE_ANSWER_TIMEOUT_S
    try:
        sock.sendall(request)
        need = next(steps)
        while True:
            need = steps.send(net.receive_exactly(sock, need, until))
    except StopIteration as result:
        return result.value
    except EOFError as error:
        raise MachineError(f"no whole answer: {error}", "does the server speak USB/IP?") from error
    except TimeoutError as error:
        raise MachineError("the server does not answer") from error
    except OSError as error:
        raise MachineError(f"the connection broke: {os.strerror(error.errno or 0)}") from error


class Exchange:
    """A request on the loop. `done(result, error, sock)` is called once; the socket is the callee's when error is None.

    timeout: seconds for the whole answer, once the connection stands. `sent` says whether it came to stand, `answered`
    whether the peer said anything.
    """

    def __init__(
        self,
        loop: event_loop.Loop,
        address: net.Address,
        request: bytes,
        steps: Steps,
        done: Callable[[Any, Exception | None, socket.socket | None], None],
        timeout: float,
    ) -> None:
        self.sent = False
        self.answered = False
        self._loop = loop
        self._steps = steps
        self._done = done
        self._out = request
        self._data = bytearray()
        self._need = 0
        self._timeout = timeout
        self._over = False
        self._socket: socket.socket | None = None
        self._timer = loop.call_later(CONNECT_TIMEOUT_S, self._expired)
        try:
            self._socket = net.start_connect(address)
        except (OSError, RouterError) as error:
            problem = error
            loop.call_soon(lambda: self._finish(None, problem))
            return
        loop.watch(self._socket.fileno(), event_loop.OUT, self._ready, self._fail)

    def close(self) -> None:
        """Gives the exchange up; `done` is not called."""
        self._over = True
        self._timer.cancel()
        if self._socket:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def beat(self) -> None:
        """Tells the peer of a watch that this client lives; one that does not fit is left out, as if it were lost.

        Not before the peer has answered: one that knows no watch knows no beats.
        """
        if self._socket is None or not self.answered:
            return
        try:
            self._socket.send(handshake.BEAT)
        except BlockingIOError:
            return
        except OSError as error:
            self._finish(None, error)

    def unhurried(self) -> None:
        """Takes the time limit away (a watch lasts)."""
        self._timer.cancel()

    def _expired(self) -> None:
        self._finish(None, TimeoutError("no answer in time" if self.sent else "no connection in time"))

    def _finish(self, result: Any, error: Exception | None) -> None:
        if self._over:
            return
        sock = None
        if error is None and self._socket:
            sock, self._socket = self._socket, None
            self._loop.forget(sock.fileno())
        self.close()
        self._done(result, error, sock)

    def _ready(self, happened: int) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            if not self.sent:
                self._send(sock)
            else:
                self._receive(sock)
        except BlockingIOError:
            return
        except StopIteration as result:
            self._finish(result.value, None)

    def _fail(self, error: Exception) -> None:
        """Whatever the answer made go wrong, it is this exchange that failed."""
        self._finish(None, error)

    def _send(self, sock: socket.socket) -> None:
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise OSError(problem, os.strerror(problem))
        self._out = self._out[sock.send(self._out) :]
        if not self._out:
            self.sent = True
            self._need = next(self._steps)
            self._timer.cancel()
            self._timer = self._loop.call_later(self._timeout, self._expired)
            self._loop.watch(sock.fileno(), event_loop.IN, self._ready, self._fail)

    def _receive(self, sock: socket.socket) -> None:
        part = sock.recv(self._need - len(self._data))
        if not part:
            raise EOFError("the server closed the connection")
        self.answered = True
        self._data += part
        if len(self._data) == self._need:
            data, self._data = bytes(self._data), bytearray()
            self._need = self._steps.send(data)
