# SPDX-License-Identifier: BSD-2-Clause
"""The scalar forms of the description: sizes with units, USB names, switch rules. Errors say what to write instead.

Each form is a parser from what YAML gave to what the user meant, an annotated type that the models use, and the JSON
schema of the text that editors check.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.usbip.protocol.classes import CODES
from router.usbip.protocol.device import port_name
from router.usbip.protocol.disks import MAX_BASE_NAME
from router.words import UNITS, listing, nearest

DURATIONS = {"us": 1, "µs": 1, "ms": 1000, "s": 1_000_000}
MIN_DURATION = 100
"""Microseconds; seL4's scheduler takes no budget below a few timer ticks and its own worst-case time."""

COMMON_CLASSES = {
    "keyboard": "hid",
    "mouse": "hid",
    "gamepad": "hid",
    "input": "hid",
    "disk": "mass-storage",
    "storage": "mass-storage",
    "stick": "mass-storage",
    "webcam": "video",
    "camera": "video",
    "sound": "audio",
    "headset": "audio",
    "microphone": "audio",
    "serial": "communications",
    "modem": "communications",
    "ethernet": "communications",
    "network": "communications",
    "cdc": "communications",
    "scanner": "image",
    "bluetooth": "wireless",
    "vendor-specific": "vendor",
}
"""What people call devices, and the class that such a device usually has."""


class InvalidValue(ValueError):
    """A value that its field does not accept. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def shown(value: object) -> str:
    """A value as it is named in a message."""
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return f"{value}"


def bare_number(value: object) -> bool:
    """Whether a value is a natural number without a unit, quoted or not."""
    if isinstance(value, str):
        return re.fullmatch("[0-9]+", value) is not None
    return type(value) is int and value >= 0


def parse_size(value: object) -> int:
    """Bytes from `512 MiB`; a bare number is refused because its unit is a guess.

    >>> parse_size("2 KiB")
    2048
    """
    if bare_number(value):
        raise InvalidValue("a size needs a unit", f"write '{value} MiB' (or B, KiB, GiB)")
    match = re.fullmatch(r"(\d{1,15}) ?([A-Za-z]+)", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue(f"invalid size {shown(value)}", "write a whole number and a unit, such as '512 MiB'")
    number, unit = match.groups()
    if unit not in UNITS:
        near = {"K": "KiB", "M": "MiB", "G": "GiB"}.get(re.sub("I?B$|YTES?$", "", unit.upper()))
        raise InvalidValue(
            f"unknown unit '{unit}'", f"did you mean '{number} {near}'?" if near else "write B, KiB, MiB or GiB"
        )
    return int(number) * UNITS[unit]


def parse_duration(value: object) -> int:
    """Microseconds from `10 ms`."""
    if bare_number(value):
        raise InvalidValue("a duration needs a unit", f"write '{value} ms' (or us, s)")
    match = re.fullmatch(r"(\d{1,12}) ?(us|µs|ms|s)", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue(f"invalid duration {shown(value)}", "write a whole number and us, ms or s, such as '10 ms'")
    duration = int(match[1]) * DURATIONS[match[2]]
    if duration < MIN_DURATION:
        raise InvalidValue(f"{shown(value)} is too short", f"the minimum is {MIN_DURATION} us")
    return duration


PART_UNIT = 1 << 20
"""Parts of disks begin and end at multiples of it: that is at whole sectors and whole flash pages of every disk."""

PROTOCOLS = ("tcp", "udp", "icmp", "vsock")
"""What a rule can let through; vsock in systems whose transport it is, the others in all other systems."""


@dataclass(frozen=True)
class Allow:
    """One directed conversation between two guests: answers to it pass, new ones the other way do not."""

    source: str
    destination: str
    protocol: Literal["tcp", "udp", "icmp", "vsock"]
    port: int | None
    """Destination port; None for icmp (echo)."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.destination} {self.protocol}" + (
            f"/{self.port}" if self.port is not None else ""
        )


def parse_allow(value: object) -> Allow:
    """An Allow from `client -> server tcp/3240`, `client -> server icmp` or `client -> server vsock/3240`."""
    if isinstance(value, Allow):
        return value
    form = "write 'guest -> guest tcp/PORT', 'guest -> guest udp/PORT' or 'guest -> guest icmp'"
    match = (
        re.fullmatch(r"(\S+?) *-> *(\S+) +([A-Za-z]+)(?:[/:](\d+))?", value, re.ASCII)
        if isinstance(value, str)
        else None
    )
    if match is None:
        raise InvalidValue(f"invalid rule {shown(value)}", form)
    source, destination, protocol, port = match.groups()
    if protocol not in PROTOCOLS:
        near = nearest(protocol, PROTOCOLS) or {"ping": "icmp"}.get(protocol)
        raise InvalidValue(f"unknown protocol '{protocol}'", f"did you mean '{near}'?" if near else form)
    if protocol == "icmp" and port is not None:
        raise InvalidValue("icmp has no port", f"write '{source} -> {destination} icmp'")
    if protocol != "icmp" and port is None:
        raise InvalidValue(f"{protocol} needs a port", f"write '{source} -> {destination} {protocol}/PORT'")
    if port is not None and not 1 <= int(port[:9]) <= 65535:
        raise InvalidValue(f"port {port} is out of range", "a port is a number from 1 to 65535")
    return Allow(source, destination, protocol, int(port) if port is not None else None)  # type: ignore[arg-type]


