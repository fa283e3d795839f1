# SPDX-License-Identifier: BSD-2-Clause
"""The usbredir protocol 0.7 as the side speaks it that has the device. Pure: bytes and values.

Source: docs/usb-redirection-protocol.md of usbredir; all numbers little-endian, structures packed. A packet is a header
(type and length of what follows, u32 each, and the id: u32, or u64 once both sides have Cap.IDS_64BIT) and its body.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import (
    DESCRIPTOR_ENDPOINT,
    DESCRIPTOR_INTERFACE,
    INTERRUPT,
    ISOCHRONOUS,
    Triple,
    chain,
)


class Kind(IntEnum):
    """What a packet is."""

    HELLO = 0
    DEVICE_CONNECT = 1
    DEVICE_DISCONNECT = 2
    RESET = 3
    INTERFACE_INFO = 4
    EP_INFO = 5
    SET_CONFIGURATION = 6
    GET_CONFIGURATION = 7
    CONFIGURATION_STATUS = 8
    SET_ALT_SETTING = 9
    GET_ALT_SETTING = 10
    ALT_SETTING_STATUS = 11
    START_ISO_STREAM = 12
    STOP_ISO_STREAM = 13
    ISO_STREAM_STATUS = 14
    START_INTERRUPT_RECEIVING = 15
    STOP_INTERRUPT_RECEIVING = 16
    INTERRUPT_RECEIVING_STATUS = 17
    CANCEL_DATA_PACKET = 21
    FILTER_REJECT = 22
    FILTER_FILTER = 23
    DEVICE_DISCONNECT_ACK = 24
    CONTROL_PACKET = 100
    BULK_PACKET = 101
    ISO_PACKET = 102
    INTERRUPT_PACKET = 103


class Status(IntEnum):
    """How a transfer ended."""

    SUCCESS = 0
    CANCELLED = 1
    INVALID = 2
    IO_ERROR = 3
    STALL = 4
    TIMEOUT = 5
    BABBLE = 6


class Cap(IntEnum):
    """Bits of what a side is capable of."""

    BULK_STREAMS = 0
    CONNECT_DEVICE_VERSION = 1
    FILTER = 2
    DEVICE_DISCONNECT_ACK = 3
    EP_INFO_MAX_PACKET_SIZE = 4
    IDS_64BIT = 5
    BULK_LENGTH_32BIT = 6
    BULK_RECEIVING = 7


OURS = frozenset(set(Cap) - {Cap.BULK_STREAMS, Cap.BULK_RECEIVING})
"""All but what QEMU would use for some devices only. On a port that takes SuperSpeed it requires the others."""
SPEEDS = {usb.SPEED_LOW: 0, usb.SPEED_FULL: 1, usb.SPEED_HIGH: 2, usb.SPEED_SUPER: 3}
NO_ENDPOINT = 255
MAX_BODY = 17 << 20
"""Bytes of a body. QEMU has no transfer of more than 16 MiB."""


class ProtocolError(Exception):
    """What came is not usbredir."""


@dataclass(frozen=True)
class Packet:
    """kind: a Kind, or a number that the protocol's newer versions may have."""

    kind: int
    ident: int
    body: bytes


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a setting. interval: of interrupt and isochronous ones, in frames or (high speed) microframes."""

    address: int
    kind: int
    size: int
    interval: int
    interface: int


Settings = Mapping[tuple[int, int], tuple[Triple, tuple[Endpoint, ...]]]
"""By interface and alternate setting."""


class Reader:
    """Cuts what comes into packets. wide: ids have 64 bits, which begins after the hello."""

    def __init__(self) -> None:
        self.wide = False
        self._data = bytearray()

    def packets(self, data: bytes) -> Iterator[Packet]:
        """The packets that are whole now. ProtocolError: one is longer than any can be."""
        self._data += data
        while True:
            head = _header(self.wide)
            if len(self._data) < head.size:
                return
            kind, size, ident = head.unpack_from(self._data)
            if size > MAX_BODY:
                raise ProtocolError(f"a packet of type {kind} with {size} bytes")
            end = head.size + size
            if len(self._data) < end:
                return
            body = bytes(self._data[head.size : end])
            del self._data[:end]
            yield Packet(kind, ident, body)


def _header(wide: bool) -> struct.Struct:
    return _WIDE if wide else _NARROW


_NARROW, _WIDE = struct.Struct("<III"), struct.Struct("<IIQ")
_CONTROL = struct.Struct("<BBBBHHH")
_BULK, _BULK_32 = struct.Struct("<BBHI"), struct.Struct("<BBHIH")
_DATA = struct.Struct("<BBH")


def pack(packet: Packet, wide: bool) -> bytes:
    """The packet with its header."""
    return _header(wide).pack(packet.kind, len(packet.body), packet.ident) + packet.body


def unpack(layout: struct.Struct, packet: Packet) -> tuple[int, ...]:
    """The numbers at a body's beginning. ProtocolError: it is too short for them."""
    if len(packet.body) < layout.size:
        raise ProtocolError(f"a packet of type {packet.kind} with {len(packet.body)} bytes only")
    return layout.unpack_from(packet.body)


def hello(version: str) -> Packet:
    """What each side says first."""
    caps = sum(1 << cap for cap in OURS)
    return Packet(Kind.HELLO, 0, version.encode().ljust(64, b"\0") + struct.pack("<I", caps))


