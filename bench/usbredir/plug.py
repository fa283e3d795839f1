# SPDX-License-Identifier: BSD-2-Clause
"""The plug of a made device: a unix socket on which QEMU's usb-redir finds it, served by a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench.usbredir.made import MadeDevice
from bench.usbredir.session import Session
from router.usbip.runtime import event_loop
from router.usbip.virtual.device import VirtualDevice


class Plug:
    """Listens on `path`, and gives each QEMU that connects the device, one QEMU at a time. A context.

    device: what is plugged in; None: nothing, until `insert`. It is used in the plug's thread; what it records may be
    read in another one.
    """

    def __init__(self, path: Path, device: VirtualDevice | None) -> None:
        self.path = path
        self.device = device
        self.trouble: list[str] = []
        """What no QEMU and no device may do, in words."""
        self._loop = event_loop.Loop()
        self._session: Session | None = None
        self._stop = False
        self._turn = threading.Lock()
        self._wishes: list[Callable[[], None]] = []
        self._wake, self._woken = socket.socketpair()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._loop.watch(self._listener.fileno(), event_loop.IN, self._accept)
        self._loop.watch(self._woken.fileno(), event_loop.IN, self._do_wishes)
        self._introduce(device)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def insert(self, device: VirtualDevice | None) -> None:
        """Pull out what is plugged in, and plug that in; None: nothing. From any thread; returns when it is begun."""
        done = threading.Event()

        def change() -> None:
            self.become(device)
            done.set()

        self._soon(change)
        if not done.wait(10):
            raise RuntimeError("the plug's thread has ended: " + "; ".join(self.trouble))

    def close(self) -> None:
        """End the thread and the connection; the device is unplugged."""
        if self._stop:
            return
        self._stop = True
        self._soon(lambda: None)
        self._thread.join()
        if self._session is not None:
            self._session.close()
        if self.device is not None:
            self.device.close()
        for each in (self._listener, self._wake, self._woken):
            each.close()
        self._loop.close()
        self.path.unlink()

    def _run(self) -> None:
        try:
            while not self._stop:
                self._loop.run_once()
        except Exception as error:  # a device's mistake, which the test that uses it must see
            self.trouble.append(repr(error))
            raise

    def _soon(self, wish: Callable[[], None]) -> None:
        with self._turn:
            self._wishes.append(wish)
        self._wake.send(b"!")

    def _do_wishes(self, _: int) -> None:
        self._woken.recv(64)
        with self._turn:
            wishes, self._wishes = self._wishes, []
        for wish in wishes:
            wish()

    def _introduce(self, device: VirtualDevice | None) -> None:
        if isinstance(device, MadeDevice):
            device.become = self.become

    def become(self, device: VirtualDevice | None) -> None:
        """`insert` for what runs in the plug's thread, as devices do."""
        self._introduce(device)
        self.device = device
        if self._session is not None:
            self._session.plug(device)

    def _accept(self, _: int) -> None:
        sock, _address = self._listener.accept()
        if self._session is not None:
            sock.close()
            return
        session = Session(self._loop, sock, self.device, self._ended)
        session.trouble = self.trouble
        self._session = session

    def _ended(self) -> None:
        self._session = None