@dataclass(frozen=True)
class VendorProduct:
    """A USB device's identity: idVendor and idProduct of its device descriptor (USB 2.0, table 9-8)."""

    vendor: int
    product: int

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.product:04x}"


def parse_device_id(value: object) -> VendorProduct:
    """A VendorProduct from `046d:c31c`."""
    if isinstance(value, VendorProduct):
        return value
    match = re.fullmatch(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})", value) if isinstance(value, str) else None
    if match is None:
        raise InvalidValue(
            f"invalid USB device ID {shown(value)}",
            'write vendor:product as four hexadecimal digits each, as lsusb shows them, such as "046d:c31c"',
        )
    return VendorProduct(int(match[1], 16), int(match[2], 16))


def check_path(value: str) -> str:
    """A USB port, as Linux names it (`1-1.4`) or by its controller (`usb@38100000/1.4`, `0000:00:02.0/1.4`)."""
    if re.fullmatch(r"[1-9]\d{0,2}-[1-9]\d{0,2}(\.[1-9]\d{0,2}){0,5}", value, re.ASCII):
        return value
    name = port_name(value)
    if name is not None and "/" in name:
        return name
    hint = "write bus-port[.port…] as Linux names the USB port, such as '1-1.4', or its controller: 'usb@38100000/1.4'"
    if re.fullmatch(r".*:\d+\.\d+", value):
        hint = f"leave the interface out: '{value.rpartition(':')[0]}'"
    raise InvalidValue(f"invalid USB path {shown(value)}", hint)


def parse_class(value: object) -> int:
    """A USB class code from a name or a number from 1 to 255."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= 255:
            raise InvalidValue(f"invalid USB class {value}", "write its name, or a number from 1 to 255")
        return value
    if isinstance(value, str) and value in CODES:
        return CODES[value]
    near = None
    if isinstance(value, str):
        near = COMMON_CLASSES.get(value.lower()) or nearest(value, list(CODES))
    raise InvalidValue(
        f"unknown USB class {shown(value)}",
        f"did you mean '{near}'?" if near else f"write {listing(CODES)}, or the class's number",
    )


def check_label(text: str) -> str:
    """The label of a file system, of characters that need no quoting anywhere; at most ext4's 16."""
    if not re.fullmatch(LABEL_PATTERN, text):
        raise InvalidValue(
            f"'{text}' is not a label", "write 1 to 16 letters, digits, '_', '.' or '-', such as label: DEBIAN"
        )
    return text


def check_partuuid(text: str) -> str:
    """The PARTUUID of a partition, as blkid(8) prints it: of GPT a UUID, of an MBR its number and the partition's."""
    if not re.fullmatch(PARTUUID_PATTERN, text.lower()):
        raise InvalidValue(f"'{text}' is not a PARTUUID", "write what blkid prints, in quotes")
    return text.lower()


def check_serial(value: str) -> str:
    """A serial number as a device's string descriptor can hold it, and a line of a policy file too."""
    if not value.isprintable():
        raise InvalidValue("the serial number contains an unprintable character", "write it as lsusb -v shows it")
    return value


def check_mac(value: str) -> str:
    """A unicast Ethernet address, lower case."""
    if not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value):
        raise InvalidValue(
            f"invalid Ethernet address {shown(value)}",
            'write six pairs of hexadecimal digits, such as "52:54:00:12:34:56"',
        )
    if int(value[:2], 16) & 1:
        raise InvalidValue(f"{shown(value)} is a multicast address", "use a unicast address: its first byte is even")
    if set(value) <= {"0", ":"}:
        raise InvalidValue("the Ethernet address is all zeros", 'choose a local one, such as "52:54:00:12:34:56"')
    return value.lower()


