# SPDX-License-Identifier: BSD-2-Clause
"""The engine `usbfs`: carries URBs to real devices from user space, through /dev/bus/usb (linux/usbdevice_fs.h).

For kernels without usbip-host, and for seeing every packet. A device's transfers are `usbfs_device`'s business.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from router.errors import HostError
from router.usbip.engines.session import UserSession
from router.usbip.engines.usbfs_device import UsbfsDevice
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.protocol.handshake import ImportRefused
from router.usbip.runtime import event_loop
from router.usbip.runtime.sysfs import Sysfs, find_devices

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Tap


class UsbfsEngine:
    """Devices below /dev/bus/usb. A claimed device stays open, with its port and its interfaces taken."""

    name = "usbfs"

    def __init__(
        self,
        loop: event_loop.Loop,
        sysfs: Sysfs | None = None,
        devices: str = "/dev/bus/usb",
        tap: Callable[[Device], Tap | None] | None = None,
    ) -> None:
        self.loop = loop
        self.sysfs = sysfs or Sysfs()
        self._folder = devices
        self._tap = tap
        self._open: dict[str, UsbfsDevice] = {}

    def check(self) -> None:
        """HostError if there is no usbfs."""
        import os

        if not os.path.isdir(self._folder):
            raise HostError(f"there is no {self._folder}", "the kernel needs CONFIG_USB, and devtmpfs or udev")

    def scan(self, known: dict[str, Device], late: set[str]) -> dict[str, Device]:
        found = find_devices(self.sysfs, known, late)
        for busid, device in tuple(self._open.items()):
            if found.get(busid) != device.device:
                del self._open[busid]
                device.close()
        return found

    def claim(self, device: Device) -> None:
        """Opens the device and takes it from its drivers. OSError: not now."""
        if device.busid in self._open:
            return
        path = f"{self._folder}/{device.busnum:03d}/{device.devnum:03d}"
        self._open[device.busid] = UsbfsDevice(self.loop, path, device)

    def renew(self, device: Device) -> None:
        """Opens the device anew. OSError as for `claim`."""
        self.release(device)
        self.claim(device)

    def release(self, device: Device) -> None:
        """Closes the device and lets the kernel's drivers have it again."""
        opened = self._open.pop(device.busid, None)
        if opened:
            opened.close()

    def broken(self, device: Device) -> bool:
        opened = self._open.get(device.busid)
        return opened is not None and opened.broken

    def begin(self, device: Device, sock: socket.socket, ended: Callable[[], None]) -> UserSession:
        opened = self._open.get(device.busid)
        if opened is None:
            raise ImportRefused(f"{device.busid} is not open", handshake.ST_DEV_ERR)
        if opened.session:
            raise ImportRefused(f"{device.busid} is in use", handshake.ST_DEV_BUSY)
        try:
            opened.start()
        except OSError as error:
            status = handshake.ST_DEV_BUSY if error.errno == errno.EBUSY else handshake.ST_DEV_ERR
            raise ImportRefused(f"{device.busid} cannot be started: {error.strerror}", status) from error
        opened.session = UserSession(self.loop, sock, opened, ended, self._tap(device) if self._tap else None)
        return opened.session

    def adopt(self, device: Device, ended: Callable[[], None]) -> UserSession | None:
        """Sessions in user space end with their daemon."""
        return None

    def close(self) -> None:
        """Gives every device back."""
        for opened in self._open.values():
            opened.close()
        self._open.clear()
