# SPDX-License-Identifier: BSD-2-Clause
"""One real device behind usbfs as a thing to be held: opening it, claiming its port and interfaces, configuring it."""

from __future__ import annotations

import errno
import os
import struct

from router.usbip.engines import usbfs_ioctl as usbfs
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import (
    CLEAR_FEATURE,
    PORT_RESET,
    PORT_RESET_KIND,
    SET_CONFIGURATION,
    SET_FEATURE,
    SET_INTERFACE,
    parse_alternates,
)
from router.usbip.protocol.device import Device
from router.usbip.runtime.log import log

# Where the first configuration's bConfigurationValue is: behind the device descriptor of 18 bytes, at 5.
_FIRST_CONFIG = 18 + 5
_SETUP = struct.Struct("<BBHHH")


class Claims:
    """An open device with its interfaces taken from their drivers. OSError from the constructor: it cannot be had now.

    fd: the device's descriptor, −1 once closed. endpoints: the kind of each endpoint address (bmAttributes 1:0) in the
    current configuration and alternate settings.
    """

    def __init__(self, path: str, device: Device) -> None:
        self.device = device
        self.endpoints: dict[int, int] = {}
        self._chosen: dict[int, int] = {}
        self._hub = self._claim_port(path)
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self._close_hub()
            raise
        try:
            self._descriptors = os.read(self.fd, 65536)
            self._alternates = parse_alternates(self._descriptors, device.config)
            if not device.config and len(self._descriptors) > _FIRST_CONFIG:
                # It came while its port was claimed, and so it is not configured yet.
                usbfs.number(self.fd, usbfs.SETCONFIGURATION, self._descriptors[_FIRST_CONFIG])
            self.take()
        except OSError:
            os.close(self.fd)
            self._close_hub()
            raise

    def _claim_port(self, path: str) -> int:
        """Claims the hub's port, so that no driver binds whatever configuration is chosen; −1 where that cannot be."""
        parent, dot, port = self.device.busid.rpartition(".")
        if not dot:
            parent, _, port = self.device.busid.partition("-")
            parent = f"usb{parent}"
        try:
            with open(f"/sys/bus/usb/devices/{parent}/devnum", encoding="ascii") as file:
                number = int(file.read())
            hub = os.open(f"{path.rpartition('/')[0]}/{number:03d}", os.O_RDWR | os.O_CLOEXEC)
        except (OSError, ValueError):
            return -1
        try:
            usbfs.number(hub, usbfs.CLAIM_PORT, int(port))
        except OSError:
            os.close(hub)
            return -1
        return hub

    def _close_hub(self) -> None:
        if self._hub >= 0:
            os.close(self._hub)
            self._hub = -1

    def _interfaces(self) -> list[int]:
        return sorted({interface for interface, _ in self._alternates})

    def _claim_interfaces(self) -> None:
        for interface in self._interfaces():
            usbfs.disconnect_claim(self.fd, interface)

    def _release_interfaces(self) -> None:
        for interface in self._interfaces():
            try:
                usbfs.number(self.fd, usbfs.RELEASEINTERFACE, interface)
            except OSError as error:
                # It was not claimed: a reset takes claims away.
                if error.errno not in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
                    raise

    def _choose(self) -> None:
        """The endpoints that the current alternate settings have."""
        self.endpoints = {}
        for interface in self._interfaces():
            alternate = self._chosen.get(interface, 0)
            self.endpoints.update(self._alternates.get((interface, alternate), {}))

    def take(self) -> None:
        """Claims all interfaces, in the state that they have after a reset. OSError if the device does not answer."""
        self._claim_interfaces()
        self._chosen.clear()
        self._choose()

    def reset(self) -> None:
        usbfs.reset(self.fd)
        self.take()

    def close(self) -> None:
        """Gives the device back to its drivers; URBs in flight end with the descriptor."""
        self._close_hub()
        try:
            self._release_interfaces()
            for interface in self._interfaces():
                usbfs.connect(self.fd, interface)
        except OSError as error:
            if error.errno != errno.ENODEV:
                log(f"{self.device.busid}: its drivers do not take it back: {error.strerror}")
        os.close(self.fd)
        self.fd = -1

    def by_kernel(self, setup: bytes) -> int | None:
        """Requests that change what the kernel knows of the device go through its own calls: their status on the urb.

        None for any other request. The call lasts as long as the device takes, and the daemon waits for it.
        """
        kind, request, value, index, _ = _SETUP.unpack(setup)
        try:
            if (kind, request) == (0x00, SET_CONFIGURATION):
                self._release_interfaces()
                usbfs.number(self.fd, usbfs.SETCONFIGURATION, value)
                self._alternates = parse_alternates(self._descriptors, value) if value else {}
                self._claim_interfaces()
                self._chosen.clear()
            elif (kind, request) == (0x01, SET_INTERFACE):
                usbfs.set_interface(self.fd, index, value)
                self._chosen[index] = value
            elif (kind, request, value) == (0x02, CLEAR_FEATURE, 0):
                usbfs.number(self.fd, usbfs.CLEAR_HALT, index & 0xFF)
            elif (kind, request, value) == (PORT_RESET_KIND, SET_FEATURE, PORT_RESET):
                self.reset()
            else:
                return None
        except OSError as error:
            return -(error.errno or errno.EIO)
        self._choose()
        return urb.EOK