def check_name(value: str) -> str:
    """A name that serves as file name, symbol and seL4 object name alike."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", value, re.ASCII):
        better = re.sub(r"[^a-z0-9_-]+", "-", value.lower()).strip("-_0123456789")
        raise InvalidValue(
            f"invalid name {shown(value)}",
            "a name starts with a lower-case letter and has lower-case letters, digits, '-' and '_'"
            + (f": write '{better}'" if better and better != value else ""),
        )
    return value


def check_device_name(value: str) -> str:
    """The name, path, alias or &label of a node (Devicetree Specification 0.4, sections 2.2, 3.3 and 6.2)."""
    if not re.fullmatch(r"&[A-Za-z_]\w*|(/[\w,.+-]+(@[\w,.+-]+)?)+|[\w,.+-]+(@[\w,.+-]+)?", value, re.ASCII):
        raise InvalidValue(
            f"invalid device-tree node name {shown(value)}",
            'write a node\'s name such as usb@38100000, its full path, an alias, or a label such as "&usb3_0"',
        )
    return value


def parse_address(value: object) -> IPv4Address:
    """An IPv4 address in dotted decimal."""
    try:
        return IPv4Address(value if isinstance(value, IPv4Address | str) else "")
    except ValueError:
        hint = "write four numbers from 0 to 255, such as 10.77.0.2"
        if isinstance(value, str) and "/" in value:
            hint = f"leave the prefix length out: {value.partition('/')[0]}"
        raise InvalidValue(f"invalid IPv4 address {shown(value)}", hint) from None


def parse_subnet(value: object) -> IPv4Network:
    """An IPv4 network with its prefix length."""
    hint = "write the network's address and prefix length, such as 10.77.0.0/24"
    text = str(value) if isinstance(value, IPv4Network | str) else ""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise InvalidValue(f"invalid IPv4 subnet {shown(value)}", hint) from None
    if "/" not in text:
        raise InvalidValue("the subnet has no prefix length", f"add one, such as {text}/24")
    if str(network.network_address) != text.partition("/")[0]:
        raise InvalidValue(f"{shown(value)} has host bits set", f"write the network address: {network}")
    return network


def check_bootargs(value: str) -> str:
    """Words for the kernel command line, half of the 2,048 bytes that arm64 Linux takes (COMMAND_LINE_SIZE)."""
    if not value.isprintable() or not value.isascii():
        raise InvalidValue(
            "the kernel command line contains a character that is not printable ASCII", "write it on one line"
        )
    if len(value) > 1024:
        raise InvalidValue(f"the kernel command line is {len(value)} characters long", "the maximum is 1024")
    return value


def check_package(value: str) -> str:
    """The name of a Debian package (Debian Policy, section 5.6.1)."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", value, re.ASCII):
        raise InvalidValue(f"invalid package name {shown(value)}", "write a Debian package's name, such as alsa-utils")
    return value


def check_module(value: str) -> str:
    """The name or an alias of a kernel module."""
    if not re.fullmatch(r"[A-Za-z0-9][\w,.()-]*", value, re.ASCII):
        raise InvalidValue(f"invalid module name {shown(value)}", "write a name as modprobe takes it, such as dm-crypt")
    return value


SIZE_PATTERN = "^[0-9]+ ?(B|KiB|MiB|GiB)$"
NAME_PATTERN = "^[a-z][a-z0-9_-]*$"
LABEL_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.-]{0,15}"
PARTUUID_PATTERN = "[0-9a-f]{8}-([0-9a-f]{2}|[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
ADDRESS_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}"


def text_schema(pattern: str, *examples: str) -> WithJsonSchema:
    """The JSON schema of a text of a certain form."""
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": list(examples)})


ByteSize = Annotated[int, BeforeValidator(parse_size), text_schema(SIZE_PATTERN, "512 MiB", "1 GiB", "2 KiB")]
Microseconds = Annotated[int, BeforeValidator(parse_duration), text_schema("^[0-9]+ ?(us|µs|ms|s)$", "10 ms", "500 us")]
AllowRule = Annotated[
    Allow,
    BeforeValidator(parse_allow),
    text_schema(
        r"^[a-z][a-z0-9_-]* *-> *[a-z][a-z0-9_-]* +((tcp|udp|vsock)/[0-9]{1,5}|icmp)$", "client -> server tcp/3240"
    ),
]


def check_part_size(value: int) -> int:
    """The size of a part of a disk: whole MiB, to which parts are aligned."""
    if value < PART_UNIT or value % PART_UNIT:
        raise InvalidValue(
            f"{value} bytes are no size for a part of a disk", "write a multiple of 1 MiB, at least 1 MiB"
        )
    return value


PartSize = Annotated[
    int,
    BeforeValidator(parse_size),
    AfterValidator(check_part_size),
    text_schema(SIZE_PATTERN, "2 GiB", "512 MiB"),
]
MAX_DISK_WAIT_S = 86400


