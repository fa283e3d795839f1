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
from router.usbip.runtime import loop as events
from router.usbip.runtime.sysfs import Sysfs, find_devices

DRIVER = "usbip-host"
_DRIVER_DIR = f"bus/usb/drivers/{DRIVER}"
SDEV_GONE, SDEV_AVAILABLE, SDEV_USED, SDEV_ERROR = range(4)
# How long a device may take to come back after a session: its reset and, for a disk, its spin-up.
RELEASE_TIMEOUT = 10.0
RELEASE_STEP = 0.05
ADOPTED_STEP = 1.0


class EngineError(Exception):
    """The engine refuses a device; `status` is the ST_* that the client is told."""

    def __init__(self, message: str, status: int = handshake.ST_DEV_ERR) -> None:
        super().__init__(message)
        self.status = status


class KernelSession:
    """A device in a client's hands. The daemon keeps its own descriptor of the socket only to see the end of it.

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
            engine.loop.watch(sock.fileno(), events.RDHUP, self._hangup)
        else:
            engine.loop.call_later(ADOPTED_STEP, self._look)

    def close(self) -> None:
        """Ends the session; `ended` is called once the kernel has let go of the device."""
        if not self._stopped:
            self._stopped = True
            self._engine.stop(self.device)
        self._hangup(events.HUP)

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
            self._engine.loop.call_later(ADOPTED_STEP, self._look)
        else:
            self._hangup(events.HUP)

    def _hangup(self, _: int) -> None:
        if self._over:
            return
        self._over = True
        self._drop_socket()
        self._wait()

    def _wait(self) -> None:
        if self._engine.status(self.device) == SDEV_USED and self._waited < RELEASE_TIMEOUT:
            self._waited += RELEASE_STEP
            self._engine.loop.call_later(RELEASE_STEP, self._wait)
            return
        self._ended()


class KernelEngine:
    """usbip-host below a sysfs."""

    name = "kernel"

    def __init__(self, loop: events.Loop, sysfs: Sysfs | None = None) -> None:
        self.loop = loop
        self.sysfs = sysfs or Sysfs()

    def check(self) -> None:
        """HostError if the kernel has no usbip-host."""
        if not self.sysfs.exists(_DRIVER_DIR):
            raise HostError("the kernel module usbip-host is not loaded", "run: modprobe usbip-host")

    def scan(self, known: dict[str, Device]) -> dict[str, Device]:
        """Every exportable device by busid; `known` is what the last scan gave."""
        return find_devices(self.sysfs, known)

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
        """Hands the connection to usbip-host, which takes a reference of its own. EngineError: it does not want it."""
        status = self.status(device)
        if status == SDEV_USED:
            raise EngineError(f"{device.busid} is in use", handshake.ST_DEV_BUSY)
        if status != SDEV_AVAILABLE:
            raise EngineError(f"{device.busid} is in an error state", handshake.ST_DEV_ERR)
        sock.setblocking(True)
        try:
            self.sysfs.write(f"bus/usb/devices/{device.busid}/usbip_sockfd", f"{sock.fileno()}\n")
        except OSError as error:
            raise EngineError(f"usbip-host refuses the connection: {os.strerror(error.errno or 0)}") from error
        return KernelSession(self, device, sock, ended)

    def adopt(self, device: Device, ended: Callable[[], None]) -> KernelSession | None:
        """The session that the device is in since before this daemon's start, if it is in one."""
        return KernelSession(self, device, None, ended) if self.status(device) == SDEV_USED else None

    def close(self) -> None:
        """What is bound stays bound, and what is handed out goes on."""

    def stop(self, device: Device) -> None:
        """Tells usbip-host to end a device's session; a session that has ended by itself is fine."""
        try:
            self.sysfs.write(f"bus/usb/devices/{device.busid}/usbip_sockfd", "-1\n")
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                raise
