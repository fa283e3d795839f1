# SPDX-License-Identifier: BSD-2-Clause
"""The handshake of USB/IP on the wire: every structure before the URB phase, packed and strictly unpacked.

Layouts: Linux's Documentation/usb/usbip_protocol.rst and tools/usb/usbip/src/usbip_network.h; all numbers big-endian.
The WATCH exchange at the end is this project's own extension; a peer that does not know it closes the connection or
answers with an error, and the client falls back to asking for the device list.
"""

from __future__ import annotations

import struct

from router.errors import MachineError
from router.usbip.protocol.descriptors import Triple
from router.usbip.protocol.device import SPEED_SUPER_PLUS, Device, valid_name

PORT = 3240
VERSION = 0x0111

REQUEST = 0x8000
OP_IMPORT = 0x03
OP_DEVLIST = 0x05
OP_WATCH = 0xF0

ST_OK, ST_NA, ST_DEV_BUSY, ST_DEV_ERR, ST_NODEV, ST_ERROR = range(6)
STATUS_TEXT = {
    ST_OK: "ok",
    ST_NA: "request failed",
    ST_DEV_BUSY: "device is in use (already exported)",
    ST_DEV_ERR: "device is in an error state",
    ST_NODEV: "no such device",
    ST_ERROR: "unexpected response",
}

_COMMON = struct.Struct(">HHI")
_DEVICE = struct.Struct(">256s32sIIIHHH6B")
_INTERFACE = struct.Struct(">4B")
_COUNT = struct.Struct(">I")

COMMON_SIZE = _COMMON.size
DEVICE_SIZE = _DEVICE.size
INTERFACE_SIZE = _INTERFACE.size
COUNT_SIZE = _COUNT.size
BUSID_SIZE = 32
# A Linux host has at most 16 busids in usbip-host; other servers have more. More than this is a lie.
MAX_DEVICES = 1024


class WireError(MachineError):
    """The peer sent something that the protocol does not allow."""


class VersionError(WireError):
    """The peer speaks another version of USB/IP."""


class ImportRefused(Exception):
    """This server does not hand the device out; `status` is the ST_* that the client gets."""

    def __init__(self, message: str, status: int = ST_DEV_ERR) -> None:
        super().__init__(message)
        self.status = status


def pack_common(code: int, status: int = ST_OK, version: int = VERSION) -> bytes:
    """op_common, 8 bytes."""
    return _COMMON.pack(version, code, status)


def unpack_common(data: bytes | bytearray) -> tuple[int, int, int]:
    """(version, code, status) of an op_common; exactly 8 bytes."""
    if len(data) != COMMON_SIZE:
        raise WireError(f"a header of {len(data)} bytes instead of {COMMON_SIZE}")
    version, code, status = _COMMON.unpack(data)
    return version, code, status


def check_reply(data: bytes | bytearray, code: int) -> int:
    """The status in a reply's op_common, once version and code are right."""
    version, got, status = unpack_common(data)
    if version != VERSION:
        raise VersionError(
            f"the server speaks USB/IP version {version:#06x}, this client {VERSION:#06x}",
            "both ends must be of Linux 3.17 or newer (usbip-utils 2.0), or speak protocol 1.1.1 otherwise",
        )
    if got != code:
        raise WireError(f"the server answered with code {got:#06x} where {code:#06x} was due")
    return status


def _pad(text: str, size: int) -> bytes:
    # One byte stays for the terminating NUL: C peers use strcpy and printf on these fields.
    return text.encode("utf-8", "surrogateescape")[: size - 1]


def _text(data: bytes, what: str) -> str:
    head, nul, _ = data.partition(b"\0")
    if not nul:
        raise WireError(f"the {what} is not terminated")
    return head.decode("utf-8", "surrogateescape")


def pack_device(device: Device) -> bytes:
    """A device record, 312 bytes. Super-speed-plus is sent as super-speed: vhci before Linux 6.12 refuses 6."""
    return _DEVICE.pack(
        _pad(device.path, 256),
        _pad(device.busid, BUSID_SIZE),
        device.busnum,
        device.devnum,
        min(device.speed, SPEED_SUPER_PLUS - 1),
        device.vid,
        device.pid,
        device.bcd,
        *device.triple,
        device.config,
        device.configs,
        len(device.interfaces),
    )


def unpack_device(data: bytes | bytearray | memoryview) -> tuple[Device, int]:
    """(device without its interfaces, number of interfaces) from a record of 312 bytes; all of it is checked."""
    if len(data) != DEVICE_SIZE:
        raise WireError(f"a device record of {len(data)} bytes instead of {DEVICE_SIZE}")
    (path, busid, busnum, devnum, speed, vid, pid, bcd, cls, sub, proto, config, configs, count) = _DEVICE.unpack(data)
    name = _text(busid, "busid")
    if not valid_name(name):
        raise WireError(f"{name!r} is not a busid")
    if busnum >= 1 << 16 or devnum >= 1 << 16:
        raise WireError(f"bus {busnum}, device {devnum} of {name} are out of range")
    if speed > SPEED_SUPER_PLUS:
        raise WireError(f"speed {speed} of {name} is unknown")
    device = Device(
        busid=name,
        speed=speed,
        busnum=busnum,
        devnum=devnum,
        vid=vid,
        pid=pid,
        bcd=bcd,
        triple=(cls, sub, proto),
        config=config,
        configs=configs,
        path=_text(path, "path"),
    )
    return device, count


def interface_count(record: bytes | bytearray) -> int:
    """How many interface records follow a device record of 312 bytes in a list, whatever else it says."""
    return record[-1]


def pack_devlist_request() -> bytes:
    return pack_common(REQUEST | OP_DEVLIST)