def check_disk_wait(value: int) -> int:
    """Seconds from microseconds: the kernel counts whole ones."""
    seconds, rest = divmod(value, 1_000_000)
    if rest or not 1 <= seconds <= MAX_DISK_WAIT_S:
        raise InvalidValue("a disk's wait is out of range", f"write whole seconds, from '1 s' to '{MAX_DISK_WAIT_S} s'")
    return seconds


DiskWait = Annotated[
    int,
    BeforeValidator(parse_duration),
    AfterValidator(check_disk_wait),
    text_schema("^[0-9]+ ?(us|µs|ms|s)$", "30 s", "600 s"),
]
DeviceId = Annotated[
    VendorProduct, BeforeValidator(parse_device_id), text_schema("^[0-9a-fA-F]{4}:[0-9a-fA-F]{4}$", "046d:c31c")
]
DISK_NAME_PATTERN = f"[a-z0-9][a-z0-9_.-]{{0,{MAX_BASE_NAME - 1}}}"


def check_disk_name(value: str) -> str:
    """A name below /dev/disk/by-router: it is a file's name, and neither a made name nor one of a partition."""
    if re.fullmatch(DISK_NAME_PATTERN, value, re.ASCII) is None:
        raise InvalidValue(
            f"invalid disk name {shown(value)}",
            f"write at most {MAX_BASE_NAME} lower-case letters, digits, '-', '_' or '.',"
            " beginning with a letter or digit",
        )
    if value.startswith("usb-"):
        raise InvalidValue(
            f"the disk name {shown(value)} could be the one of a disk without a name", "do not begin it with 'usb-'"
        )
    if re.search("-part[0-9]+$", value):
        raise InvalidValue(
            f"the disk name {shown(value)} could be the one of a partition", "do not end it with '-part' and a number"
        )
    if re.search("-lun[0-9]+$", value):
        raise InvalidValue(
            f"the disk name {shown(value)} could be the one of a further logical unit",
            "do not end it with '-lun' and a number",
        )
    return value


UsbPath = Annotated[
    str,
    AfterValidator(check_path),
    text_schema(
        r"^([1-9][0-9]{0,2}-|[\w,.+-]+@[0-9a-fA-F,]+/|([0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]/)"
        r"[1-9][0-9]{0,2}(\.[1-9][0-9]{0,2}){0,5}$",
        "1-1.4",
        "usb@38100000/1.4",
        "0000:00:02.0/1",
    ),
]
CLASS_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "string", "enum": list(CODES)}, {"type": "integer", "minimum": 1, "maximum": 255}]
}
UsbClass = Annotated[int, BeforeValidator(parse_class), WithJsonSchema(CLASS_SCHEMA)]
UsbClasses = Annotated[
    tuple[UsbClass, ...],
    BeforeValidator(lambda value: value if isinstance(value, (list, tuple)) else (value,)),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [CLASS_SCHEMA, {"type": "array", "items": CLASS_SCHEMA, "minItems": 1}]}),
]
DiskName = Annotated[str, AfterValidator(check_disk_name), text_schema(f"^{DISK_NAME_PATTERN}$", "data")]
Serial = Annotated[str, Field(min_length=1, max_length=126), AfterValidator(check_serial)]
Label = Annotated[str, AfterValidator(check_label), text_schema(f"^{LABEL_PATTERN}$", "DEBIAN")]
PartUuid = Annotated[
    str,
    AfterValidator(check_partuuid),
    text_schema(f"^{PARTUUID_PATTERN}$", "0f3a5b9c-4f0e-4c57-a8a0-6a3b1d2c9e01"),
]
Mac = Annotated[
    str, AfterValidator(check_mac), text_schema("^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$", "52:54:00:12:34:56")
]
Name = Annotated[str, Field(max_length=40, json_schema_extra={"pattern": NAME_PATTERN}), AfterValidator(check_name)]
GuestName = Annotated[
    str, Field(max_length=32, json_schema_extra={"pattern": NAME_PATTERN}), AfterValidator(check_name)
]
PackageName = Annotated[str, AfterValidator(check_package)]
ModuleName = Annotated[str, AfterValidator(check_module)]
DeviceName = Annotated[str, AfterValidator(check_device_name)]
Address = Annotated[IPv4Address, BeforeValidator(parse_address), text_schema(f"{ADDRESS_PATTERN}$", "10.77.0.2")]
Subnet = Annotated[
    IPv4Network, BeforeValidator(parse_subnet), text_schema(f"{ADDRESS_PATTERN}/[0-9]{{1,2}}$", "10.77.0.0/24")
]
BootArgs = Annotated[str, AfterValidator(check_bootargs)]
File = Annotated[Path, WithJsonSchema({"type": "string", "minLength": 1})]
