# SPDX-License-Identifier: BSD-2-Clause
"""Packets of usbredir, byte by byte as the protocol's document has them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.usbredir import protocol
from bench.usbredir.devices.camera import Camera
from bench.usbredir.devices.mouse import Mouse
from bench.usbredir.protocol import Bulk, Cap, Control, Data, Kind, Packet, ProtocolError, Reader

SOME = frozenset({Cap.CONNECT_DEVICE_VERSION, Cap.EP_INFO_MAX_PACKET_SIZE, Cap.IDS_64BIT})


def test_the_hello_tells_what_we_can_and_offers_neither_streams_nor_buffered_bulk() -> None:
    packet = protocol.hello("version")
    assert packet.body[:8] == b"version\0"
    assert packet.body[64:] == struct.pack("<I", 0x7E)
    assert protocol.common_caps(Packet(Kind.HELLO, 0, bytes(64) + b"\xff\0\0\0")) == protocol.OURS
    assert protocol.common_caps(Packet(Kind.HELLO, 0, bytes(64))) == frozenset()


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 2**32 - 1), st.binary(max_size=50))), st.booleans())
def test_packets_are_found_however_they_are_cut(rows: list[tuple[int, int, bytes]], wide: bool) -> None:
    packets = [Packet(*row) for row in rows]
    reader = Reader()
    reader.wide = wide
    stream = b"".join(protocol.pack(packet, wide) for packet in packets)
    found = [packet for at in range(0, len(stream), 7) for packet in reader.packets(stream[at : at + 7])]
    assert found == packets


def test_a_packet_that_is_too_long_or_too_short_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="type 101 with 4294967295 bytes"):
        list(Reader().packets(struct.pack("<III", 101, 0xFFFFFFFF, 0)))
    with pytest.raises(ProtocolError, match="type 100 with 9 bytes only"):
        Control.parse(Packet(Kind.CONTROL_PACKET, 0, bytes(9)))


def test_a_control_transfer_has_its_request_before_its_type() -> None:
    body = bytes([0, 6, 0x80, 0]) + struct.pack("<HHH", 0x0100, 0, 18)
    asked = Control.parse(Packet(Kind.CONTROL_PACKET, 1, body))
    assert (asked.request, asked.kind, asked.value, asked.length) == (6, 0x80, 0x0100, 18)
    assert asked.pack() == body


@pytest.mark.parametrize("caps", [frozenset(), frozenset({Cap.BULK_LENGTH_32BIT})])
def test_a_bulk_transfer_is_read_as_it_was_written(caps: frozenset[Cap]) -> None:
    bulk = Bulk(0x81, 0x12345 if caps else 0x2345, 7, b"data", 4)
    assert Bulk.parse(Packet(Kind.BULK_PACKET, 0, bulk.pack(caps)), caps) == bulk
    assert len(bulk.pack(caps)) == (10 if caps else 8) + 4


def test_an_isochronous_packet_has_its_length() -> None:
    assert Data(0x81, b"abc").pack() == b"\x81\0\3\0abc"
    assert Data(0x01, length=9).pack() == b"\x01\0\x09\0"


def test_endpoints_are_told_by_number_and_direction() -> None:
    device = Mouse()
    settings = protocol.settings_of(device.config_descriptor, device.speed)
    body = protocol.ep_info(list(settings[0, 0][1]), 8, SOME).body
    kinds, intervals, sizes = body[:32], body[32:64], struct.unpack("<32H", body[96:])
    assert (kinds[0], kinds[16], kinds[17], kinds[1]) == (0, 0, 3, 255)
    assert (intervals[17], sizes[17], sizes[0]) == (10, 4, 8)


def test_intervals_of_a_high_speed_device_are_powers_of_two_in_microframes() -> None:
    device = Camera()
    settings = protocol.settings_of(device.config_descriptor, device.speed)
    assert settings[1, 0] == ((14, 2, 0), ())
    assert [(each.address, each.kind, each.size, each.interval) for each in settings[1, 1][1]] == [(0x81, 1, 1024, 8)]


def test_a_device_comes_with_its_speed_and_identity() -> None:
    device = Mouse()
    body = protocol.device_connect(device.speed, device.device_descriptor, SOME).body
    assert body == bytes([0, 0, 0, 0]) + struct.pack("<HHH", 0x1209, device.pid, 0x0100)