def common_caps(packet: Packet) -> frozenset[Cap]:
    """What both sides can, from the other one's hello."""
    bits = int.from_bytes(packet.body[64:68], "little")
    return frozenset(cap for cap in OURS if bits >> cap & 1)


@dataclass(frozen=True)
class Control:
    """A control transfer, or its answer. kind: bmRequestType; length: wLength, in an answer the bytes moved."""

    request: int
    kind: int
    value: int
    index: int
    length: int
    data: bytes = b""
    status: int = 0
    endpoint: int = 0

    @classmethod
    def parse(cls, packet: Packet) -> Control:
        endpoint, request, kind, status, value, index, length = unpack(_CONTROL, packet)
        return cls(request, kind, value, index, length, packet.body[_CONTROL.size :], status, endpoint)

    def pack(self) -> bytes:
        """The body: the request comes before its type."""
        words = (self.request, self.kind, self.status, self.value, self.index, self.length)
        return _CONTROL.pack(self.endpoint, *words) + self.data


@dataclass(frozen=True)
class Bulk:
    """A bulk transfer, or its answer; length: of the data, or of what is asked for."""

    endpoint: int
    length: int
    stream: int = 0
    data: bytes = b""
    status: int = 0

    @classmethod
    def parse(cls, packet: Packet, caps: frozenset[Cap]) -> Bulk:
        if Cap.BULK_LENGTH_32BIT not in caps:
            endpoint, status, length, stream = unpack(_BULK, packet)
            return cls(endpoint, length, stream, packet.body[_BULK.size :], status)
        endpoint, status, low, stream, high = unpack(_BULK_32, packet)
        return cls(endpoint, high << 16 | low, stream, packet.body[_BULK_32.size :], status)

    def pack(self, caps: frozenset[Cap]) -> bytes:
        low, high = self.length & 0xFFFF, self.length >> 16
        if Cap.BULK_LENGTH_32BIT not in caps:
            return _BULK.pack(self.endpoint, self.status, self.length, self.stream) + self.data
        return _BULK_32.pack(self.endpoint, self.status, low, self.stream, high) + self.data


@dataclass(frozen=True)
class Data:
    """An isochronous or interrupt packet."""

    endpoint: int
    data: bytes = b""
    status: int = 0
    length: int | None = None
    """Where it is not that of the data: in the answer to a packet OUT."""

    @classmethod
    def parse(cls, packet: Packet) -> Data:
        endpoint, status, length = unpack(_DATA, packet)
        return cls(endpoint, packet.body[_DATA.size :], status, length)

    def pack(self) -> bytes:
        length = len(self.data) if self.length is None else self.length
        return _DATA.pack(self.endpoint, self.status, length) + self.data


def settings_of(configuration: bytes, speed: int) -> Settings:
    """The settings that a configuration descriptor has, with all that follows it."""
    found: dict[tuple[int, int], tuple[Triple, tuple[Endpoint, ...]]] = {}
    here = (0, 0)
    for part in chain(configuration):
        if part[1] == DESCRIPTOR_INTERFACE:
            here = (part[2], part[3])
            found[here] = ((part[5], part[6], part[7]), ())
        elif part[1] == DESCRIPTOR_ENDPOINT:
            word, interval = part[4] | part[5] << 8, part[6]
            kind = part[3] & 3
            if speed >= usb.SPEED_HIGH and kind in (ISOCHRONOUS, INTERRUPT):
                # USB 2.0, 9.6.6: a power of two there; QEMU reckons with microframes.
                interval = min(255, 1 << interval - 1)
            size = (word & 0x7FF) * (1 + (word >> 11 & 3))
            triple, before = found[here]
            found[here] = (triple, (*before, Endpoint(part[2], kind, size, interval, here[0])))
    return found


def ep_info(endpoints: list[Endpoint], control_size: int, caps: frozenset[Cap]) -> Packet:
    """The endpoints of the settings that are on. Before DEVICE_CONNECT, and before the status of each change."""
    kinds, intervals, interfaces, sizes = bytearray([NO_ENDPOINT] * 32), bytearray(32), bytearray(32), [0] * 32
    for index in (0, 16):
        kinds[index], sizes[index] = 0, control_size
    for each in endpoints:
        index = each.address & 15 | (each.address & 0x80) >> 3
        kinds[index], intervals[index], interfaces[index] = each.kind, each.interval, each.interface
        sizes[index] = each.size
    body = bytes(kinds + intervals + interfaces)
    if Cap.EP_INFO_MAX_PACKET_SIZE in caps:
        body += struct.pack("<32H", *sizes)
    return Packet(Kind.EP_INFO, 0, body)


def interface_info(interfaces: Mapping[int, Triple]) -> Packet:
    """Class, subclass and protocol of each interface by its number. After `ep_info`."""
    rows = [(number, *triple) for number, triple in sorted(interfaces.items())]
    columns = [bytes(row[column] for row in rows).ljust(32, b"\0") for column in range(4)]
    return Packet(Kind.INTERFACE_INFO, 0, struct.pack("<I", len(rows)) + b"".join(columns))


def device_connect(speed: int, device: bytes, caps: frozenset[Cap]) -> Packet:
    """The device comes. speed: SPEED_*; device: its device descriptor."""
    body = bytes([SPEEDS[speed], *device[4:7]]) + device[8:12]
    return Packet(Kind.DEVICE_CONNECT, 0, body + (device[12:14] if Cap.CONNECT_DEVICE_VERSION in caps else b""))
