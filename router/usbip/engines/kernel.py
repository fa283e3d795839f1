# SPDX-License-Identifier: BSD-2-Clause
"""The engine `kernel`: exports devices through Linux's usbip-host, which then moves all data itself.

Attributes (drivers/usb/usbip/stub_main.c and stub_dev.c): the driver's `match_busid`, `bind`, `unbind`, `rebind`; the
device's `usbip_status` and `usbip_sockfd`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from router.errors import HostError
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.protocol.handshake import ImportRefused
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.sysfs import Sysfs, find_devices
from router.usbip.runtime.text import error_text

DRIVER = "usbip-host"
_DRIVER_DIR = f"bus/usb/drivers/{DRIVER}"
SDEV_GONE, SDEV_AVAILABLE, SDEV_USED, SDEV_ERROR = range(4)
# How long a device may take to come back after a session: its reset and, for a disk, its spin-up.
RELEASE_TIMEOUT_S = 10.0
RELEASE_POLL_S = 0.05
# usbip-host can lose one of two ends of a session that come at once: its own of a broken connection, and ours (seen on
# Linux 6.1 when a client was reset). The device then counts as in use for good, unless it is told again.
STOP_INTERVAL_S = 2.0
ADOPTED_POLL_S = 1.0
# A session with a socket ends by it; its status is looked at as well, so that an end that the socket does not show
# keeps no client from its device.
SESSION_POLL_S = 5.0


class KernelSession:
    """A device in a client's hands. The daemon keeps its own descriptor of the socket only to notice its end.

    A session that an earlier run of the daemon began has no socket here: the device's status is looked at instead.
    """

    def __init__(
        self, engine: KernelEngine, device: Device, sock: socket.socket | None, ended: Callable[[], None]
    ) -> None:
        self.device = device
        self._engine = engine
        self._socket = sock
        self._ended = ended
        self._waited = 0.0
        self._over = False
        self._stopped = False
        if sock:
            engine.loop.watch(sock.fileno(), event_loop.RDHUP, self._hangup)
        self._interval = SESSION_POLL_S if sock else ADOPTED_POLL_S
        engine.loop.call_later(self._interval, self._look)

    def close(self) -> None:
        """Ends the session; `ended` is called once the kernel has let go of the device."""
        if not self._stopped:
            self._stopped = True
            self._engine.stop(self.device)
        self._hangup(event_loop.HUP)

    def leave(self) -> None:
        """Leaves the session to the kernel: the daemon ends, the device stays in its client's hands."""
        self._over = True
        self._drop_socket()

    def _drop_socket(self) -> None:
        if self._socket:
            self._engine.loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _look(self) -> None:
        if self._over:
            return
        if self._engine.status(self.device) == SDEV_USED:
            self._engine.loop.call_later(self._interval, self._look)
        else:
            self._hangup(event_loop.HUP)

    def _hangup(self, _: int) -> None:
        if self._over:
            return
        self._over = True
        self._drop_socket()
        self._wait()

    def _wait(self) -> None:
        if self._engine.status(self.device) == SDEV_USED and self._waited < RELEASE_TIMEOUT_S:
            before, self._waited = self._waited, self._waited + RELEASE_POLL_S
            if before // STOP_INTERVAL_S != self._waited // STOP_INTERVAL_S:
                self._engine.stop(self.device)
            self._engine.loop.call_later(RELEASE_POLL_S, self._wait)
            return
        self._ended()


