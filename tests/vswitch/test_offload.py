# SPDX-License-Identifier: BSD-2-Clause
"""Offload metadata is judged with its frame: a receiver that acts on it changes nothing that the rules depend on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vswitch.frames import (
    ACK,
    CLIENT,
    CONFIG,
    ECHO_REQUEST,
    NO_OFFLOAD,
    OTHER,
    SEGMENTED,
    SERVER,
    SYN,
    TCP_CHECKSUM,
    UDP_CHECKSUM,
    Offload,
    arp,
    icmp_frame,
    packet,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    unreachable,
)
from tests.vswitch.runner import Runner

LIMITED = type(CONFIG)(CONFIG.ports, CONFIG.rules, frame_max=1514)
SHORT = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, b"payload")
LONG = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(20000))
DATAGRAM = udp_frame(SERVER, OTHER, 5000, 53, b"question")
PASSED = ({SERVER}, "pass")
CHECKSUM: tuple[set[int], str] = (set(), "checksum-offload")
SEGMENTATION: tuple[set[int], str] = (set(), "segmentation-offload")


@pytest.fixture
def switch(runner: Runner) -> Iterator[Runner]:
    """The core with frames and segments of at most 1,514 bytes."""
    runner.configure(LIMITED)
    yield runner


def test_honest_requests_pass_as_they_are(switch: Runner) -> None:
    for port, frame, offload in (
        (CLIENT, SHORT, NO_OFFLOAD),
        (CLIENT, SHORT, TCP_CHECKSUM),
        (CLIENT, LONG, SEGMENTED),
        (SERVER, DATAGRAM, UDP_CHECKSUM),
    ):
        _, reason, delivered = switch.deliver(port, frame, offload)
        assert (reason, delivered) == ("pass", offload)


@pytest.mark.parametrize(
    ("start", "offset"),
    [
        (34, 2),  # the destination port
        (36, 0),  # the same, by its start: with the rule for 3240 a SYN reached port 22
        (34, 13),  # the flags of TCP
        (34, 6),  # UDP's field in TCP
        (34, 4),  # the sequence number
        (26, 0),  # the source address
        (30, 0),  # the destination address
        (14, 0),  # version and length of IPv4's header
        (14, 10),  # IPv4's own checksum
        (14, 36),  # the right field, but a sum over more than the segment
        (33, 17),
        (35, 15),
        (50, 0),  # the right field, of a sum that begins there
        (0, 50),
        (12, 0),  # the type of the packet
        (0, 0),  # the destination MAC
        (65535, 65535),
    ],
)
def test_a_checksum_is_written_nowhere_but_into_the_packets_own_field(switch: Runner, start: int, offset: int) -> None:
    offload = Offload(flags=1, csum_start=start, csum_offset=offset)
    assert switch.judge(CLIENT, SHORT, offload) == CHECKSUM
    assert switch.judge(CLIENT, LONG, SEGMENTED._replace(csum_start=start, csum_offset=offset)) == CHECKSUM


def test_a_checksum_request_cannot_turn_an_allowed_syn_into_one_for_port_22(switch: Runner) -> None:
    """The receiver would write the sum over the port number. The payload makes the sum come out as 22."""
    syn = tcp_frame(CLIENT, SERVER, 40000, 3240, SYN, b"\x00\x00")
    assert switch.judge(CLIENT, syn) == PASSED
    assert switch.judge(CLIENT, syn, Offload(flags=1, csum_start=34, csum_offset=2)) == CHECKSUM
    assert switch.counters(CLIENT)[2] == {"checksum-offload": 1}


@pytest.mark.parametrize(("start", "offset"), [(34, 16), (34, 2), (34, 0), (42, 6), (26, 0), (14, 10)])
def test_a_datagrams_checksum_is_written_into_its_own_field(switch: Runner, start: int, offset: int) -> None:
    offload = Offload(flags=1, csum_start=start, csum_offset=offset)
    assert switch.judge(SERVER, DATAGRAM, offload) == CHECKSUM


@pytest.mark.parametrize("offset", [2, 6, 16])
def test_packets_without_tcp_or_udp_have_no_checksum_to_complete(switch: Runner, offset: int) -> None:
    offload = Offload(flags=1, csum_start=34, csum_offset=offset)
    for port, frame in (
        (CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, bytes(40))),
        (CLIENT, unreachable(CLIENT, SERVER, 6, tcp(3240, 40000))),
        (CLIENT, arp(CLIENT, SERVER)),
    ):
        assert switch.judge(port, frame)[1] == "pass"
        assert switch.judge(port, frame, offload) == CHECKSUM
        assert switch.judge(port, frame, SEGMENTED._replace(csum_offset=offset)) == CHECKSUM
        assert switch.judge(port, frame, Offload(gso_type=1, hdr_len=54, gso_size=100)) == SEGMENTATION


@pytest.mark.parametrize("flags", [2, 3, 4, 5, 8, 0x80, 0xFF])
def test_a_sender_asks_for_nothing_but_a_checksum(switch: Runner, flags: int) -> None:
    """2 is DATA_VALID, by which a receiver would skip its own check; 4 is RSC_INFO (virtio 1.2, 5.1.6)."""
    assert switch.judge(CLIENT, SHORT, TCP_CHECKSUM._replace(flags=flags)) == CHECKSUM


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 0x80, 0x81, 0x84, 0xFF])
def test_nothing_but_tcp_over_ipv4_is_segmented(switch: Runner, kind: int) -> None:
    """3 is UDP with fragments, 4 TCP over IPv6, 5 UDP; 0x80 is ECN, which our devices do not offer."""
    for frame in (SHORT, LONG):
        assert switch.judge(CLIENT, frame, SEGMENTED._replace(gso_type=kind)) == SEGMENTATION
    assert switch.judge(SERVER, DATAGRAM, UDP_CHECKSUM._replace(gso_type=kind, hdr_len=42, gso_size=8)) == SEGMENTATION


def test_a_datagram_above_the_mtu_does_not_pass_as_a_segmented_frame(switch: Runner) -> None:
    large = udp_frame(SERVER, OTHER, 5000, 53, bytes(1473))
    assert switch.judge(SERVER, large, UDP_CHECKSUM) == (set(), "oversize")
    assert switch.judge(SERVER, large, UDP_CHECKSUM._replace(gso_type=1, hdr_len=42, gso_size=1000)) == SEGMENTATION
    assert switch.judge(SERVER, large, SEGMENTED) == CHECKSUM


def test_segments_need_a_checksum_each(switch: Runner) -> None:
    assert switch.judge(CLIENT, LONG, SEGMENTED._replace(flags=0)) == SEGMENTATION


@pytest.mark.parametrize("length", [0, 14, 34, 53, 20055, 65535])
def test_the_headers_length_covers_the_headers_and_no_more_than_the_frame(switch: Runner, length: int) -> None:
    assert len(LONG) == 20054
    assert switch.judge(CLIENT, LONG, SEGMENTED._replace(hdr_len=length)) == SEGMENTATION


def test_the_headers_length_is_delivered_exact(switch: Runner) -> None:
    """Linux gives the bytes of its linear buffer, which may hold some of the payload."""
    options = packet(CLIENT, SERVER, 6, tcp(40000, 3240, ACK, bytes(20000), offset=8))
    for frame, asked, exact in ((LONG, 54, 54), (LONG, 20054, 54), (options, 66, 66), (options, 500, 66)):
        _, reason, delivered = switch.deliver(CLIENT, frame, SEGMENTED._replace(hdr_len=asked))
        assert (reason, delivered.hdr_len) == ("pass", exact)
    assert switch.judge(CLIENT, options, SEGMENTED._replace(hdr_len=65)) == SEGMENTATION


@pytest.mark.parametrize(
    ("size", "passes"), [(0, False), (8, False), (150, False), (151, True), (1460, True), (1461, False), (65535, False)]
)
def test_segments_are_neither_too_many_nor_above_the_mtu(switch: Runner, size: int, passes: bool) -> None:
    """20,000 bytes of payload are 133 segments of 151 bytes."""
    assert switch.judge(CLIENT, LONG, SEGMENTED._replace(gso_size=size)) == (PASSED if passes else SEGMENTATION)


@pytest.mark.parametrize(("size", "passes"), [(0, False), (7, False), (8, True)])
def test_segments_are_not_tiny(switch: Runner, size: int, passes: bool) -> None:
    frame = packet(CLIENT, SERVER, 6, tcp(40000, 3240, ACK, bytes(800)))
    assert switch.judge(CLIENT, frame, SEGMENTED._replace(gso_size=size)) == (PASSED if passes else SEGMENTATION)


def test_the_largest_frame_passes_at_the_smallest_mss_of_every_host(switch: Runner) -> None:
    frame = packet(CLIENT, SERVER, 6, tcp(40000, 3240, ACK, bytes(65496)), total=0)
    assert len(frame) == 14 + 65536
    assert switch.judge(CLIENT, frame, SEGMENTED._replace(gso_size=536 - 40)) == PASSED


def test_a_frame_above_the_mtu_needs_segmentation(switch: Runner) -> None:
    assert switch.judge(CLIENT, LONG, TCP_CHECKSUM) == (set(), "oversize")
    assert switch.judge(CLIENT, LONG) == (set(), "oversize")
    largest = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(65535 - 40))
    assert switch.judge(CLIENT, largest, SEGMENTED) == PASSED
    assert switch.judge(CLIENT, largest + bytes(2), SEGMENTED) == (set(), "oversize")


def test_padding_does_not_become_payload_of_a_segment(switch: Runner) -> None:
    padded = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK) + b"\xaa" * 6
    assert switch.judge(CLIENT, padded, TCP_CHECKSUM) == PASSED
    assert switch.judge(CLIENT, padded, SEGMENTED) == SEGMENTATION


def test_the_total_length_is_zero_only_where_it_does_not_fit(switch: Runner) -> None:
    """Linux writes 0 for a packet over 65,535 bytes that is still to be segmented (RFC 791 has 16 bits for it)."""

    def frame(size: int) -> bytes:
        return packet(CLIENT, SERVER, 6, tcp(40000, 3240, ACK, bytes(size - 40)), total=0)

    assert switch.judge(CLIENT, frame(65536), SEGMENTED) == PASSED
    assert switch.judge(CLIENT, frame(65535), SEGMENTED) == (set(), "ipv4-length")
    assert switch.judge(CLIENT, frame(1501), SEGMENTED) == (set(), "ipv4-length")
    datagram = packet(SERVER, OTHER, 17, udp(5000, 53, bytes(65508), length=0), total=0)
    assert switch.judge(SERVER, datagram, UDP_CHECKSUM._replace(gso_type=1)) == (set(), "ipv4-length")


def test_fields_that_no_flag_asks_for_reach_no_receiver(switch: Runner) -> None:
    """Drivers may leave anything in them (virtio 1.2, 5.1.6.2)."""
    rubbish = Offload(hdr_len=65535, gso_size=65535, csum_start=65535, csum_offset=65535)
    assert switch.deliver(CLIENT, SHORT, rubbish) == ({SERVER}, "pass", NO_OFFLOAD)
    assert switch.deliver(CLIENT, SHORT, TCP_CHECKSUM._replace(hdr_len=9, gso_size=9))[2] == TCP_CHECKSUM


def test_what_no_rule_allows_is_not_judged_by_its_metadata(switch: Runner) -> None:
    frame = tcp_frame(CLIENT, SERVER, 40000, 22)
    assert switch.judge(CLIENT, frame, Offload(flags=255, gso_type=255)) == (set(), "not-allowed")
    switch.link(SERVER, False)
    assert switch.judge(CLIENT, SHORT, Offload(flags=255)) == CHECKSUM
