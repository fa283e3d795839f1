# SPDX-License-Identifier: BSD-2-Clause
"""vsock through the host process: guests whose rings are written in Python, behind vhost-user as QEMU speaks it."""

from __future__ import annotations

import os

import pytest

from router.vswitch import SwitchProcess
from tests.support.patience import wait_until
from tests.vswitch.vhost import (
    CREDIT_REQUEST,
    CREDIT_UPDATE,
    REQUEST,
    RST,
    RW,
    SHUTDOWN,
    STREAM,
    Header,
    connected,
    guests,
)
from tests.vswitch.vsock_switch import CLIENT, LONELY, OTHER, SERVER, attach, carry, counters, ends_well, refused, run


def test_data_of_all_sizes_crosses_both_ways(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, there = connected(client, server)
        for size in (1, 2, 47, 48, 3731, 3732, 3733, 7464, 65535, 65536):
            data = os.urandom(size)
            carry(here, there, data)
            carry(there, here, data)
        data = os.urandom(1 << 20)
        carry(here, there, data)
        carry(there, here, data)
        assert counters(vsock_switch, "client").open == counters(vsock_switch, "server").open == 1
        assert counters(vsock_switch, "client").drops == counters(vsock_switch, "server").drops == {}
        assert ends_well(vsock_switch), vsock_switch.last_words()


@pytest.mark.parametrize("features", [0x1_0000_0000, 0x1_7000_0000], ids=["flags", "event indices"])
def test_any_split_of_a_packet_into_descriptors_is_taken(vsock_switch: SwitchProcess, features: int) -> None:
    with vsock_switch, guests(attach(vsock_switch, "client"), attach(vsock_switch, "server")) as (client, server):
        client.start(features)
        server.start(features)
        assert wait_until(
            lambda: counters(vsock_switch, "client").connected and counters(vsock_switch, "server").connected
        )
        here, there = connected(client, server)
        for pieces in (1, 2, 3, 18, 63):
            data = os.urandom(60000)
            here.send(RW, data, pieces=pieces)
            while len(there.data) < len(data):
                there.step()
            assert bytes(there.data) == data
            there.data.clear()
            there.send(CREDIT_UPDATE)
            here.step()
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_a_large_packet_is_cut_to_the_receivers_buffers(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, _ = connected(client, server)
        here.send(RW, bytes(65536))
        sizes: list[int] = []
        while sum(sizes) < 65536:
            packet = server.receive()
            sizes.append(len(packet.payload))
            assert packet.header.buf_alloc == here.window
        assert sizes == [3732] * 17 + [65536 - 17 * 3732]


def test_the_end_of_a_connection_reaches_the_other_side(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, there = connected(client, server)
        here.send(SHUTDOWN, flags=2)
        assert server.receive().header[6:8] == (SHUTDOWN, 2)
        there.send(RW, b"still this")
        assert client.receive().payload == b"still this"
        here.send(SHUTDOWN, flags=3)
        assert server.receive().header[6:8] == (SHUTDOWN, 3)
        there.send(RST)
        assert client.receive().header.operation == RST
        assert counters(vsock_switch, "client").open == 0
        # Both at once: nobody has to wait for the other's RST.
        here, there = connected(client, server)
        here.put(SHUTDOWN, flags=3)
        there.put(SHUTDOWN, flags=3)
        client.kick(1)
        server.kick(1)
        for guest in (client, server):
            while guest.receive().header.operation != RST:
                pass
        assert counters(vsock_switch, "server").open == 0


def test_what_no_rule_allows_is_answered_by_a_reset_and_reaches_no_other_guest(vsock_switch: SwitchProcess) -> None:
    with (
        vsock_switch,
        guests(*(run(vsock_switch, name) for name in ("client", "server", "other"))) as (client, server, other),
    ):
        for destination, port in ((SERVER, 22), (OTHER, 3240), (2, 3240), (1, 3240), (CLIENT, 3240), (99, 3240)):
            assert refused(client, Header(CLIENT, destination, 1024, port, 0, STREAM, REQUEST, 0, 65536))
        assert refused(server, Header(SERVER, CLIENT, 1024, 3240, 0, STREAM, REQUEST, 0, 65536))
        assert refused(client, Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, RW))
        assert refused(client, Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, CREDIT_REQUEST))
        assert refused(client, Header(CLIENT, SERVER, 1024, 3240, 0, 2, REQUEST, 0, 65536))
        assert refused(client, Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, 8))
        assert refused(client, Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, 0))
        assert refused(client, Header(CLIENT, LONELY, 1024, 3240, 0, STREAM, REQUEST))
        assert server.is_silent()
        assert other.is_silent()
        drops = counters(vsock_switch, "client").drops
        assert drops["not-allowed"] >= 2
        assert {"destination-cid", "no-connection", "type", "operation"} <= drops.keys()
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_a_reset_of_nothing_and_a_forged_source_get_no_answer(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        client.send(Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, RST))
        client.send(Header(OTHER, SERVER, 1024, 3240, 0, STREAM, REQUEST, 0, 65536))
        assert wait_until(client.sent)
        assert client.is_silent()
        assert server.is_silent()
        assert counters(vsock_switch, "client").drops == {"reset": 1, "source-cid": 1}


def test_a_third_guest_cannot_inject_into_a_connection(vsock_switch: SwitchProcess) -> None:
    with (
        vsock_switch,
        guests(*(run(vsock_switch, name) for name in ("client", "server", "other"))) as (client, server, other),
    ):
        here, there = connected(client, server)
        ports = (there.peer_port, there.port)
        assert refused(other, Header(OTHER, SERVER, *ports, 0, STREAM, SHUTDOWN, 3))
        other.send(Header(OTHER, SERVER, *ports, 4, STREAM, RW, 0, 65536), b"evil")
        assert other.receive().header.operation == RST
        other.send(Header(CLIENT, SERVER, *ports, 4, STREAM, RW, 0, 65536), b"evil")
        other.send(Header(OTHER, SERVER, *ports, 0, STREAM, RST))
        here.send(RW, b"good")
        assert server.receive().payload == b"good"
        assert ends_well(vsock_switch)