def pack_devlist_reply(devices: list[Device]) -> bytes:
    """OP_REP_DEVLIST: 12 bytes, then 312 + 4 × interfaces a device."""
    parts = [pack_common(OP_DEVLIST), _COUNT.pack(len(devices))]
    for device in devices:
        parts.append(pack_device(device))
        parts.extend(_INTERFACE.pack(*triple, 0) for triple in device.interfaces)
    return b"".join(parts)


def unpack_count(data: bytes | bytearray) -> int:
    """The number of devices in a list."""
    if len(data) != COUNT_SIZE:
        raise WireError(f"a device count of {len(data)} bytes instead of {COUNT_SIZE}")
    (count,) = _COUNT.unpack(data)
    if count > MAX_DEVICES:
        raise WireError(f"the server says it has {count} devices; more than {MAX_DEVICES} are not believed")
    return int(count)


def unpack_interfaces(data: bytes | bytearray) -> tuple[Triple, ...]:
    if len(data) % INTERFACE_SIZE:
        raise WireError(f"interface records of {len(data)} bytes")
    return tuple((cls, sub, proto) for cls, sub, proto, _ in _INTERFACE.iter_unpack(data))


def pack_import_request(busid: str) -> bytes:
    """OP_REQ_IMPORT, 40 bytes."""
    return pack_common(REQUEST | OP_IMPORT) + _pad(busid, BUSID_SIZE).ljust(BUSID_SIZE, b"\0")


def unpack_import_busid(data: bytes | bytearray) -> str:
    """The busid of an import request's 32-byte body."""
    if len(data) != BUSID_SIZE:
        raise WireError(f"an import request's body of {len(data)} bytes instead of {BUSID_SIZE}")
    busid = _text(bytes(data), "busid")
    if not valid_name(busid):
        raise WireError(f"{busid!r} is not a busid")
    return busid


def pack_import_reply(device: Device) -> bytes:
    """OP_REP_IMPORT with status 0, 320 bytes; a refusal is `pack_common(OP_IMPORT, status)` alone."""
    return pack_common(OP_IMPORT) + pack_device(device)


# The WATCH extension. Request: op_common, extension version u16, n u16, n × devid u32 (what this client holds: sessions
# of its that are not among them belonged to a life before and are ended). Reply: op_common, extension version u16,
# zero u16; then, at once and after each change, one full list: length u32 of the rest, n u32, n × (device record,
# port u32 (0: any), state u32).
WATCH_VERSION = 1
# What a client sends while it watches over a transport without keepalive, every BEAT_INTERVAL_S; each is answered with
# the list. One byte, so that there are no halves.
BEAT = b"\0"
BEAT_INTERVAL_S = 2.0
WATCH_AVAILABLE, WATCH_YOURS, WATCH_BUSY, WATCH_ERROR = range(1, 5)
_WATCH_HEAD = struct.Struct(">HH")
_WATCH_TAIL = struct.Struct(">II")
WATCH_HEAD_SIZE = _WATCH_HEAD.size
WATCH_RECORD_SIZE = DEVICE_SIZE + _WATCH_TAIL.size

# device, virtual port (0: any), WATCH_* state
Grant = tuple[Device, int, int]


def pack_watch_request(held: list[int]) -> bytes:
    return (
        pack_common(REQUEST | OP_WATCH)
        + _WATCH_HEAD.pack(WATCH_VERSION, len(held))
        + struct.pack(f">{len(held)}I", *held)
    )


def unpack_watch_head(data: bytes | bytearray) -> tuple[int, int]:
    """(extension version, count)."""
    if len(data) != WATCH_HEAD_SIZE:
        raise WireError(f"a watch header of {len(data)} bytes instead of {WATCH_HEAD_SIZE}")
    version, count = _WATCH_HEAD.unpack(data)
    if count > MAX_DEVICES:
        raise WireError(f"a watch request that holds {count} devices")
    return version, count


def unpack_held(data: bytes | bytearray) -> list[int]:
    return [devid for (devid,) in _COUNT.iter_unpack(data)]


def pack_watch_reply() -> bytes:
    return pack_common(OP_WATCH) + _WATCH_HEAD.pack(WATCH_VERSION, 0)


def pack_watch_list(grants: list[Grant]) -> bytes:
    records = b"".join(pack_device(device) + _WATCH_TAIL.pack(port, state) for device, port, state in grants)
    return struct.pack(">II", COUNT_SIZE + len(records), len(grants)) + records


def unpack_watch_length(data: bytes | bytearray) -> int:
    """The number of bytes that follow the length."""
    (length,) = _COUNT.unpack(data)
    if not COUNT_SIZE <= length <= COUNT_SIZE + MAX_DEVICES * WATCH_RECORD_SIZE:
        raise WireError(f"a watch list of {length} bytes")
    return int(length)


def unpack_watch_list(data: bytes | bytearray) -> list[Grant]:
    """The grants in what follows a watch list's length. It comes from a server of this project: all of it is right."""
    count = unpack_count(data[:COUNT_SIZE])
    if len(data) != COUNT_SIZE + count * WATCH_RECORD_SIZE:
        raise WireError(f"a watch list of {len(data)} bytes for {count} devices")
    grants: list[Grant] = []
    for start in range(COUNT_SIZE, len(data), WATCH_RECORD_SIZE):
        device, _ = unpack_device(data[start : start + DEVICE_SIZE])
        port, state = _WATCH_TAIL.unpack_from(data, start + DEVICE_SIZE)
        if not WATCH_AVAILABLE <= state <= WATCH_ERROR:
            raise WireError(f"state {state} of {device.busid} is unknown")
        grants.append((device, port, state))
    return grants
