# SPDX-License-Identifier: BSD-2-Clause
"""What is known of a USB device, and the kernel's words for speeds.

Numbers are the USB descriptors'; `speed` is the kernel's `enum usb_device_speed` (linux/usb/ch9.h), which USB/IP
puts on the wire.
"""

from __future__ import annotations

from router.usbip.protocol.descriptors import Triple

SPEED_UNKNOWN, SPEED_LOW, SPEED_FULL, SPEED_HIGH, SPEED_WIRELESS, SPEED_SUPER, SPEED_SUPER_PLUS = range(7)

# The `speed` attribute in sysfs is in Mbit/s.
SYSFS_SPEEDS = {
    "1.5": SPEED_LOW,
    "12": SPEED_FULL,
    "480": SPEED_HIGH,
    "53.3-480": SPEED_WIRELESS,
    "5000": SPEED_SUPER,
    "10000": SPEED_SUPER_PLUS,
    "20000": SPEED_SUPER_PLUS,
}
# As Debian's usbip prints them.
SPEED_NAMES = {
    SPEED_UNKNOWN: "Unknown Speed",
    SPEED_LOW: "Low Speed(1.5Mbps)",
    SPEED_FULL: "Full Speed(12Mbps)",
    SPEED_HIGH: "High Speed(480Mbps)",
    SPEED_WIRELESS: "Wireless Speed(53.3-480Mbps)",
    SPEED_SUPER: "Super Speed(5000Mbps)",
    SPEED_SUPER_PLUS: "Super Speed Plus(10000Mbps)",
}
CLASS_HUB = 0x09
MAX_PORT_NAME = 64


class Device:
    """One enumerated USB device. Unplugging and plugging in again makes another one, with another `devnum`.

    path: sysfs path, e.g. "/sys/devices/.../usb1/1-1". busid: "1-1.2", the port path.
    speed: SPEED_*. bcd: bcdDevice. triple: the device descriptor's class, subclass, protocol.
    peer: the busid of the same physical port on the other bus of a SuperSpeed controller, "" if not known.
    sockets: names of the port by its controller, such as "usb@38100000/1.4", which no probe order changes.
    config: bConfigurationValue, 0 when unconfigured. interfaces: alternate setting 0 of each interface.
    all_interfaces: every triple in all configurations and alternate settings; None where they are not known.
    """

    __slots__ = (
        "all_interfaces",
        "bcd",
        "busid",
        "busnum",
        "config",
        "configs",
        "devnum",
        "interfaces",
        "manufacturer",
        "path",
        "peer",
        "pid",
        "product",
        "serial",
        "sockets",
        "speed",
        "triple",
        "vid",
    )  # fmt: skip

    def __init__(
        self,
        busid: str,
        speed: int,
        busnum: int,
        devnum: int,
        vid: int,
        pid: int,
        bcd: int = 0,
        triple: Triple = (0, 0, 0),
        config: int = 1,
        configs: int = 1,
        interfaces: tuple[Triple, ...] = (),
        path: str = "",
        serial: str = "",
        manufacturer: str = "",
        product: str = "",
        peer: str = "",
        all_interfaces: tuple[Triple, ...] | None = None,
        sockets: tuple[str, ...] = (),
    ) -> None:
        self.busid = busid
        self.speed = speed
        self.busnum = busnum
        self.devnum = devnum
        self.vid = vid
        self.pid = pid
        self.bcd = bcd
        self.triple = triple
        self.config = config
        self.configs = configs
        self.interfaces = interfaces
        self.path = path or f"/sys/bus/usb/devices/{busid}"
        self.serial = serial
        self.manufacturer = manufacturer
        self.product = product
        self.peer = peer
        self.all_interfaces = all_interfaces
        self.sockets = sockets

    @property
    def devid(self) -> int:
        """The number that names the device in the URB phase: busnum << 16 | devnum."""
        return self.busnum << 16 | self.devnum

    @property
    def vidpid(self) -> str:
        return f"{self.vid:04x}:{self.pid:04x}"

    @property
    def is_hub(self) -> bool:
        return self.triple[0] == CLASS_HUB

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"Device({self.busid} {self.vidpid} devid={self.devid:#x} speed={self.speed})"


def valid_busid(busid: str) -> bool:
    """Whether the text can be a Linux port path such as "1-1.4.2" (the only names that may reach a sysfs path)."""
    if not 3 <= len(busid) < 32 or not busid.isascii():
        return False
    bus, dash, ports = busid.partition("-")
    return dash == "-" and bus.isdecimal() and all(port.isdecimal() for port in ports.split("."))


def valid_name(busid: str) -> bool:
    """Whether the text can be a busid that another server chose: visible ASCII, as long as the wire has room for.

    Servers without Linux's port paths write "0-0-0", "1-0" or "kbd0". A slash is none of it: names become files' names.
    """
    return 1 <= len(busid) < 32 and all("!" <= letter <= "~" and letter != "/" for letter in busid)


def port_name(text: str) -> str | None:
    """The name of a USB port in its one spelling, or None for what is none.

    "1-1.4": as Linux names it; the bus number depends on the order in which controllers were found.
    "usb@38100000/1.4": the controller's node in the device tree, and the chain of ports behind it.
    "0000:00:02.0/1.4", "00:02.0/1.4": the controller's PCI address.
    """
    if valid_busid(text):
        return text
    controller, slash, ports = text.partition("/")
    if (
        not slash
        or len(text) > MAX_PORT_NAME
        or not text.isascii()
        or not all(_is_port(one) for one in ports.split("."))
    ):
        return None
    node, at, unit = controller.partition("@")
    if at and node and _is_hex(unit.replace(",", "")) and all(c.isalnum() or c in ",._+-" for c in node):
        return text
    parts = controller.lower().split(":")
    if len(parts) == 2:
        parts.insert(0, "0000")
    slot, dot, function = parts[-1].partition(".")
    sizes = [len(part) for part in (*parts[:-1], slot, function)]
    if dot and sizes == [4, 2, 2, 1] and all(_is_hex(part) for part in (*parts[:-1], slot)) and function in "01234567":
        return ":".join(parts) + "/" + ports
    return None


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= 3 and not text.startswith("0")


def _is_hex(text: str) -> bool:
    return bool(text) and all(c in "0123456789abcdefABCDEF" for c in text)
