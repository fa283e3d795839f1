# SPDX-License-Identifier: BSD-2-Clause
"""A client, a server or a device that means harm ends its own session at most, and costs bounded memory."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from router.errors import HostError, MachineError
from router.usbip.client import exchange
from router.usbip.client import keep_attached as client_module
from router.usbip.client.keep_attached import KeepAttached
from router.usbip.client.vhci import Vhci
from router.usbip.commands.list import local_lines, remote_lines
from router.usbip.engines import session as session_module
from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake, urb
from router.usbip.protocol.descriptors import GET_INTERFACE, SET_INTERFACE, parse_alternates
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.log import MAX_BURST, budget, log, milestone
from router.usbip.runtime.net import Address
from router.usbip.runtime.text import printable
from router.usbip.server.control import ask, describe, status_text
from router.usbip.server.server import Server
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.device import MAX_UNFETCHED, VirtualDevice
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.support.patience import PATIENCE
from tests.usbip.fakes import FakeKernel, run_for, run_until
from tests.usbip.remote import Remote, closed, running
from tests.usbip.world import Between, World, header, serving


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


# A server that is not trusted


def test_a_server_with_a_thousand_grants_does_not_end_the_keeper(
    loop: Loop, guest: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each grant has a connection attempt, and there are fewer descriptors than that."""
    monkeypatch.setattr(client_module, "MIN_DELAY_S", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepted: list[socket.socket] = []

        def accept(_: int) -> None:
            accepted.append(listener.accept()[0])
            accepted[-1].setblocking(False)

        loop.watch(listener.fileno(), event_loop.IN, accept)
        keeper = KeepAttached(loop, Address("tcp", *listener.getsockname()), Vhci(guest, str(tmp_path)))
        keeper.start()
        run_until(loop, lambda: accepted)
        grants = [
            (Device(f"1-{n}", 3, 1, n + 1, 1, 1), 0, handshake.WATCH_AVAILABLE) for n in range(1, handshake.MAX_DEVICES)
        ]
        data = handshake.pack_watch_reply() + handshake.pack_watch_list(grants)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 24, hard))
        try:
            while data:
                with contextlib.suppress(BlockingIOError):
                    data = data[accepted[0].send(data) :]
                loop.run_once(0.01)
            run_until(loop, lambda: len(keeper.grants) == len(grants))
            run_for(loop, 0.3)
            assert 0 < len(keeper._trying) <= client_module.MAX_IMPORTS
            for sock in accepted[1:]:
                sock.close()
            del accepted[1:]
            run_for(loop, 0.2)
            assert 0 < len(keeper._trying) <= client_module.MAX_IMPORTS, "those that failed made room for others"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        keeper.close()
        loop.forget(listener.fileno())
        for sock in accepted:
            sock.close()


def test_the_keeper_forgets_devices_that_a_server_no_longer_names(
    loop: Loop, guest: FakeKernel, tmp_path: Path
) -> None:
    keeper = KeepAttached(loop, Address("tcp", "127.0.0.1", 1), Vhci(guest, str(tmp_path)), only=set())
    for turn in range(50):
        keeper._heard([(Device(f"1-{turn + 1}", 3, 1, 2, 1, 1), 0, handshake.WATCH_AVAILABLE)])
        keeper._again(f"1-{turn + 1}", "refused")
    keeper._heard([])
    assert not keeper._complained and not keeper._backoffs and not keeper._waiting
    keeper.close()


def interface(number: int, alternate: int, endpoints: int) -> bytes:
    return bytes([9, 4, number, alternate, endpoints, 0xFF, 0, 0, 0])


def endpoint(address: int, kind: int) -> bytes:
    return bytes([7, 5, address, kind, 64, 0, 1])


def configuration(*parts: bytes, total: int | None = None) -> bytes:
    body = b"".join(parts)
    size = 9 + len(body) if total is None else total
    return bytes([9, 2]) + size.to_bytes(2, "little") + bytes([2, 1, 0, 0xC0, 50]) + body


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        pytest.param(
            [interface(0, 0, 2), endpoint(0x81, 2), endpoint(0x81, 1)],
            {(0, 0): {0x81: 2}},
            id="the first endpoint counts",
        ),
        pytest.param(
            [interface(0, 0, 1), endpoint(0x81, 2), endpoint(0x82, 1)], {(0, 0): {0x81: 2}}, id="bNumEndpoints counts"
        ),
        pytest.param(
            [interface(0, 0, 1), endpoint(0x81, 2), interface(0, 0, 1), endpoint(0x82, 1)],
            {(0, 0): {0x81: 2}},
            id="the first of a setting's descriptors counts, without the other's endpoints",
        ),
        pytest.param(
            [interface(0, 0, 1), endpoint(0x81, 2), interface(1, 0, 1), endpoint(0x81, 1)],
            {(0, 0): {0x81: 2}, (1, 0): {}},
            id="an address that another interface has is left out",
        ),
        pytest.param(
            [interface(0, 0, 1), endpoint(0x81, 2), interface(0, 1, 1), endpoint(0x81, 1)],
            {(0, 0): {0x81: 2}, (0, 1): {0x81: 1}},
            id="another setting of the interface may have it",
        ),
        pytest.param(
            [interface(0, 0, 2), endpoint(0x81, 0), endpoint(0x01, 1)],
            {(0, 0): {0x81: 0}},
            id="a control endpoint takes both directions",
        ),
        pytest.param([interface(0, 0, 1), endpoint(0x80, 1)], {(0, 0): {}}, id="endpoint 0 is none"),
        pytest.param(
            [interface(0, 0, 1), bytes([9, 2, 9, 0, 1, 2, 0, 0xC0, 50]), endpoint(0x81, 1)],
            {(0, 0): {0x81: 1}},
            id="a configuration descriptor inside another is skipped",
        ),
        pytest.param(
            [interface(0, 0, 1), bytes([1, 5]), endpoint(0x81, 1)], {(0, 0): {}}, id="nothing follows a broken length"
        ),
    ],
)
def test_descriptors_are_read_as_linux_reads_them(
    parts: list[bytes], expected: dict[tuple[int, int], dict[int, int]]
) -> None:
    assert parse_alternates(configuration(*parts), 1) == expected


