# SPDX-License-Identifier: BSD-2-Clause
"""What vendors, products and classes are called: from usb.ids where the machine has it, else from the device itself."""

from __future__ import annotations

from router.usbip.protocol.classes import NAMES
from router.usbip.protocol.descriptors import Triple
from router.usbip.protocol.device import Device

FILES = ("/usr/share/misc/usb.ids", "/usr/share/hwdata/usb.ids", "/var/lib/usbutils/usb.ids")


class Ids:
    """The names in a usb.ids file: vendors, products and classes by their numbers."""

    def __init__(self, text: str = "") -> None:
        self.vendors: dict[int, str] = {}
        self.products: dict[tuple[int, int], str] = {}
        self.classes: dict[tuple[int, ...], str] = {}
        first: tuple[str, int] | None = None
        second = 0
        for line in text.splitlines():
            depth = len(line) - len(line.lstrip("\t"))
            code, _, name = line.strip().partition("  ")
            if not name or line.startswith("#"):
                continue
            kind = "C" if code.startswith("C ") else ""
            try:
                number = int(code[2:] if kind else code, 16)
            except ValueError:
                # Another of the file's lists (HID usages, languages…): nothing below it is of interest.
                first = None if depth == 0 else first
                continue
            if depth == 0:
                first = (kind, number)
                if kind:
                    self.classes[(number,)] = name
                else:
                    self.vendors[number] = name
            elif first and depth == 1:
                second = number
                if first[0]:
                    self.classes[(first[1], number)] = name
                else:
                    self.products[(first[1], number)] = name
            elif first and first[0] and depth == 2:
                self.classes[(first[1], second, number)] = name


_ids: list[Ids] = []


def ids() -> Ids:
    """This machine's names, read once; empty where there is no usb.ids."""
    if not _ids:
        text = ""
        for path in FILES:
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    text = file.read()
                break
            except OSError:
                continue
        _ids.append(Ids(text))
    return _ids[0]


def product(device: Device) -> str:
    """ "Vendor : Product (vid:pid)", as Debian's usbip writes it."""
    known = ids()
    vendor = known.vendors.get(device.vid) or device.manufacturer or "unknown vendor"
    name = known.products.get((device.vid, device.pid)) or device.product or "unknown product"
    return f"{vendor} : {name} ({device.vidpid})"


def triple(numbers: Triple) -> str:
    """ "Class / Subclass / Protocol (cc/ss/pp)"."""
    code = "/".join(f"{number:02x}" for number in numbers)
    if numbers == (0, 0, 0):
        return f"(Defined at Interface level) ({code})"
    known = ids().classes
    parts = (
        known.get(numbers[:1]) or NAMES.get(numbers[0]) or "unknown class",
        known.get(numbers[:2]) or "unknown subclass",
        known.get(numbers) or "unknown protocol",
    )
    return f"{' / '.join(parts)} ({code})"


def as_data(device: Device) -> dict[str, object]:
    """The device as plain data for JSON."""
    known = ids()
    return {
        "busid": device.busid,
        "device": device.vidpid,
        "vendor": known.vendors.get(device.vid) or device.manufacturer or None,
        "product": known.products.get((device.vid, device.pid)) or device.product or None,
        "serial": device.serial or None,
        "speed": device.speed,
        "busnum": device.busnum,
        "devnum": device.devnum,
        "class": list(device.triple),
        "interfaces": [list(one) for one in device.interfaces],
        "path": device.path,
        "sockets": list(device.sockets),
    }
