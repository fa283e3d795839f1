# SPDX-License-Identifier: BSD-2-Clause
"""Virtual devices, attached by a client in user space over real sockets."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.errors import HostError
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import urb
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.audio import FRAME, FRAME_BYTES, SAMPLES, Microphone
from router.usbip.virtual.device import utf16
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.engine import VirtualEngine, make_device
from router.usbip.virtual.keyboard import KEYS, Keyboard
from router.usbip.virtual.serial import Serial
from tests.usbip.remote import Bot, Remote, running

Attach = Callable[..., Remote]


@pytest.fixture
def engine(loop: Loop) -> Iterator[VirtualEngine]:
    engine = VirtualEngine(loop)
    yield engine
    engine.close()


@pytest.fixture
def attach(loop: Loop, engine: VirtualEngine) -> Iterator[Attach]:
    """Plugs a virtual device in, serves it, and attaches it."""
    server = Server(loop, [engine], parse_policy("allow 127.0.0.1 all"))
    port = server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1]
    remotes: list[Remote] = []
    with running(loop):

        def start(virtual: object) -> Remote:
            device = engine.plug(virtual)  # type: ignore[arg-type]
            loop.call_soon(server.rescan)
            while device.busid not in server.exports:
                pass
            remotes.append(Remote(Address("tcp", "127.0.0.1", port), device.busid))
            return remotes[-1]

        yield start
        for remote in remotes:
            remote.sock.close()
    server.close(release=True)


@pytest.fixture
def disk_file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(range(256)) * 8192)
    return path


def test_descriptors_and_strings_are_given_in_the_length_that_is_asked_for(attach: Attach) -> None:
    remote = attach(Keyboard())
    assert remote.descriptor(1, length=8) == remote.descriptor(1)[:8]
    whole = remote.descriptor(2)
    assert (len(whole), struct.unpack_from("<H", whole, 2)) == (34, (34,))
    assert remote.descriptor(3, 0) == bytes([4, 3, 9, 4])
    assert remote.descriptor(3, 2)[2:].decode("utf-16-le") == "Virtual keyboard"
    assert remote.control(0x80, 6, 0x0F00, 0, 5).status == urb.EPIPE, "there is no such descriptor"
    assert remote.device.interfaces == ()


def test_strings_beyond_ascii_are_utf_16() -> None:
    assert utf16("Tästé €😀") == "Tästé €😀".encode("utf-16-le")


def test_the_keyboard_types_its_text_once_it_is_configured(attach: Attach) -> None:
    remote = attach(Keyboard("Hi!\n"))
    first = remote.submit(urb.IN, 1, 8)
    setup = struct.pack("<BBHHH", 0, 9, 1, 0, 0)
    configure = remote.submit(urb.OUT, 0, setup=setup)
    answers = [remote.take_any(), remote.take_any()]
    assert {answer.seqnum for answer in answers} == {first, configure}
    reports = [next(answer.data for answer in answers if answer.seqnum == first)]
    reports += [remote.take(1, 8).data for _ in range(7)]
    pressed = [(report[0], report[2]) for report in reports[::2]]
    assert pressed == [KEYS[character] for character in "Hi!\n"]
    assert all(report == bytes(8) for report in reports[1::2])


def test_an_answer_comes_after_the_request_that_it_answers_is_completed(attach: Attach, disk_file: Path) -> None:
    keyboard = attach(Keyboard("x"))
    report = keyboard.submit(urb.IN, 1, 8)
    configure = keyboard.submit(urb.OUT, 0, setup=struct.pack("<BBHHH", 0, 9, 1, 0, 0))
    assert [keyboard.take_any().seqnum for _ in range(2)] == [configure, report]
    serial = attach(Serial())
    serial.configure()
    echo = serial.submit(urb.IN, 2, 512)
    request = serial.submit(urb.OUT, 2, data=b"ab")
    assert [serial.take_any().seqnum for _ in range(2)] == [request, echo]
    disk = attach(Disk(str(disk_file)))
    disk.configure()
    data = disk.submit(urb.IN, 1, 512)
    inquiry = struct.pack("<IIIBBB16s", 0x43425355, 1, 36, 0x80, 0, 6, bytes([0x12, 0, 0, 0, 36]))
    command = disk.submit(urb.OUT, 2, data=inquiry)
    assert [disk.take_any().seqnum for _ in range(2)] == [command, data]


def test_an_endpoint_that_a_request_halts_says_so_after_the_request(attach: Attach) -> None:
    serial = attach(Serial())
    serial.configure()
    waiting = serial.submit(urb.IN, 2, 512)
    halt = serial.submit(urb.OUT, 0, setup=struct.pack("<BBHHH", 2, 3, 0, 0x82, 0))
    answers = [serial.take_any(), serial.take_any()]
    assert [(answer.seqnum, answer.status) for answer in answers] == [(halt, 0), (waiting, urb.EPIPE)]


def test_a_key_that_is_not_there_is_an_error() -> None:
    with pytest.raises(HostError, match="no key for 'ß'"):
        make_device("keyboard:Straße")
    with pytest.raises(HostError, match="there is no virtual device 'toaster'"):
        make_device("toaster")


def test_the_serial_line_returns_what_is_written(attach: Attach) -> None:
    remote = attach(Serial())
    remote.configure()
    assert remote.control(0xA1, 0x21, 0, 0, 7).data == bytes([0x80, 0x25, 0, 0, 0, 0, 8])
    assert remote.control(0x21, 0x20, 0, 0, data=bytes([0, 0xC2, 1, 0, 0, 0, 8])).actual == 7
    assert remote.control(0xA1, 0x21, 0, 0, 7).data == bytes([0, 0xC2, 1, 0, 0, 0, 8])
    assert remote.out(2, b"hello").actual == 5
    assert remote.take(2, 512).data == b"hello"
    assert remote.out(2, b"0123456789").actual == 10
    assert [remote.take(2, 4).data for _ in range(3)] == [b"0123", b"4567", b"89"]


def test_the_microphones_packets_add_up_and_come_at_their_time(attach: Attach) -> None:
    remote = attach(Microphone())
    remote.configure()
    remote.control(1, 11, 1, 1)
    packets = [(n * FRAME_BYTES, FRAME_BYTES) for n in range(10)]
    began = time.monotonic()
    for _ in range(5):
        remote.submit(urb.IN, 1, 10 * FRAME_BYTES, iso=packets)
    for _ in range(5):
        answer = remote.receive()
        assert isinstance(answer, urb.Return)
        assert answer.data == SAMPLES * 10
        assert [packet[2:] for packet in answer.iso or ()] == [(FRAME_BYTES, 0)] * 10
    assert time.monotonic() - began >= 50 * FRAME


def test_short_iso_packets_come_packed_without_gaps(attach: Attach) -> None:
    remote = attach(Microphone())
    remote.configure()
    answer = remote.wait(remote.submit(urb.IN, 1, 400, iso=[(0, 10), (100, 200), (300, 6)]))
    assert answer.data == SAMPLES[:10] + SAMPLES + SAMPLES[:6]
    assert answer.iso == [(0, 10, 10, 0), (100, 200, FRAME_BYTES, 0), (300, 6, 6, 0)]


def test_the_disk_tells_its_size_and_name(attach: Attach, disk_file: Path) -> None:
    bot = Bot(attach(Disk(str(disk_file))))
    assert bot.command(bytes([0x12, 0, 0, 0, 36, 0]), 36)[2][8:32] == b"router  Virtual disk    "
    assert bot.command(bytes([0x25] + [0] * 9), 8)[2] == struct.pack(">II", 4095, 512)
    capacity = bytes([0x9E, 0x10]) + bytes(11) + bytes([32, 0, 0])
    assert bot.command(capacity, 32)[2][:12] == struct.pack(">QI", 4095, 512)
    status, residue, pages = bot.command(bytes([0x12, 1, 0, 0, 255, 0]), 255)
    assert (status, residue, pages) == (0, 255 - 7, bytes([0, 0, 0, 3, 0, 0x80, 0x83]))


def test_the_disk_reads_what_the_file_holds(attach: Attach, disk_file: Path) -> None:
    bot = Bot(attach(Disk(str(disk_file))))
    read = struct.pack(">BBIBHB", 0x28, 0, 3, 0, 2048, 0)
    assert bot.command(read, 2048 * 512) == (0, 0, disk_file.read_bytes()[3 * 512 :][: 2048 * 512])


def test_the_disk_writes_to_the_file_in_whatever_pieces_it_comes(attach: Attach, disk_file: Path) -> None:
    remote = attach(Disk(str(disk_file)))
    bot = Bot(remote)
    write = struct.pack(">BBIBHB", 0x2A, 0, 7, 0, 4, 0)
    assert bot.command(write, data=b"a" * 2048)[0] == 0
    cbw = struct.pack("<4sIIBBB16s", b"USBC", 77, 2048, 0, 0, 10, struct.pack(">BBIBHB", 0x2A, 0, 20, 0, 4, 0))
    remote.out(2, cbw)
    for part in (b"b" * 512, b"c" * 1024, b"d" * 512):
        remote.out(2, part)
    assert remote.take(1, 13).data == struct.pack("<4sIIB", b"USBS", 77, 0, 0)
    content = disk_file.read_bytes()
    assert content[7 * 512 : 11 * 512] == b"a" * 2048
    assert content[20 * 512 : 24 * 512] == b"b" * 512 + b"c" * 1024 + b"d" * 512


@pytest.mark.parametrize(
    ("cdb", "length", "sense"),
    [
        (bytes([0xC0] + [0] * 9), 0, (5, 0x20, 0)),
        (struct.pack(">BBIBHB", 0x28, 0, 4095, 0, 2, 0), 1024, (5, 0x21, 0)),
        (struct.pack(">BBQIBB", 0x88, 0, 1 << 63, 1, 0, 0), 512, (5, 0x21, 0)),
        (bytes([0x12, 1, 0x99, 0, 255, 0]), 255, (5, 0x24, 0)),
    ],
)
def test_a_command_that_cannot_be_done_fails_with_its_sense(
    attach: Attach, disk_file: Path, cdb: bytes, length: int, sense: tuple[int, int, int]
) -> None:
    bot = Bot(attach(Disk(str(disk_file))))
    assert bot.command(cdb, length) == (1, length, b"")
    assert bot.sense() == sense
    assert bot.sense() == (0, 0, 0)


def test_a_write_protected_disk_takes_no_byte(attach: Attach, disk_file: Path) -> None:
    before = disk_file.read_bytes()
    bot = Bot(attach(Disk(str(disk_file), read_only=True)))
    assert bot.command(struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 1, 0), data=b"x" * 512)[0] == 1
    assert bot.sense() == (7, 0x27, 0)
    assert disk_file.read_bytes() == before


def test_a_wrong_command_block_halts_the_endpoint_until_it_is_cleared(attach: Attach, disk_file: Path) -> None:
    remote = attach(Disk(str(disk_file)))
    bot = Bot(remote)
    assert remote.out(2, b"nonsense").status == urb.EPIPE
    assert remote.out(2, b"nonsense").status == urb.EPIPE
    assert remote.control(0x82, 0, 0, 2, 2).data == b"\1\0"
    assert remote.control(2, 1, 0, 2).status == 0
    assert bot.command(bytes(6))[0] == 0


def test_an_unlinked_transfer_is_answered_by_the_unlink_alone(attach: Attach) -> None:
    remote = attach(Serial())
    remote.configure()
    waiting = remote.submit(urb.IN, 2, 512)
    unlink = remote.unlink(waiting)
    assert remote.receive() == (unlink, urb.ECONNRESET)
    remote.out(2, b"x")
    assert remote.take(2, 512).data == b"x", "the next transfer gets what the unlinked one did not"


def test_an_unlink_that_comes_too_late_is_answered_after_the_return(attach: Attach) -> None:
    remote = attach(Serial())
    remote.configure()
    remote.out(2, b"x")
    waiting = remote.submit(urb.IN, 2, 512)
    unlink = remote.unlink(waiting)
    first = remote.receive()
    assert isinstance(first, urb.Return) and first.data == b"x"
    assert remote.receive() == (unlink, urb.EOK)


def test_two_unlinks_of_one_transfer_are_both_answered(attach: Attach) -> None:
    remote = attach(Serial())
    remote.configure()
    waiting = remote.submit(urb.IN, 2, 512)
    first, second = remote.unlink(waiting), remote.unlink(waiting)
    assert [remote.receive(), remote.receive()] == [(first, urb.ECONNRESET), (second, urb.EOK)]


def test_after_a_short_answer_the_rest_of_a_request_gets_nothing(attach: Attach, disk_file: Path) -> None:
    """A host that asks for a transfer in pieces takes the rest back after a short one; the status is not for them."""
    remote = attach(Disk(str(disk_file)))
    remote.configure()
    cbw = struct.pack("<4sIIBBB16s", b"USBC", 5, 96, 0x80, 0, 6, bytes([0x12, 0, 0, 0, 36, 0]))
    pieces = [remote.submit(urb.IN, 1, 48, flags=urb.SHORT_NOT_OK) for _ in range(2)]
    remote.submit(urb.OUT, 2, data=cbw)
    answers = [remote.take_any(), remote.take_any()]
    short = next(answer for answer in answers if answer.seqnum == pieces[0])
    assert (short.status, len(short.data)) == (urb.EREMOTEIO, 36)
    unlink = remote.unlink(pieces[1])
    assert remote.receive() == (unlink, urb.ECONNRESET)
    assert remote.take(1, 13).data[:4] == b"USBS"