@pytest.fixture
def between(loop: Loop) -> Iterator[Between]:
    between = Between(loop)
    yield between
    between.close()


DUPLICATE = configuration(
    interface(0, 0, 0), interface(1, 0, 0), interface(1, 1, 2), endpoint(0x81, 1), endpoint(0x81, 2)
)


def test_a_second_descriptor_of_an_endpoint_does_not_change_the_framing(between: Between) -> None:
    between.configure(DUPLICATE)
    submit = between.submit(direction=1, endpoint=1, length=96, iso=[(0, 96)])
    data = urb.pack_return(submit.seqnum, 0, 96, packets=1) + bytes(96) + urb.pack_iso_results([(0, 96, 96, 0)])
    assert between.answer(data) == data


def test_a_setting_that_the_server_refused_is_not_chosen(between: Between) -> None:
    between.configure(DUPLICATE)
    submit = between.submit(direction=0, endpoint=0, length=0, setup=struct.pack("<BBHHH", 1, 11, 0, 1, 0))
    between.answer(urb.pack_return(submit.seqnum, urb.EPIPE, 0))
    submit = between.submit(direction=1, endpoint=1, length=96, iso=[(0, 96)])
    assert between.answer(urb.pack_return(submit.seqnum, urb.EIO, 0, packets=1) + urb.pack_iso_results([(0, 96, 0, 0)]))


def test_where_kernel_and_descriptors_disagree_the_relay_cuts(
    between: Between, capsys: pytest.CaptureFixture[str]
) -> None:
    between.kernel.sendall(header(endpoint=1, packets=1) + bytes(16))
    run_until(between.loop, lambda: between.over)
    assert "disagree" in capsys.readouterr().err


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


# Text from outside


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2028line\x9b31m\x7f\udcff\n$ "


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 12 µs ✓ 日本", "Größe 12 µs ✓ 日本"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
        ("\x7f\x80\x9b", "\\x7f\\x80\\x9b"),
        ("\u202e\u2066\u200f\u2028", "\\u202e\\u2066\\u200f\\u2028"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\\b", "a\\b"),
    ],
)
def test_text_from_outside_is_shown_in_one_line_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_no_list_shows_foreign_text_as_it_came() -> None:
    device = Device("1-1", 3, 1, 2, 0xFFF0, 1, manufacturer=HOSTILE, product=HOSTILE, path=HOSTILE, serial=HOSTILE)
    for line in (*local_lines([device], False), *remote_lines("10.0.0.1", [device])):
        assert line.isprintable()
        line.encode("utf-8")


def test_the_status_shows_no_foreign_text_as_it_came(loop: Loop) -> None:
    serial = Serial()
    serial.strings = ["", HOSTILE, HOSTILE, HOSTILE]
    world = World(loop, serial)
    text = status_text(describe(world.server))
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b]0;owned" in text and len(text.splitlines()) == 3
    world.close()


def test_the_log_shows_no_foreign_text_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    log(HOSTILE)
    milestone(HOSTILE)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert text.count("\n") == 1 and text[:-1].isprintable()


def test_a_flood_of_log_lines_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1000):
        log(f"line {number}")
    lines = capsys.readouterr().err.splitlines()
    assert MAX_BURST <= len(lines) < MAX_BURST + 50
    budget.lines = 1
    log("after it")
    (last,) = capsys.readouterr().err.splitlines()
    assert last == f"router-usbip: after it ({1000 - len(lines)} lines before this one are left out)"


def test_a_server_that_answers_byte_by_byte_does_not_hold_a_command_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WHOLE_ANSWER_TIMEOUT_S", 0.3)
    mine, theirs = socket.socketpair()
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.02):
            theirs.send(handshake.pack_common(handshake.OP_DEVLIST)[:1])

    thread = threading.Thread(target=dribble)
    thread.start()
    with mine, theirs:
        mine.settimeout(PATIENCE)
        steps = exchange.watch_steps(lambda grants: None)
        with pytest.raises(MachineError):
            exchange.run_steps(mine, b"", forever(steps))
        stop.set()
        thread.join()


def forever(steps: Generator[int, bytes, None]) -> Generator[int, bytes, None]:
    """An answer of which every part is right, and which has no end."""
    next(steps)
    while True:
        yield 1 << 20


def test_a_control_socket_that_falls_silent_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(HostError, match="the server does not answer"):
            ask(["status"], path, timeout=0.1)
