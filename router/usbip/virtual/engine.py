# SPDX-License-Identifier: BSD-2-Clause
"""The engine `virtual`: serves devices made of Python objects, for demonstrations and as the partner in tests."""

from __future__ import annotations

import socket
from collections.abc import Callable

from router.errors import HostError
from router.usbip.engines.session import UserSession
from router.usbip.protocol.descriptors import all_interfaces_of
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop
from router.usbip.virtual.device import VirtualDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Tap

# Bus numbers of real controllers count from 1.
BUS = 90
KINDS = "keyboard[:TEXT], disk:FILE, serial, audio"


def make_device(text: str) -> VirtualDevice:
    """The device that a --virtual option describes: "keyboard:hello", "disk:FILE", "serial", "audio"."""
    kind, _, argument = text.partition(":")
    if kind == "keyboard":
        from router.usbip.virtual.keyboard import KEYS, Keyboard

        typed = argument.replace("\\n", "\n")
        strange = [character for character in typed if character not in KEYS]
        if strange:
            raise HostError(f"the keyboard has no key for {strange[0]!r}", "write what a US keyboard has; \\n is Enter")
        return Keyboard(typed)
    if kind == "disk" and argument:
        from router.usbip.virtual.disk import Disk

        return Disk(argument)
    if kind == "serial" and not argument:
        from router.usbip.virtual.serial import Serial

        return Serial()
    if kind == "audio" and not argument:
        from router.usbip.virtual.audio import Microphone

        return Microphone()
    raise HostError(f"there is no virtual device {text!r}", f"there are {KINDS}")


class VirtualEngine:
    """Virtual devices on a bus of their own, numbered as they are plugged in."""

    name = "virtual"

    def __init__(self, loop: event_loop.Loop, tap: Callable[[Device], Tap | None] | None = None) -> None:
        self.loop = loop
        self._tap = tap
        self._devices: dict[str, tuple[Device, VirtualDevice]] = {}
        self._number = 0

    def plug(self, virtual: VirtualDevice, port: int = 0) -> Device:
        """Plugs a device in, into that port or the next free one; the server sees it at its next rescan."""
        self._number += 1
        port = port or 1 + len(self._devices)
        busid = f"{BUS}-{port}"
        device = Device(
            busid=busid,
            speed=virtual.speed,
            busnum=BUS,
            devnum=self._number,
            vid=virtual.vid,
            pid=virtual.pid,
            bcd=virtual.bcd,
            triple=virtual.triple,
            config=1,
            configs=1,
            interfaces=virtual.interfaces,
            all_interfaces=all_interfaces_of(virtual.config_descriptor),
            path=f"/sys/devices/virtual/usb{BUS}/{busid}",
            serial=virtual.strings[3],
            manufacturer=virtual.strings[1],
            product=virtual.strings[2],
        )
        self._devices[busid] = (device, virtual)
        return device

    def unplug(self, busid: str) -> None:
        """Takes a device away, out of its client's hands if need be."""
        _, virtual = self._devices.pop(busid)
        if virtual.session:
            virtual.session.close()
        virtual.close()

    def close(self) -> None:
        """Unplugs everything."""
        for busid in tuple(self._devices):
            self.unplug(busid)

    def scan(self, known: dict[str, Device], late: set[str]) -> dict[str, Device]:
        return {busid: device for busid, (device, _) in self._devices.items()}

    def claim(self, device: Device) -> None:
        """Nothing else wants a virtual device."""

    def renew(self, device: Device) -> None:
        """A virtual device does not break."""

    def release(self, device: Device) -> None:
        """There is no driver to give it back to."""

    def broken(self, device: Device) -> bool:
        return False

    def begin(self, device: Device, sock: socket.socket, ended: Callable[[], None]) -> UserSession:
        _, virtual = self._devices[device.busid]
        session = UserSession(self.loop, sock, virtual, ended, self._tap(device) if self._tap else None)
        virtual.session = session
        return session

    def adopt(self, device: Device, ended: Callable[[], None]) -> UserSession | None:
        """Sessions in user space end with their daemon."""
        return None
