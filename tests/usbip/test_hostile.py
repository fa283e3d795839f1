# SPDX-License-Identifier: BSD-2-Clause
"""Peers that lie, stall, flood or fall silent, on either side; and the security history of Linux's usbip by name."""

from __future__ import annotations

import random
import resource
import select
import socket
import struct
import time
from pathlib import Path

import pytest

from router.usbip.client.relay import Relay
from router.usbip.client.vhci import Vhci
from router.usbip.commands.port import port_data
from router.usbip.engines import session
from router.usbip.engines.kernel import KernelEngine
from router.usbip.engines.session import UserSession
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake, urb
from router.usbip.runtime import net
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.support.patience import PATIENCE
from tests.usbip.fakes import FakeKernel, run_until
from tests.usbip.remote import Remote, closed, running
from tests.usbip.world import Between, header, serving

ALL = "allow any all"


# What a client may send


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(endpoint=16), id="CVE-2017-16912 endpoint beyond 15"),
        pytest.param(header(endpoint=0xFFFFFFFF), id="CVE-2017-16912 endpoint of all ones"),
        pytest.param(header(direction=2), id="CVE-2017-16912 direction beyond 1"),
        pytest.param(header(length=0x7FFFFFFF), id="CVE-2017-16913 two gigabytes"),
        pytest.param(header(length=-1), id="CVE-2017-16913 negative length"),
        pytest.param(header(length=urb.MAX_TRANSFER + 1), id="CVE-2017-16913 a byte too much"),
        pytest.param(header(direction=0, length=0x7FFFFFFF), id="CVE-2017-16913 two gigabytes out"),
        pytest.param(header(command=0), id="command 0"),
        pytest.param(header(command=3), id="an answer"),
        pytest.param(header() + header(), id="a sequence number twice"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: everything\r\n\r\n", id="a browser"),
    ],
)
def test_a_lying_client_is_cut_off_and_the_device_is_free_again(data: bytes) -> None:
    with serving(Serial()) as world:
        with Remote(world.address, "90-1") as remote:
            remote.configure()
            remote.sock.sendall(data)
            assert closed(remote.sock)
        with Remote(world.address, "90-1") as again:
            again.configure()


@pytest.mark.parametrize("packets", [-1, 0, 1025, 0x7FFFFFFF])
def test_a_wrong_number_of_iso_packets_ends_the_connection(packets: int) -> None:
    with serving(Microphone()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        remote.sock.sendall(header(endpoint=1, packets=packets))
        assert closed(remote.sock)


def test_iso_packets_outside_their_buffer_end_the_connection() -> None:
    with serving(Microphone()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        remote.submit(urb.IN, 1, 100, iso=[(0, 50), (60, 50)])
        assert closed(remote.sock)


def test_cve_2017_16914_an_answer_never_has_more_than_its_buffer() -> None:
    """A transfer without a buffer whose setup packet asks for data: the kernel's stub read through a null pointer."""
    with serving(Keyboard()) as world, Remote(world.address, "90-1") as remote:
        answer = remote.wait(remote.submit(urb.IN, 0, 0, setup=bytes.fromhex("8006000100001200")))
        assert (answer.status, answer.actual, answer.data) == (0, 0, b"")


def test_cve_2017_16911_the_status_tells_no_kernel_addresses(guest: FakeKernel, tmp_path: Path) -> None:
    with socket.socket() as sock:
        vhci = Vhci(guest, str(tmp_path))
        vhci.attach(vhci.choose(3), sock.fileno(), 0x10002, 3)
        data = port_data(vhci, vhci.ports()[0])
    assert set(data) == {"port", "hub", "rhport", "state", "server", "remote", "device"}


def test_cve_2018_5814_devices_that_come_and_go_while_they_are_imported(loop: Loop, host: FakeKernel) -> None:
    server = Server(loop, [KernelEngine(loop, host)], parse_policy(ALL))
    address = Address("tcp", "127.0.0.1", server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1])
    rng = random.Random(1)
    here: dict[str, int] = {}
    socks: list[socket.socket] = []
    for step in range(300):
        busid = f"1-{rng.randrange(1, 4)}"
        action = rng.randrange(4)
        if action == 0 and busid not in here:
            here[busid] = step + 2
            host.plug(busid, devnum=step + 2)
        elif action == 1 and busid in here:
            del here[busid]
            host.unplug(busid)
        elif action == 2:
            sock = net.connect(address)
            sock.sendall(handshake.pack_import_request(busid))
            socks.append(sock)
        elif socks:
            socks.pop(rng.randrange(len(socks))).close()
        server.rescan_soon()
        loop.run_once(0.001)
    for sock in socks:
        sock.close()
    run_until(loop, lambda: not server.conversations)
    for busid in tuple(host.sockets):
        host.end_session(busid)
    server.rescan()
    run_until(loop, lambda: all(export.claimed and not export.session for export in server.exports.values()))
    assert set(server.exports) == set(here)
    server.close()


def test_cve_2021_29265_two_imports_at_once_hand_over_one_socket(loop: Loop, host: FakeKernel) -> None:
    host.plug("1-1")
    server = Server(loop, [KernelEngine(loop, host)], parse_policy(ALL))
    address = Address("tcp", "127.0.0.1", server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1])
    server.rescan()
    socks = [net.connect(address) for _ in range(8)]
    for sock in socks:
        sock.sendall(handshake.pack_import_request("1-1"))
    run_until(loop, lambda: len(select.select(socks, [], [], 0)[0]) == len(socks))
    assert [name for name, _ in host.written].count("bus/usb/devices/1-1/usbip_sockfd") == 1
    assert sum(len(sock.recv(400)) == 320 for sock in socks) == 1
    for sock in socks:
        sock.close()
    server.close()