class KernelEngine:
    """usbip-host below a sysfs."""

    name = "kernel"

    def __init__(self, loop: event_loop.Loop, sysfs: Sysfs | None = None) -> None:
        self.loop = loop
        self.sysfs = sysfs or Sysfs()

    def check(self) -> None:
        """HostError if the kernel has no usbip-host."""
        if not self.sysfs.exists(_DRIVER_DIR):
            raise HostError("the kernel module usbip-host is not loaded", "run: modprobe usbip-host")

    def scan(self, known: dict[str, Device], late: set[str]) -> dict[str, Device]:
        """Every exportable device by busid; `known` is what the last scan gave. `late` gets those not ready yet."""
        return find_devices(self.sysfs, known, late)

    def driver(self, busid: str) -> str:
        return self.sysfs.link(f"bus/usb/devices/{busid}/driver")

    def claim(self, device: Device) -> None:
        """Takes the device from its driver and gives it to usbip-host. OSError: not now, the caller may try again."""
        busid = device.busid
        driver = self.driver(busid)
        if driver == DRIVER:
            return
        if driver:
            self.sysfs.write(f"bus/usb/drivers/{driver}/unbind", busid)
        # Never "del" while the device is bound: when it is then unplugged, its entry stays in usbip-host's table for
        # good, marked as removed, and no device at that place can be bound again (Linux 6.1). An entry that is simply
        # left there serves at the next plugging in; the table has 16.
        self.sysfs.write(f"{_DRIVER_DIR}/match_busid", f"add {busid}")
        self.sysfs.write(f"{_DRIVER_DIR}/bind", busid)

    def renew(self, device: Device) -> None:
        """Binds the device anew, which heals one that usbip-host calls unusable. OSError as for `claim`."""
        if self.driver(device.busid) == DRIVER:
            self.sysfs.write(f"{_DRIVER_DIR}/unbind", device.busid)
        self.claim(device)

    def release(self, device: Device) -> None:
        """Gives the device back to the driver that the kernel would choose. OSError if the kernel refuses.

        `rebind` also takes the busid from the table. It goes by usbip-host's memory of the device, so it is for a
        device that was bound a moment ago and for no other.
        """
        if self.driver(device.busid) != DRIVER:
            return
        self.sysfs.write(f"{_DRIVER_DIR}/unbind", device.busid)
        self.sysfs.write(f"{_DRIVER_DIR}/rebind", device.busid)

    def status(self, device: Device) -> int:
        """SDEV_*; SDEV_GONE when usbip-host does not hold the device (any more)."""
        text = self.sysfs.get(f"bus/usb/devices/{device.busid}/usbip_status")
        return int(text) if text.isdecimal() else SDEV_GONE

    def broken(self, device: Device) -> bool:
        """Whether the device is there but needs `renew` before it can be handed out again."""
        return self.status(device) == SDEV_ERROR

    def begin(self, device: Device, sock: socket.socket, ended: Callable[[], None]) -> KernelSession:
        """Hands the connection to usbip-host, which takes a reference of its own.

        ImportRefused: usbip-host refuses it, or another device is in that port now, which has not been judged.
        """
        status = self.status(device)
        if status == SDEV_USED:
            raise ImportRefused(f"{device.busid} is in use", handshake.ST_DEV_BUSY)
        if status != SDEV_AVAILABLE:
            raise ImportRefused(f"{device.busid} is in an error state", handshake.ST_DEV_ERR)
        sock.setblocking(True)
        try:
            # usbip-host takes whatever is plugged into a port that it once had. Once its file is open, the device that
            # is checked is the one that the connection goes to.
            self.sysfs.write(
                f"bus/usb/devices/{device.busid}/usbip_sockfd", f"{sock.fileno()}\n", lambda: self._check_same(device)
            )
        except OSError as error:
            raise ImportRefused(f"usbip-host refuses the connection: {os.strerror(error.errno or 0)}") from error
        return KernelSession(self, device, sock, ended)

    def _check_same(self, device: Device) -> None:
        base = f"bus/usb/devices/{device.busid}"
        numbers = self.sysfs.get(f"{base}/busnum"), self.sysfs.get(f"{base}/devnum")
        if numbers != (str(device.busnum), str(device.devnum)):
            raise ImportRefused(f"{device.busid} is another device now", handshake.ST_NODEV)

    def adopt(self, device: Device, ended: Callable[[], None]) -> KernelSession | None:
        """The session that the device is in since before this daemon's start, if it is in one."""
        return KernelSession(self, device, None, ended) if self.status(device) == SDEV_USED else None

    def close(self) -> None:
        """What is bound stays bound, and what is handed out goes on."""

    def stop(self, device: Device) -> None:
        """Makes usbip-host end a device's session; one that has ended already is fine."""
        try:
            self.sysfs.write(f"bus/usb/devices/{device.busid}/usbip_sockfd", "-1\n")
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                log(f"cannot end the session of {device.busid}: {error_text(error)}")
