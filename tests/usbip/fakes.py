# SPDX-License-Identifier: BSD-2-Clause
"""A sysfs tree with usbip-host and vhci_hcd behind its attributes, for tests on machines without USB."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.runtime.sysfs import Sysfs
from tests.support.patience import PATIENCE

DEVICE_DESCRIPTOR = 18


def descriptors(vid: int, pid: int, interfaces: list[tuple[int, int, int]], device_class: int = 0) -> bytes:
    """A device descriptor and one configuration with these interfaces (USB 2.0, 9.6)."""
    device = bytes([18, 1, 0, 2, device_class, 0, 0, 64]) + vid.to_bytes(2, "little") + pid.to_bytes(2, "little")
    device += bytes([0, 1, 1, 2, 3, 1])
    body = b"".join(bytes([9, 4, n, 0, 0, *triple, 0]) for n, triple in enumerate(interfaces))
    return (
        device + bytes([9, 2]) + (9 + len(body)).to_bytes(2, "little") + bytes([len(interfaces), 1, 0, 0x80, 50]) + body
    )


class FakeKernel(Sysfs):
    """The tree, and what the drivers would do when an attribute is written."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.tree = root
        self.written: list[tuple[str, str]] = []
        # usbip-host's table: busid → what it remembers of it. Linux 6.1, drivers/usb/usbip/stub_main.c.
        self.table: dict[str, str] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.bind_errors: list[int] = []
        self.ports: dict[int, tuple[socket.socket, int, int]] = {}
        self.high_speed = self.super_speed = 8
        for name in ("bus/usb/devices", "bus/usb/drivers/usbip-host", "bus/usb/drivers/usb", "devices/platform"):
            (root / name).mkdir(parents=True)
        for name in ("match_busid", "bind", "unbind", "rebind"):
            (root / "bus/usb/drivers/usbip-host" / name).touch()
        (root / "bus/usb/drivers/usb/unbind").touch()
        (root / "devices/platform/vhci_hcd.0").mkdir()
        self._write_status()

    # Devices

    def plug(
        self,
        busid: str = "1-1",
        vid: int = 0x46F4,
        pid: int = 1,
        interfaces: list[tuple[int, int, int]] | None = None,
        devnum: int = 2,
        speed: str = "480",
        serial: str = "1-0000:00:01.0-1",
        device_class: int = 0,
        where: str = "devices/pci0000:00/usb1",
        finished: bool = True,
    ) -> None:
        """finished: the kernel has linked the device to its port, which it does last."""
        real = self.tree / where / busid
        real.mkdir(parents=True)
        if finished:
            (real / "port").mkdir()
        kinds = [(8, 6, 0x50)] if interfaces is None else interfaces
        for name, text in {
            "idVendor": f"{vid:04x}",
            "idProduct": f"{pid:04x}",
            "busnum": busid.split("-")[0],
            "devnum": str(devnum),
            "speed": speed,
            "bcdDevice": "0100",
            "bDeviceClass": f"{device_class:02x}",
            "bDeviceSubClass": "00",
            "bDeviceProtocol": "00",
            "bConfigurationValue": "1",
            "bNumConfigurations": "1",
            "serial": serial,
            "manufacturer": "QEMU",
            "product": "QEMU USB HARDDRIVE",
        }.items():
            (real / name).write_text(text + "\n")
        (real / "descriptors").write_bytes(descriptors(vid, pid, kinds, device_class))
        (self.tree / "bus/usb/devices" / busid).symlink_to(real)
        self._drive(busid, "usb")

    def unplug(self, busid: str) -> None:
        link = self.tree / "bus/usb/devices" / busid
        self._unbound(busid)
        shutil.rmtree(link.resolve())
        link.unlink()
        self.end_session(busid)

    def _unbound(self, busid: str) -> None:
        if self.table.get(busid) == "bound":
            self.table[busid] = "added"

    def _drive(self, busid: str, driver: str) -> None:
        link = self.tree / "bus/usb/devices" / busid / "driver"
        link.unlink(missing_ok=True)
        if driver:
            link.symlink_to(self.tree / "bus/usb/drivers" / driver)
        status = self.tree / "bus/usb/devices" / busid / "usbip_status"
        sockfd = status.with_name("usbip_sockfd")
        if driver == "usbip-host":
            status.write_text("1\n")
            sockfd.touch()
        else:
            status.unlink(missing_ok=True)
            sockfd.unlink(missing_ok=True)

    def set_status(self, busid: str, status: int) -> None:
        path = self.tree / "bus/usb/devices" / busid / "usbip_status"
        if path.exists():
            path.write_text(f"{status}\n")

    def end_session(self, busid: str, status: int = 1) -> None:
        """What the stub does when the connection ends: shuts it down, resets the device."""
        sock = self.sockets.pop(busid, None)
        if sock:
            _shut(sock)
        self.set_status(busid, status)

    # What writing does

    def write(self, name: str, text: str, check: Callable[[], None] | None = None) -> None:
        if not self.exists(name):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if check:
            check()
        self.written.append((name, text))
        directory, _, leaf = name.rpartition("/")
        match directory.rsplit("/", 1)[-1], leaf:
            case "usbip-host", "match_busid":
                verb, busid = text.split()
                if verb == "add":
                    self.table.setdefault(busid, "added")
                elif self.table.get(busid) == "bound":
                    self.table[busid] = "removed"
            case "usbip-host", "bind":
                if self.bind_errors:
                    raise OSError(self.bind_errors.pop(0), "bind")
                if self.table.get(text) != "added" or self.link(f"bus/usb/devices/{text}/driver"):
                    raise OSError(errno.ENODEV, "bind")
                self.table[text] = "bound"
                self._drive(text, "usbip-host")
            case (("usbip-host" | "usb"), "unbind"):
                self._unbound(text)
                self._drive(text, "")
                self.end_session(text)
            case "usbip-host", "rebind":
                del self.table[text]
                self._drive(text, "usb")
            case busid, "usbip_sockfd":
                self._sockfd(busid, int(text))
            case "vhci_hcd.0", "attach":
                self._attach(*(int(word) for word in text.split()))
            case "vhci_hcd.0", "detach":
                if int(text) not in self.ports:
                    raise OSError(errno.EINVAL, "detach")
                self.disconnect(int(text))
            case _:
                super().write(name, text)

    def _sockfd(self, busid: str, fd: int) -> None:
        if fd == -1:
            if busid not in self.sockets:
                raise OSError(errno.EINVAL, "not in use")
            self.end_session(busid)
            return
        if self.read(f"bus/usb/devices/{busid}/usbip_status") != "1":
            raise OSError(errno.EINVAL, "not available")
        self.sockets[busid] = socket.socket(fileno=os.dup(fd))
        self.set_status(busid, 2)

    # vhci_hcd

    def _attach(self, port: int, fd: int, devid: int, speed: int) -> None:
        if port in self.ports or (port < self.high_speed) == (speed >= 5) or speed > 5:
            raise OSError(errno.EINVAL, "attach")
        self.ports[port] = (socket.socket(fileno=os.dup(fd)), devid, speed)
        self._write_status()

    def disconnect(self, port: int) -> None:
        """What vhci does at the end of a connection."""
        sock, _, _ = self.ports.pop(port)
        _shut(sock)
        self._write_status()

    def _write_status(self) -> None:
        lines = ["hub port sta spd dev      sockfd local_busid"]
        for port in range(self.high_speed + self.super_speed):
            hub = "hs" if port < self.high_speed else "ss"
            if port in self.ports:
                sock, devid, speed = self.ports[port]
                bus = 1 if hub == "hs" else 2
                lines.append(f"{hub}  {port:04d} 006 {speed:03d} {devid:08x} {sock.fileno():06d} {bus}-{port + 1}")
            else:
                lines.append(f"{hub}  {port:04d} 004 000 00000000 000000 0-0")
        (self.tree / "devices/platform/vhci_hcd.0/status").write_text("\n".join(lines) + "\n")
        (self.tree / "devices/platform/vhci_hcd.0/attach").touch()
        (self.tree / "devices/platform/vhci_hcd.0/detach").touch()

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()
        for sock, _, _ in self.ports.values():
            sock.close()


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        # The peer has reset the connection.
        if error.errno != errno.ENOTCONN:
            raise
    sock.close()


@contextmanager
def unused_address() -> Iterator[Address]:
    """An address on loopback without a listener, that only a caller who asks for it can get.

    A port that was asked for and given back may be handed out again, even to a connection to itself.
    """
    with socket.socket() as keeper:
        # Our servers set the same option, so that they may listen there as long as no other does.
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.bind(("127.0.0.1", 0))
        yield Address("tcp", "127.0.0.1", keeper.getsockname()[1])


def run_until(loop: Loop, true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Runs the loop until the condition holds; AssertionError if that takes too long."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "the loop ran out of time"
        loop.run_once(0.02)


def run_for(loop: Loop, seconds: float) -> None:
    """Runs the loop so long, and a few turns of it in any case: time may pass without us."""
    end = time.monotonic() + seconds
    turns = 0
    while time.monotonic() < end or turns < 5:
        loop.run_once(0.02)
        turns += 1