def test_a_client_of_one_byte_at_a_time_is_served() -> None:
    with serving(Serial()) as world, Remote(world.address, "90-1") as remote:
        remote.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = urb.pack_submit(urb.Submit(1, 1, urb.OUT, 2, 5, b"hello"))
        remote.sent[1] = urb.Submit(1, 1, urb.OUT, 2, 5)
        for byte in data:
            remote.sock.sendall(bytes([byte]))
            time.sleep(0.001)
        assert remote.wait(1).actual == 5


def test_a_client_that_stops_in_the_middle_leaves_nothing_behind() -> None:
    with serving(Serial()) as world:
        remote = Remote(world.address, "90-1")
        remote.sock.sendall(urb.pack_submit(urb.Submit(1, 1, urb.OUT, 2, 1000, bytes(1000)))[:500])
        remote.sock.close()
        with Remote(world.address, "90-1") as again:
            again.out(2, b"x")
            assert again.take(2, 10).data == b"x"


def test_a_client_that_never_reads_is_held_back_and_costs_bounded_memory(disk: Path) -> None:
    with serving(Disk(str(disk))) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        remote.sock.settimeout(0.5)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        request = header(endpoint=0, length=4096, setup=bytes.fromhex("8006000200000010"))
        sent = 0
        try:
            while sent < 64 << 20:
                request = request[:4] + struct.pack(">I", 100 + sent) + request[8:]
                remote.sock.sendall(request)
                sent += len(request)
        except TimeoutError:
            pass
        assert sent < 64 << 20, "the client is held back"
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_a_storm_of_unlinks_answers_each_and_returns_none_twice() -> None:
    rng = random.Random(2)
    with serving(Serial()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        waiting = [remote.submit(urb.IN, 2, 64) for _ in range(1000)]
        targets = waiting[:]
        rng.shuffle(targets)
        out = [remote.submit(urb.OUT, 2, data=b"%d" % number) for number in range(100)]
        unlinks = {remote.unlink(target): target for target in targets}
        returned: set[int] = set()
        cancelled: set[int] = set()
        for _ in range(len(out) + len(waiting) + len(unlinks)):
            answer = remote.receive()
            if isinstance(answer, urb.Return):
                assert answer.seqnum not in returned | cancelled
                returned.add(answer.seqnum)
            else:
                seqnum, status = answer
                if status == urb.ECONNRESET:
                    assert unlinks[seqnum] not in returned
                    cancelled.add(unlinks[seqnum])
                else:
                    assert unlinks[seqnum] in returned
            if len(returned) + len(cancelled) == len(out) + len(waiting) and not remote.unlinks:
                break
        assert returned | cancelled == set(out) | set(waiting)
        assert set(out) <= returned
        assert not remote.unlinks


def test_unlinks_overtake_transfers_that_wait_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_IN_FLIGHT", 1 << 20)
    with serving(Serial()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        large = [remote.submit(urb.IN, 2, 1 << 19) for _ in range(8)]
        for target in reversed(large):
            unlink = remote.unlink(target)
            assert remote.receive() == (unlink, urb.ECONNRESET)
        remote.out(2, b"free")
        assert remote.take(2, 1 << 19).data == b"free"


def test_transfers_beyond_the_memory_limit_wait_instead_of_failing(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MAX_IN_FLIGHT", 1 << 18)
    with serving(Serial()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        numbers = [remote.submit(urb.OUT, 2, data=bytes([n]) * (1 << 17)) for n in range(20)]
        assert [remote.wait(number).actual for number in numbers] == [1 << 17] * 20
        reads = [remote.submit(urb.IN, 2, 1 << 17) for _ in range(20)]
        assert [remote.wait(number).data[0] for number in reads] == list(range(20))


# What a server may send


def test_an_honest_answer_passes_as_it_is(between: Between) -> None:
    submit = between.submit(direction=1, endpoint=1, length=100)
    data = urb.pack_return(submit.seqnum, 0, 4) + b"data"
    assert between.answer(data) == data


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(urb.pack_return(1, 0, 101) + bytes(101), id="CVE-2016-3955 more than was asked for"),
        pytest.param(urb.pack_return(1, 0, -1), id="CVE-2016-3955 negative length"),
        pytest.param(urb.pack_return(1, 0, 0x7FFFFFFF), id="CVE-2016-3955 two gigabytes"),
        pytest.param(urb.pack_return(2, 0, 0), id="a transfer that was not submitted"),
        pytest.param(urb.pack_return(1, 1, 0), id="a positive status"),
        pytest.param(urb.pack_return(1, -4096, 0), id="a status that is no errno"),
        pytest.param(urb.pack_unlinked(1, -104), id="an unlink that was not asked for"),
        pytest.param(header(), id="a submission"),
        pytest.param(bytes(48), id="zeros"),
    ],
)
def test_a_lying_server_is_cut_off_before_the_kernel_sees_it(between: Between, answer: bytes) -> None:
    between.submit(direction=1, endpoint=1, length=100)
    assert between.answer(answer) == b""
    assert between.over == [1]


def test_a_transfer_returned_twice_is_cut_off(between: Between) -> None:
    submit = between.submit(direction=1, endpoint=1, length=100)
    data = urb.pack_return(submit.seqnum, 0, 0)
    assert between.answer(data) == data
    assert between.answer(data) == b""
    assert between.over == [1]


def test_cve_2026_31607_the_number_of_packets_is_what_was_submitted(between: Between) -> None:
    """On a transfer that is not isochronous a server's number of packets is of use to an attacker only."""
    submit = between.submit(direction=1, endpoint=1, length=100)
    passed = between.answer(urb.pack_return(submit.seqnum, 0, 0, packets=1024, errors=7))
    assert passed == urb.pack_return(submit.seqnum, 0, 0)


AUDIO = Microphone().config_descriptor


@pytest.mark.parametrize(
    ("packets", "results", "actual"),
    [
        pytest.param(3, [(0, 96, 96, 0)] * 3, 288, id="CVE-2026-31607 more packets"),
        pytest.param(1, [(0, 96, 96, 0)], 96, id="CVE-2026-31607 fewer packets"),
        pytest.param(-1, [], 0, id="CVE-2026-31607 negative packets"),
        pytest.param(0x7FFFFFFF, [], 0, id="CVE-2026-31607 two thousand million packets"),
        pytest.param(2, [(0, 96, 96, 0), (96, 96, 97, 0)], 193, id="a packet longer than its place"),
        pytest.param(2, [(0, 96, 96, 0), (50, 96, 96, 0)], 192, id="a packet moved"),
        pytest.param(2, [(0, 96, 96, 0), (96, 96, 96, 0)], 100, id="lengths that do not add up"),
    ],
)
def test_lies_about_iso_packets_are_cut_off(
    between: Between, packets: int, results: list[urb.IsoPacket], actual: int
) -> None:
    between.configure(AUDIO)
    submit = between.submit(direction=1, endpoint=1, length=192, iso=[(0, 96), (96, 96)])
    lie = urb.pack_return(submit.seqnum, 0, actual, packets=packets) + bytes(actual) + urb.pack_iso_results(results)
    assert between.answer(lie) == b""
    assert between.over == [1]


def test_honest_iso_packets_pass(between: Between) -> None:
    between.configure(AUDIO)
    submit = between.submit(direction=1, endpoint=1, length=192, iso=[(0, 96), (96, 96)])
    results = [(0, 96, 96, 0), (96, 96, 10, 0)]
    data = urb.pack_return(submit.seqnum, 0, 106, packets=2) + bytes(106) + urb.pack_iso_results(results)
    assert between.answer(data) == data


def test_the_relay_ends_when_either_side_does(between: Between) -> None:
    between.server.shutdown(socket.SHUT_RDWR)
    run_until(between.loop, lambda: between.over)
    assert between.kernel.recv(1) == b""


def test_through_the_relay_a_whole_device_works(loop: Loop) -> None:
    """A client in user space in the kernel's place, a virtual device as the server."""
    serial = Serial()
    server, server_end = socket.socketpair()
    kernel, kernel_end = socket.socketpair()
    UserSession(loop, server_end, serial, lambda: None)
    Relay(loop, server, kernel_end, lambda: None)
    with running(loop):
        remote = Remote.__new__(Remote)
        remote.sock, remote.seqnum, remote.sent, remote.unlinks = kernel, 0, {}, set()
        remote.device = type("D", (), {"devid": 1})()
        kernel.settimeout(PATIENCE)
        assert len(remote.descriptor(2)) > 9
        remote.configure()
        for size in (1, 1000, 300000):
            remote.out(2, bytes(size))
            assert remote.take(2, 300000).data == bytes(size)
        waiting = remote.submit(urb.IN, 2, 10)
        unlink = remote.unlink(waiting)
        assert remote.receive() == (unlink, urb.ECONNRESET)
        kernel.close()
        time.sleep(0.1)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 << 20))
    return path
