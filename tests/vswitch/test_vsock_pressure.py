# SPDX-License-Identifier: BSD-2-Clause
"""vsock guests that are slow, full, silent or gone: the deadlocks that other switches had, and that one guest's trouble
stays its own and its peers'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.vswitch import SwitchProcess
from tests.support.patience import PATIENCE, wait_until
from tests.vswitch.vhost import (
    CREDIT_REQUEST,
    CREDIT_UPDATE,
    REQUEST,
    RESPONSE,
    RST,
    RW,
    STREAM,
    Guest,
    Header,
    Stream,
    connected,
    guests,
)
from tests.vswitch.vsock_switch import CLIENT, SERVER, VSOCK, attach, carry, counters, ends_well, refused, run

CLOSE = 300
"""Milliseconds after which the switch gives up on a receiver, where tests want it to."""


@pytest.fixture
def hasty(checked_program: Path, tmp_path: Path) -> Iterator[SwitchProcess]:
    """A switch that gives up soon on a guest that takes nothing."""
    with SwitchProcess(checked_program, VSOCK, tmp_path / "run", stall_ms=CLOSE) as switch:
        yield switch


@pytest.mark.parametrize("window", [4096, 65536, 262144], ids=str)
def test_a_one_way_stream_needs_no_more_credit_than_a_kernel_gives(vsock_switch: SwitchProcess, window: int) -> None:
    """Whatever the window: the switch has none of its own, so it cannot wait for more than half of one."""
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, there = connected(client, server, window=window)
        here.window = 262144  # the sender's own buffer is larger than the receiver's
        carry(here, there, os.urandom(8 * window))
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_a_credit_request_among_large_packets_is_answered(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server", buffers=8)) as (client, server):
        here, there = connected(client, server)
        for _ in range(8):
            while here.credit() >= 65536:
                here.put(RW, os.urandom(65536))
            here.send(CREDIT_REQUEST)
            while here.credit() < here.window:
                if (packet := server.poll()) is not None:
                    there.accept(packet)
                    if there.taken == here.sent:
                        there.send(CREDIT_UPDATE)
                if (packet := client.poll()) is not None:
                    here.accept(packet)
        assert len(there.data) == 8 * here.window
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_two_guests_that_fill_each_others_rings_do_not_lock_up(vsock_switch: SwitchProcess) -> None:
    """Neither takes anything before all it sends is taken from its own ring."""
    few = {"buffers": 4}
    with vsock_switch, guests(run(vsock_switch, "client", **few), run(vsock_switch, "server", **few)) as (a, b):
        here, there = connected(a, b)
        data = os.urandom(100_000)
        for stream in (here, there):
            for at in range(0, len(data), 25_000):
                stream.put(RW, data[at : at + 25_000])
        a.kick(1)
        b.kick(1)
        assert wait_until(lambda: a.sent() and b.sent())
        for stream in (here, there):
            while len(stream.data) < len(data):
                stream.step()
            assert bytes(stream.data) == data
        assert counters(vsock_switch, "client").queued_peak_bytes > 60_000
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_two_siblings_that_send_at_once_both_arrive_whole(vsock_switch: SwitchProcess) -> None:
    names = ("server", "client", "other")
    with vsock_switch, guests(*(run(vsock_switch, name) for name in names)) as (server, client, other):
        streams = {}
        for guest in (client, other):
            here, there = connected(guest, server)
            streams[guest.cid] = (here, there)
        data = os.urandom(1_000_000)
        sent = {guest.cid: 0 for guest in (client, other)}
        end = time.monotonic() + PATIENCE
        while any(len(there.data) < len(data) for _, there in streams.values()):
            for here, _ in streams.values():
                at = sent[here.guest.cid]
                size = min(65536, here.credit(), len(data) - at)
                if size > 0:
                    here.send(RW, data[at : at + size])
                    sent[here.guest.cid] += size
                while (packet := here.guest.poll()) is not None:
                    here.accept(packet)
            while (packet := server.poll()) is not None:
                streams[packet.header.source_cid][1].accept(packet)
            assert time.monotonic() < end
        assert all(bytes(there.data) == data for _, there in streams.values())
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_many_small_packets_arrive_as_few(vsock_switch: SwitchProcess) -> None:
    """Linux from 6.12.92 on resets a connection with 455 packets in a receive buffer of 256 KiB."""
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, there = connected(client, server)
        before = there.packets
        data = os.urandom(200 * 200)
        for at in range(0, len(data), 200):
            here.put(RW, data[at : at + 200])
        client.kick(1)
        while len(there.data) < len(data):
            there.step()
        assert bytes(there.data) == data
        # 40,000 bytes need 11 buffers; a buffer ends early where a turn of 64 packets does.
        assert there.packets - before <= 11 + 200 // 64 + 1
        # Connections are not mixed, and the order of each is kept.
        second, _ = connected(client, server, own_port=1025)
        for number in range(20):
            (here if number % 2 else second).put(RW, bytes([number]))
        client.kick(1)
        found: dict[int, bytes] = {1024: b"", 1025: b""}
        while sum(map(len, found.values())) < 20:
            packet = server.receive()
            found[packet.header.source_port] += packet.payload
        assert found == {1024: bytes(range(1, 20, 2)), 1025: bytes(range(0, 20, 2))}


def test_a_packet_and_a_kick_of_before_the_rings_are_enabled_are_not_lost(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "server"), attach(vsock_switch, "client")) as (server, client):
        client.set_rings()
        client.send(Header(CLIENT, SERVER, 1024, 3240, 0, STREAM, REQUEST, 0, 65536))
        vsock_switch.counters()
        assert server.is_silent(0.1)
        client.enable()
        assert server.receive().header.operation == REQUEST


def test_a_sender_that_overruns_the_credit_loses_the_connection_and_no_other(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, _ = connected(client, server, window=10_000)
        second, other_end = connected(client, server, own_port=1025)
        here.send(RW, bytes(10_000))
        got = 0
        while got < 10_000:
            got += len(server.receive().payload)
        here.send(RW, b"!")
        assert client.receive().header[2:4] == (3240, 1024)
        assert server.receive().header.operation == RST
        carry(second, other_end, b"lives")
        assert counters(vsock_switch, "client").drops == {"credit": 1}


def test_a_receiver_that_takes_what_was_never_sent_loses_the_connection(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        _, there = connected(client, server)
        there.taken = 1
        there.send(CREDIT_UPDATE)
        assert server.receive().header.operation == client.receive().header.operation == RST
        assert counters(vsock_switch, "server").drops == {"credit": 1}


def test_a_flood_of_requests_uses_up_the_floods_own_rule_alone(vsock_switch: SwitchProcess) -> None:
    names = ("server", "client", "other")
    with vsock_switch, guests(*(run(vsock_switch, name, buffers=200) for name in names)) as (server, client, other):
        for port in range(1, 101):
            client.put(Header(CLIENT, SERVER, port, 3240, 0, STREAM, REQUEST, 0, 65536))
        client.kick(1)
        answers = [client.receive().header for _ in range(36)]
        assert {answer.operation for answer in answers} == {RST}
        assert sorted(answer.destination_port for answer in answers) == list(range(65, 101))
        assert [server.receive().header.source_port for _ in range(64)] == list(range(1, 65))
        here, there = connected(other, server)
        carry(here, there, b"still served")
        assert counters(vsock_switch, "client").drops == {"connections": 36}


def test_a_guest_that_takes_nothing_delays_its_senders_and_then_loses_its_connections(hasty: SwitchProcess) -> None:
    names = ("server", "client", "other")
    with guests(*(run(hasty, name, buffers=4) for name in names)) as (server, client, other):
        stuck, _ = connected(client, server)
        live, live_end = connected(other, server)
        client.refills = False
        back = Stream(server, 3240, CLIENT, 1024)
        back.peer_window = 262144
        for _ in range(4):  # more than its buffers and the server's share hold
            back.send(RW, bytes(60_000))
        while (answer := server.receive().header).operation != RST:
            pass
        assert wait_until(server.sent)
        while (again := server.poll()) is not None:  # what was sent after that is answered too
            assert again.header == answer
        assert (answer.source_cid, answer.source_port, answer.destination_port) == (CLIENT, 1024, 3240)
        carry(live_end, live, os.urandom(100_000))
        assert refused(server, Header(SERVER, CLIENT, 7, 99, 0, STREAM, REQUEST, 0, 65536))
        assert counters(hasty, "server").drops["stalled"] >= 1
        # It offers buffers again: it gets the RST that it is owed, and is served as before.
        while (packet := client.poll()) is not None:
            assert packet.header.operation == RW
        client.refills = True
        client.offer(4)
        client.kick(0)
        while (header := client.receive().header).operation != RST:
            pass
        assert header.destination_port == stuck.port
        here, there = connected(client, server, own_port=1025)
        carry(here, there, b"back")


@pytest.mark.parametrize("how", ["dies", "stops", "breaks"])
def test_the_peers_of_a_guest_that_goes_are_told_and_it_may_come_back(vsock_switch: SwitchProcess, how: str) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        here, there = connected(client, server)
        carry(here, there, b"before")
        if how == "dies":
            client.close()
        elif how == "stops":
            assert client.stop() == (client.rx.used_index(), client.tx.used_index())
        else:
            client.message(77)
            assert client.is_closed()
        answer = server.receive().header
        assert answer[:4] == (CLIENT, SERVER, 1024, 3240)
        assert answer.operation == RST
        assert refused(server, Header(SERVER, CLIENT, 7, 99, 0, STREAM, REQUEST, 0, 65536))
        if how == "stops":
            client.set_rings()
            client.enable()
            # It may have been paused only: it hears that the connection is over.
            assert client.receive().header.operation == RST
            assert wait_until(lambda: counters(vsock_switch, "client").connected)
            again = client
        else:
            again = run(vsock_switch, "client")
        here, there = connected(again, server)
        carry(here, there, b"after")
        again.close()
        assert server.receive().header.operation == RST
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_a_second_qemu_waits_for_the_first_to_end(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        connected(client, server)
        assert counters(vsock_switch, "client").links == 1
        client.close()
        assert server.receive().header.operation == RST
        with guests(run(vsock_switch, "client")) as (second,):
            here, there = connected(second, server)
            carry(here, there, b"second")
            assert counters(vsock_switch, "client").links == 2


def test_an_answer_that_finds_no_buffer_waits_and_holds_up_its_own_guest_alone(vsock_switch: SwitchProcess) -> None:
    names = ("server", "client", "other")
    with vsock_switch, guests(*(run(vsock_switch, name) for name in names)) as (server, client, other):
        client.refills = False
        for port in range(200):
            client.put(Header(CLIENT, SERVER, port, 22, 0, STREAM, REQUEST, 0, 65536))
        client.kick(1)
        assert wait_until(lambda: counters(vsock_switch, "client").blocked)
        here, there = connected(other, server)
        carry(here, there, os.urandom(200_000))
        client.refills = True
        answers = []
        client.offer(0)
        for _ in range(64):
            answers.append(client.receive().header)
        for _ in range(136):
            answers.append(client.receive().header)
        assert [answer.destination_port for answer in answers] == list(range(200))
        assert {answer.operation for answer in answers} == {RST}
        assert ends_well(vsock_switch), vsock_switch.last_words()


def test_a_response_needs_its_request(vsock_switch: SwitchProcess) -> None:
    with vsock_switch, guests(run(vsock_switch, "client"), run(vsock_switch, "server")) as (client, server):
        assert refused(server, Header(SERVER, CLIENT, 3240, 1024, 0, STREAM, RESPONSE, 0, 65536))
        here, there = connected(client, server)
        there.send(RESPONSE)
        assert server.receive().header.operation == client.receive().header.operation == RST
        assert here.guest is client
        assert isinstance(client, Guest)
        assert counters(vsock_switch, "server").drops == {"no-connection": 1, "state": 1}
