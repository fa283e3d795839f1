# SPDX-License-Identifier: BSD-2-Clause
"""Four guests, and the frames that they send. Written from the RFCs, apart from the switch's own code."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import NamedTuple

from router.vswitch import SwitchConfig, SwitchPort, SwitchRule

NAMES = ("server", "client", "other", "lonely")
SERVER, CLIENT, OTHER, LONELY = range(4)
BROADCAST = b"\xff" * 6
SYN, ACK, RST = 0x02, 0x10, 0x04
ECHO_REPLY, UNREACHABLE, REDIRECT, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 5, 8, 11

CONFIG = SwitchConfig(
    ports=tuple(
        SwitchPort(name, f"02:00:0a:4d:00:{2 + number:02x}", IPv4Address("10.77.0.2") + number)
        for number, name in enumerate(NAMES)
    ),
    rules=(
        SwitchRule("client", "server", "tcp", 3240),
        SwitchRule("client", "server", "icmp"),
        SwitchRule("other", "server", "tcp", 3240),
        SwitchRule("server", "other", "udp", 53),
    ),
)


class Offload(NamedTuple):
    """`struct virtio_net_hdr` (virtio 1.2, 5.1.6) without the number of buffers."""

    flags: int = 0
    gso_type: int = 0
    hdr_len: int = 0
    gso_size: int = 0
    csum_start: int = 0
    csum_offset: int = 0


NO_OFFLOAD = Offload()
TCP_CHECKSUM = Offload(flags=1, csum_start=34, csum_offset=16)
UDP_CHECKSUM = Offload(flags=1, csum_start=34, csum_offset=6)
SEGMENTED = Offload(flags=1, gso_type=1, hdr_len=54, gso_size=1448, csum_start=34, csum_offset=16)


def mac(port: int) -> bytes:
    return bytes.fromhex(CONFIG.ports[port].mac.replace(":", ""))


def address(port: int) -> bytes:
    return CONFIG.ports[port].ipv4.packed


def ethernet(source: int, target: int, kind: int, payload: bytes, *, to: bytes | None = None) -> bytes:
    return (mac(target) if to is None else to) + mac(source) + struct.pack(">H", kind) + payload


def ipv4(
    source: bytes,
    target: bytes,
    protocol: int,
    payload: bytes,
    *,
    first: int = 0x45,
    total: int | None = None,
    fragment: int = 0x4000,
    options: bytes = b"",
) -> bytes:
    """A packet; `first` is version and header length, `fragment` the flags and the offset."""
    length = 20 + len(options) + len(payload) if total is None else total
    head = struct.pack(">BBHHHBBH4s4s", first, 0, length & 0xFFFF, 1, fragment, 64, protocol, 0, source, target)
    return head + options + payload


def tcp(source_port: int, target_port: int, flags: int = ACK, data: bytes = b"", *, offset: int = 5) -> bytes:
    return struct.pack(">HHIIBBHHH", source_port, target_port, 1, 1, offset << 4, flags, 1000, 0, 0) + data


def udp(source_port: int, target_port: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    return struct.pack(">HHHH", source_port, target_port, 8 + len(data) if length is None else length, 0) + data


def icmp(kind: int, code: int = 0, data: bytes = b"") -> bytes:
    return struct.pack(">BBHI", kind, code, 0, 0) + data


def packet(source: int, target: int, protocol: int, payload: bytes, **changes: object) -> bytes:
    """An honest Ethernet frame with an IPv4 packet; `changes` go to ipv4()."""
    return ethernet(source, target, 0x0800, ipv4(address(source), address(target), protocol, payload, **changes))  # type: ignore[arg-type]


def tcp_frame(
    source: int, target: int, source_port: int, target_port: int, flags: int = ACK, data: bytes = b""
) -> bytes:
    return packet(source, target, 6, tcp(source_port, target_port, flags, data))


def udp_frame(source: int, target: int, source_port: int, target_port: int, data: bytes = b"") -> bytes:
    return packet(source, target, 17, udp(source_port, target_port, data))


def icmp_frame(source: int, target: int, kind: int, code: int = 0, data: bytes = b"") -> bytes:
    return packet(source, target, 1, icmp(kind, code, data))


def unreachable(source: int, target: int, protocol: int, quoted: bytes, code: int = 3, **changes: object) -> bytes:
    """An error from `source` about a packet that `target` sent to it."""
    quote = ipv4(address(target), address(source), protocol, quoted, **changes)  # type: ignore[arg-type]
    return icmp_frame(source, target, UNREACHABLE, code, quote)


def arp(
    source: int,
    target: int,
    *,
    operation: int = 1,
    to: bytes = BROADCAST,
    sender_mac: bytes | None = None,
    sender: bytes | None = None,
    asked: bytes | None = None,
    head: bytes = b"\x00\x01\x08\x00\x06\x04",
) -> bytes:
    """A request from `source` for the address of `target`, unless told otherwise."""
    body = head + struct.pack(">H", operation) + (mac(source) if sender_mac is None else sender_mac)
    body += (address(source) if sender is None else sender) + bytes(6) + (address(target) if asked is None else asked)
    return ethernet(source, target, 0x0806, body, to=to)
