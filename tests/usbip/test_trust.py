# SPDX-License-Identifier: BSD-2-Clause
"""A client, a server or a device that means harm ends its own session at most, and costs bounded memory."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from router.usbip.engines import session as session_module
from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake, urb
from router.usbip.protocol.descriptors import GET_INTERFACE, SET_INTERFACE
from router.usbip.runtime import event_loop
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.device import MAX_UNFETCHED, VirtualDevice
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.usbip.fakes import FakeKernel, run_until
from tests.usbip.remote import Remote, closed, running
from tests.usbip.world import serving


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# One session's end is not the others'


@pytest.mark.parametrize("kind", [Serial, Keyboard, Microphone])
def test_an_alternate_setting_that_does_not_exist_stalls(kind: Callable[[], VirtualDevice]) -> None:
    with serving(kind()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        assert remote.control(1, SET_INTERFACE, 300, 0).status == urb.EPIPE
        assert remote.control(1, SET_INTERFACE, 0, 7).status == urb.EPIPE
        assert remote.control(0x81, GET_INTERFACE, 0, 0, 1).data == b"\0"
        assert remote.control(0x81, GET_INTERFACE, 0, 7, 1).status == urb.EPIPE


def test_a_transfer_to_an_endpoint_that_does_not_exist_stalls() -> None:
    with serving(Serial()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        assert remote.out(9, b"x").status == urb.EPIPE
        assert remote.take(9, 10).status == urb.EPIPE


class Broken(Serial):
    """A device whose code has a bug that a client can reach: it raises what is not expected."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error
        self.in_stop = False

    def receive(self, address: int, data: object) -> None:
        raise self.error("out of range")

    def stopped(self) -> None:
        if self.in_stop:
            raise self.error("at the end too")


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError, RecursionError, AssertionError, struct.error])
@pytest.mark.parametrize("in_stop", [False, True])
def test_an_exception_ends_the_session_that_caused_it_and_no_other(
    error: type[Exception], in_stop: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Broken(error)
    broken.in_stop = in_stop
    with serving(broken, Serial()) as world, Remote(world.address, "90-2") as other:
        other.configure()
        with Remote(world.address, "90-1") as remote:
            remote.configure()
            remote.submit(urb.OUT, 2, data=b"boom")
            assert closed(remote.sock)
        other.out(2, b"still here")
        assert other.take(2, 20).data == b"still here"
        with Remote(world.address, "90-1") as again:
            again.configure()
    assert f"a client's connection ends: {error.__name__}" in capsys.readouterr().err


def test_an_exception_in_a_devices_timer_ends_its_session_only(monkeypatch: pytest.MonkeyPatch) -> None:
    microphone = Microphone()

    def broken(submit: object, session: object) -> None:
        raise IndexError

    monkeypatch.setattr(microphone, "_play", broken)
    with serving(microphone, Serial()) as world, Remote(world.address, "90-2") as other:
        other.configure()
        with Remote(world.address, "90-1") as remote:
            remote.configure()
            remote.submit(urb.IN, 1, 96, iso=[(0, 96)])
            assert closed(remote.sock)
        assert other.out(2, b"x").status == 0


def test_an_exception_in_the_handshake_ends_that_connection_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Serial()) as world:
        monkeypatch.setattr(world.server, "devices_for", lambda client: 1 // 0)
        with socket.create_connection((world.address.host, world.address.port)) as sock:
            sock.sendall(handshake.pack_devlist_request())
            assert closed(sock)
        with Remote(world.address, "90-1") as remote:
            remote.configure()
    assert "127.0.0.1: ZeroDivisionError" in capsys.readouterr().err


def fail() -> None:
    raise ZeroDivisionError


def test_a_callback_without_an_owner_still_shows_its_exception(loop: Loop) -> None:
    loop.call_soon(fail)
    with pytest.raises(ZeroDivisionError):
        loop.run_once(0)


def test_an_exception_goes_to_the_owner_of_its_callback(loop: Loop) -> None:
    caught: list[Exception] = []
    mine, theirs = socket.socketpair()
    loop.watch(mine.fileno(), event_loop.IN, lambda _: fail(), caught.append)
    theirs.send(b"x")
    loop.call_soon(lambda: [].pop(), caught.append)
    run_until(loop, lambda: len(caught) >= 2)
    assert {type(error) for error in caught} == {ZeroDivisionError, IndexError}
    loop.forget(mine.fileno())
    mine.close()
    theirs.close()


# Sums, queues and buffers have limits


def test_overlapping_iso_packets_are_summed_and_refused() -> None:
    before = peak_kib()
    with serving(Microphone()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        remote.submit(urb.IN, 1, urb.MAX_TRANSFER, iso=[(0, urb.MAX_TRANSFER)] * 40)
        assert closed(remote.sock)
    assert peak_kib() - before < 32 << 10


def test_iso_packets_count_for_what_is_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_IN_FLIGHT", 1 << 18)
    with serving(Microphone()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        for _ in range(8):
            remote.submit(urb.IN, 1, 1024, iso=[(n, 1) for n in range(1024)])
        assert [remote.receive() is not None for _ in range(8)] == [True] * 8
        assert world.server.exports["90-1"].session is not None


def test_what_a_serial_line_holds_is_bounded_and_flows_on_when_it_is_read() -> None:
    serial = Serial()
    with serving(serial) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        part = 1 << 19
        sent = [remote.submit(urb.OUT, 2, data=bytes([n]) * part) for n in range(16)]
        done = 0
        while done * part < MAX_UNFETCHED:
            assert remote.wait(sent[done]).status == 0
            done += 1
        run_held = serial._unfetched
        assert run_held <= MAX_UNFETCHED + 2 * part and len(sent) > done
        for n in range(16):
            reading = remote.submit(urb.IN, 2, part)
            while True:
                answer = remote.receive()
                assert isinstance(answer, urb.Return)
                if answer.seqnum == reading:
                    assert answer.data == bytes([n]) * part
                    break
                assert answer.seqnum == sent[done]
                done += 1


def test_disk_answers_that_are_not_fetched_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(8 << 20))
    read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, (8 << 20) // 512 - 1, 0)
    before = peak_kib()
    with serving(Disk(str(path))) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        for tag in range(64):
            command = struct.pack("<4sIIBBB16s", b"USBC", tag, 8 << 20, 0x80, 0, 10, read)
            remote.submit(urb.OUT, 2, data=command)
        assert remote.wait(2).status == 0
        unlink = remote.unlink(60)
        assert remote.receive() == (unlink, urb.ECONNRESET), "the others wait, and can be taken back"
    assert peak_kib() - before < 64 << 10


def test_a_keyboard_with_much_to_type_serves_many_waiting_requests() -> None:
    """One answer used to be sent from within the last: a thousand of them were too deep."""
    with serving(Keyboard("a" * 2000)) as world, Remote(world.address, "90-1") as remote:
        waiting = [remote.submit(urb.IN, 1, 8) for _ in range(3000)]
        configure = remote.submit(urb.OUT, 0, setup=struct.pack("<BBHHH", 0, 9, 1, 0, 0))
        answers = [remote.receive() for _ in range(3001)]
        assert {answer.seqnum for answer in answers if isinstance(answer, urb.Return)} == {*waiting, configure}


def test_transfers_taken_back_leave_no_timers() -> None:
    microphone = Microphone()
    with serving(microphone) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        for _ in range(2000):
            transfer = remote.submit(urb.IN, 1, 1024, iso=[(n, 1) for n in range(1024)])
            unlink = remote.unlink(transfer)
            assert remote.receive() == (unlink, urb.ECONNRESET)
        assert world.loop.timers() < 2 * event_loop.MAX_CANCELLED + 50
        assert not microphone._timers


def test_cancelled_timers_leave_the_heap(loop: Loop) -> None:
    kept = loop.call_later(1000, lambda: None)
    for _ in range(10_000):
        loop.call_later(500, lambda: None).cancel()
    assert loop.timers() <= 2 * event_loop.MAX_CANCELLED + 2
    kept.cancel()
    kept.cancel()
    fired: list[int] = []
    timer = loop.call_later(0, lambda: fired.append(1))
    run_until(loop, lambda: fired)
    timer.cancel()
    loop.run_once(0)


# A device that is swapped in its port


def test_a_device_swapped_in_a_granted_port_is_judged_before_it_is_handed_out(
    loop: Loop, host: FakeKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1", vid=0x46F4, devnum=2)
    server = Server(loop, [KernelEngine(loop, host)], parse_policy("allow any device 46f4:0001"))
    address = Address("tcp", "127.0.0.1", server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1])
    server.rescan()
    host.unplug("1-1")
    host.plug("1-1", vid=0x0BAD, devnum=3)
    # usbip-host still has the port in its table and takes what comes, before any message reached the daemon.
    host._drive("1-1", "usbip-host")
    with running(loop), socket.create_connection((address.host, address.port)) as sock:
        sock.sendall(handshake.pack_import_request("1-1"))
        assert handshake.unpack_common(sock.recv(400)) == (handshake.VERSION, handshake.OP_IMPORT, handshake.ST_NODEV)
    assert "1-1" not in host.sockets
    run_until(loop, lambda: "1-1" not in server.exports)
    assert "1-1 is another device now" in capsys.readouterr().err
    server.close()


def test_a_keyboard_that_comes_back_as_a_disk_is_judged_again(loop: Loop, host: FakeKernel) -> None:
    host.plug("1-1", interfaces=[(3, 1, 1)], devnum=2)
    server = Server(loop, [KernelEngine(loop, host)], parse_policy("allow any path 1-1 only hid"))
    server.rescan()
    assert server.exports["1-1"].device.all_interfaces == ((3, 1, 1),)
    host.unplug("1-1")
    host.plug("1-1", interfaces=[(3, 1, 1), (8, 6, 0x50)], devnum=3)
    server.rescan()
    assert not server.exports and not server.devices_for("127.0.0.1")
    server.close()
