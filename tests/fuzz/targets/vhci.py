# SPDX-License-Identifier: BSD-2-Clause
"""The status of the virtual host controllers, which each kernel version writes a little differently."""

from __future__ import annotations

from router.errors import HostError
from router.usbip.client.controllers import find_controllers
from router.usbip.client.vhci import Port, Vhci
from router.usbip.runtime.sysfs import Sysfs


class Status(Sysfs):
    """A sysfs of nothing but two status files."""

    def __init__(self, *texts: str) -> None:
        super().__init__("/nonexistent")
        self.texts = texts

    def names(self, name: str) -> list[str]:
        return ["status", "status.1", "status.x"][: len(self.texts)]

    def read(self, name: str) -> str:
        return self.texts[len(name.rpartition("/")[2].partition(".")[2])]


def one_input(data: bytes) -> None:
    first, _, second = data.decode("utf-8", "replace").partition("\0")
    vhci = Vhci(Status(first, second), "/nonexistent")
    try:
        ports = vhci.ports()
        assert all(isinstance(port, Port) and port.number > 0 for port in ports)
        find_controllers(vhci)
        for speed in (0, 3, 5, 6):
            for number in (0, 1, 200):
                try:
                    assert vhci.choose(speed, number, 4, {1, 2}).free
                except HostError:
                    continue
    except HostError as error:
        assert error.message.isprintable()


def seeds() -> list[bytes]:
    head = "hub port sta spd dev      sockfd local_busid\n"
    lines = "hs  0000 004 000 00000000 000000 0-0\nhs  0001 006 003 00010002 000003 1-1\n"
    lines += "ss  0008 004 000 00000000 000000 0-0\n"
    two = head + lines + "\0" + head + lines.replace("000", "010")
    return [(head + lines).encode(), two.encode(), b"prt sta spd"]
