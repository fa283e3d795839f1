# SPDX-License-Identifier: BSD-2-Clause
"""Frames that pass, as inputs of c/fuzz_decide.c."""

from __future__ import annotations

import struct

from tests.vswitch.frames import (
    CLIENT,
    ECHO_REQUEST,
    NO_OFFLOAD,
    OTHER,
    SEGMENTED,
    SERVER,
    SYN,
    TCP_CHECKSUM,
    UDP_CHECKSUM,
    arp,
    icmp_frame,
    packet,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    unreachable,
)

FRAMES = [
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240), NO_OFFLOAD),
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240), TCP_CHECKSUM),
    (CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, data=bytes(5000)), SEGMENTED),
    (SERVER, tcp_frame(SERVER, CLIENT, 3240, 40000, SYN), NO_OFFLOAD),
    (SERVER, udp_frame(SERVER, OTHER, 5000, 53, b"question"), UDP_CHECKSUM),
    (CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, bytes(40)), NO_OFFLOAD),
    (CLIENT, unreachable(CLIENT, SERVER, 6, tcp(3240, 40000)), NO_OFFLOAD),
    (OTHER, unreachable(OTHER, SERVER, 17, udp(5000, 53)), NO_OFFLOAD),
    (CLIENT, packet(CLIENT, SERVER, 6, tcp(40000, 3240, 16, bytes(65496)), total=0), SEGMENTED),
    (SERVER, arp(SERVER, SERVER), NO_OFFLOAD),
    (CLIENT, arp(CLIENT, SERVER), NO_OFFLOAD),
]


def inputs() -> list[bytes]:
    """One for each frame: its port, its length, its offload metadata and its first 70 bytes."""
    return [
        bytes([port, 0]) + len(frame).to_bytes(3, "little") + struct.pack("<BBHHHH", *offload) + frame[:70]
        for port, frame, offload in FRAMES
    ]
