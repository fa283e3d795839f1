# SPDX-License-Identifier: BSD-2-Clause
"""A capture of vsock packets, as tshark reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from router.vswitch import SwitchProcess
from tests.support.tshark import needs_tshark, tshark
from tests.vswitch.cc import HOST_UNITS, SANITIZE, compile_c
from tests.vswitch.vhost import REQUEST, RST, RW, STREAM, Header, connected, guests
from tests.vswitch.vsock_switch import CLIENT, SERVER, VSOCK, carry, ends_well, refused, run

FIELDS = (
    *("frame.interface_name", "vsock.virtio.src_cid", "vsock.virtio.dst_cid", "vsock.virtio.src_prot"),
    *("vsock.virtio.dst_prot", "vsock.virtio.op", "vsock.virtio.len", "vsock.op", "frame.comment", "_ws.malformed"),
)
COPIES = ("vsock.src_cid", "vsock.dst_cid", "vsock.src_port", "vsock.dst_port", "vsock.trans_len")


@pytest.fixture
def capturing(tmp_path: Path, checked_program: Path) -> Callable[..., tuple[SwitchProcess, Path]]:
    """A switch for vsock that captures, and its capture; another program by `program`."""

    def switch(program: Path = checked_program) -> tuple[SwitchProcess, Path]:
        capture = tmp_path / "packets.pcapng"
        return SwitchProcess(program, VSOCK, tmp_path / "run", stall_ms=0, capture=capture), capture

    return switch


@needs_tshark
def test_tshark_reads_the_capture_as_vsock_packets(capturing: Callable[..., tuple[SwitchProcess, Path]]) -> None:
    switch, capture = capturing()
    data = os.urandom(48)
    with switch, guests(run(switch, "client"), run(switch, "server")) as (client, server):
        here, _ = connected(client, server)
        here.send(RW, data, pieces=3)
        assert server.receive().payload == data
        assert ends_well(switch), switch.last_words()
    rows = tshark(capture, *FIELDS)
    there, back = (["client", "5", "4", "1024", "3240"], ["server", "4", "5", "3240", "1024"])
    assert [row[:8] for row in rows] == [
        [*there, "1", "0", "1"],
        [*back, "2", "0", "1"],
        [*there, "5", "48", "4"],
    ]
    assert all(row[8:] == ["", ""] for row in rows), "neither dropped nor malformed"
    assert [row[:4] for row in tshark(capture, *COPIES)] == [row[1:5] for row in rows]
    assert {row[4] for row in tshark(capture, *COPIES)} == {"44"}
    assert tshark(capture, "vsock.payload")[-1] == [data.hex()]


@needs_tshark
def test_a_capture_says_what_was_refused_and_has_the_switchs_own_resets(
    capturing: Callable[..., tuple[SwitchProcess, Path]],
) -> None:
    switch, capture = capturing()
    with switch, guests(run(switch, "client"), run(switch, "server")) as (client, server):
        assert refused(client, Header(CLIENT, SERVER, 1024, 22, 0, STREAM, REQUEST, 0, 65536))
        here, there = connected(client, server)
        # More than the other end has announced: each end gets a RST.
        there.window = 100
        there.send(RW, b"x")
        assert client.receive().payload == b"x"
        here.sent, here.peer_window = 0, 1 << 30
        for _ in range(5):
            here.put(RW, bytes(65536))
        client.kick(1)
        while client.receive().header.operation != RST:
            pass
        while server.receive().header.operation != RST:
            pass
        assert ends_well(switch), switch.last_words()
    rows = [(row[0], row[5], row[8]) for row in tshark(capture, *FIELDS)]
    assert rows[:2] == [("client", "1", "dropped: not-allowed"), ("client", "3", "made by the switch")]
    assert ("client", "5", "dropped: credit") in rows
    resets = [row[0] for row in rows[2:] if row[1:] == ("3", "made by the switch")]
    assert sorted(set(resets)) == ["client", "server"]


def test_a_capture_has_as_much_of_an_endless_payload_as_a_packet_may_have(
    capturing: Callable[..., tuple[SwitchProcess, Path]],
) -> None:
    switch, capture = capturing()
    with switch, guests(run(switch, "client")) as (client,):
        length = 3 * 65536
        chain = Header(CLIENT, SERVER, 1024, 3240, length, STREAM, RW, 0, 65536)
        client.memory[client.TX : client.TX + 44] = chain.pack()
        client.tx.describe(0, 0x4000_0000 + client.TX, 44 + length)
        client.tx.add(0)
        client.kick(1)
        assert client.receive().header.operation == RST
        assert ends_well(switch), switch.last_words()
    assert 65536 < capture.stat().st_size < 2 * 65536


def test_a_capture_of_packets_ends_at_its_largest_size_and_the_switch_goes_on(
    tmp_path: Path, capturing: Callable[..., tuple[SwitchProcess, Path]]
) -> None:
    small = compile_c(tmp_path / "vswitch", HOST_UNITS, *SANITIZE, "-DCAPTURE_MAX=100000u")
    switch, capture = capturing(small)
    with switch, guests(run(switch, "client"), run(switch, "server")) as (client, server):
        here, there = connected(client, server)
        carry(here, there, os.urandom(1 << 20))
        assert ends_well(switch), switch.last_words()
    assert 30_000 < capture.stat().st_size <= 100_000
    assert switch.last_words().count("the capture ends here: it has reached its largest size") == 1
