# SPDX-License-Identifier: BSD-2-Clause
"""A made device as QEMU meets it: it comes with its descriptors, transfers, stalls, is cancelled, leaves, changes."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest

from bench.usbredir import protocol, streams
from bench.usbredir.devices import camera, dfu, faults, fido, headset
from bench.usbredir.devices.mouse import Mouse
from bench.usbredir.devices.source_sink import PATTERN, SourceSink
from bench.usbredir.plug import Plug
from bench.usbredir.protocol import Bulk, Cap, Data, Kind, Status
from router.usbip.virtual import serial
from router.usbip.virtual.disk import BLOCK, CBW
from tests.support.patience import wait_until
from tests.usbredir.peer import ALL, IN, Peer, plugged

CLEAR_HALT = (2, 1, 0)


@pytest.mark.parametrize("caps", [ALL, frozenset({Cap.CONNECT_DEVICE_VERSION})])
def test_a_device_is_described_before_it_comes(caps: frozenset[Cap]) -> None:
    with plugged(Mouse(), caps) as (_, peer):
        kinds = [peer.next().kind for _ in range(3)]
        assert kinds == [Kind.EP_INFO, Kind.INTERFACE_INFO, Kind.DEVICE_CONNECT]
        descriptor = peer.control(IN, 6, 0x0100, 0, 18).data
        assert (descriptor[7], descriptor[8:12]) == (8, struct.pack("<HH", 0x1209, Mouse.pid))
        assert peer.configure() == bytes([Status.SUCCESS, 1])


def test_what_the_device_refuses_stalls() -> None:
    with plugged(SourceSink()) as (_, peer):
        assert peer.control(IN, 6, 0x0900, 0, 18).status == Status.STALL
        peer.send(Kind.SET_ALT_SETTING, bytes([0, 9]))
        assert peer.find(Kind.ALT_SETTING_STATUS).body == bytes([Status.STALL, 0, 0])


def test_a_high_speed_device_tells_what_it_would_be_at_the_other_speed() -> None:
    device = SourceSink()
    with plugged(device) as (_, peer):
        other = peer.control(IN, 6, 0x0700, 0, 1024).data
        assert (other[1], other[2:]) == (7, device.config_descriptor[2:])
    with plugged(Mouse()) as (_, peer):
        assert peer.control(IN, 6, 0x0700, 0, 1024).status == Status.STALL


def test_each_change_of_a_setting_is_described_before_it_is_confirmed() -> None:
    with plugged(SourceSink()) as (_, peer):
        peer.configure()
        peer.send(Kind.SET_ALT_SETTING, bytes([0, 1]))
        endpoints = peer.find(Kind.EP_INFO).body
        assert (endpoints[18], endpoints[2]) == (1, 1)
        assert peer.find(Kind.ALT_SETTING_STATUS).body == bytes([Status.SUCCESS, 0, 1])
        peer.send(Kind.GET_ALT_SETTING, bytes([0]))
        assert peer.find(Kind.ALT_SETTING_STATUS).body == bytes([Status.SUCCESS, 0, 1])


def test_bulk_transfers_longer_than_64_kib_arrive_whole() -> None:
    device = SourceSink()
    with plugged(device) as (_, peer):
        peer.configure()
        assert peer.bulk(0x01, PATTERN).length == len(PATTERN) == 65536
        answer = peer.bulk(0x81, length=65536)
        assert (answer.status, answer.data) == (Status.SUCCESS, PATTERN)
        assert device.wrong == 0
        peer.bulk(0x01, b"what the pattern is not")
        assert device.wrong == 1


def test_a_cancelled_transfer_is_answered_once() -> None:
    device = faults.OddDevice()
    with plugged(device) as (_, peer):
        peer.configure()
        peer.bulk(faults.ODD_OUT, bytes([faults.Answer.NEVER]))
        ident = peer.ask_bulk(faults.ODD_IN, length=512)
        peer.send(Kind.CANCEL_DATA_PACKET, ident=ident)
        answer = peer.find(Kind.BULK_PACKET)
        assert (answer.ident, Bulk.parse(answer, peer.caps).status) == (ident, Status.CANCELLED)
        peer.bulk(faults.ODD_OUT, bytes([faults.Answer.WHOLE]))
        assert peer.bulk(faults.ODD_IN, length=512).data == faults.odd_bytes(512)
        assert device.cancelled == 1


def test_odd_answers_are_what_they_are_called() -> None:
    with plugged(faults.OddDevice()) as (_, peer):
        peer.configure()
        found = []
        for kind in (faults.Answer.SHORT, faults.Answer.EMPTY, faults.Answer.LONG, faults.Answer.STALL):
            peer.bulk(faults.ODD_OUT, bytes([kind]))
            answer = peer.bulk(faults.ODD_IN, length=512)
            found.append((answer.status, len(answer.data)))
        assert found == [(Status.SUCCESS, 13), (Status.SUCCESS, 0), (Status.SUCCESS, 1024), (Status.STALL, 0)]
        assert peer.bulk(faults.ODD_IN, length=512).status == Status.STALL
        peer.control(*CLEAR_HALT, faults.ODD_IN, 0)
        peer.bulk(faults.ODD_OUT, bytes([faults.Answer.WHOLE]))
        assert peer.bulk(faults.ODD_IN, length=512).status == Status.SUCCESS


def test_a_mouse_reports_while_it_is_read_and_then_stops() -> None:
    mouse = Mouse()
    with plugged(mouse) as (plug, peer):
        peer.configure()
        peer.send(Kind.START_INTERRUPT_RECEIVING, bytes([0x81]))
        assert peer.find(Kind.INTERRUPT_RECEIVING_STATUS).body == bytes([Status.SUCCESS, 0x81])
        packets = [peer.find(Kind.INTERRUPT_PACKET) for _ in range(5)]
        assert [packet.ident for packet in packets] == list(range(5))
        assert [Data.parse(packet).data for packet in packets] == [bytes([0, n, 0]) for n in range(1, 6)]
        peer.send(Kind.STOP_INTERRUPT_RECEIVING, bytes([0x81]))
        peer.find(Kind.INTERRUPT_RECEIVING_STATUS)
        sent = mouse.moves
        assert not wait_until(lambda: mouse.moves > sent + 1, seconds=0.1)
        assert plug.trouble == []


def start(peer: Peer, endpoint: int) -> bytes:
    peer.send(Kind.START_ISO_STREAM, bytes([endpoint, 32, 3]))
    return peer.find(Kind.ISO_STREAM_STATUS).body


def test_a_camera_sends_frames_that_it_records() -> None:
    device = camera.Camera()
    with plugged(device) as (_, peer):
        peer.configure()
        peer.send(Kind.SET_ALT_SETTING, bytes([1, 1]))
        assert start(peer, camera.VIDEO_IN) == bytes([Status.SUCCESS, camera.VIDEO_IN])
        packets = [peer.data(Kind.ISO_PACKET).data for _ in range(2 * camera.PACKETS_A_FRAME)]
        peer.send(Kind.STOP_ISO_STREAM, bytes([camera.VIDEO_IN]))
        peer.find(Kind.ISO_STREAM_STATUS)
        frames = [
            b"".join(packet[camera.HEAD :] for packet in packets[at : at + camera.PACKETS_A_FRAME])
            for at in (0, camera.PACKETS_A_FRAME)
        ]
        assert frames == [camera.picture(0), camera.picture(1)]
        assert all(packet[1] & 1 == 0 for packet in packets[:38])
        assert [at for at, packet in enumerate(packets) if packet and packet[1] & camera.END_OF_FRAME] == [37, 137]
        assert start(peer, camera.VIDEO_IN)[0] == Status.SUCCESS
        # What was sent after the end was asked for counts too: numbers are never used twice.
        again = int.from_bytes(peer.data(Kind.ISO_PACKET).data[camera.HEAD :][:4], "little")
        assert again == len(device.sums) - 1 >= 2


def test_a_stream_that_is_always_late_goes_on_without_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "TICK_S", 2 * streams.MAX_LATE_S)
    device = headset.Headset()
    with plugged(device) as (_, peer):
        peer.configure()
        peer.send(Kind.SET_ALT_SETTING, bytes([1, 1]))
        start(peer, headset.SAMPLES_IN)
        packets = [peer.find(Kind.ISO_PACKET) for _ in range(200)]
        assert [packet.ident for packet in packets] == list(range(200))
        assert 200 / 1000 / streams.MAX_LATE_S - 1 <= device.stood_still <= device.packets


def test_a_stream_ends_with_its_setting_and_an_unknown_endpoint_has_none() -> None:
    with plugged(headset.Headset()) as (_, peer):
        peer.configure()
        assert start(peer, headset.SAMPLES_IN) == bytes([Status.INVALID, headset.SAMPLES_IN])
        peer.send(Kind.SET_ALT_SETTING, bytes([1, 1]))
        assert start(peer, headset.SAMPLES_IN)[0] == Status.SUCCESS
        frames = b"".join(peer.data(Kind.ISO_PACKET).data for _ in range(50))
        counted = struct.unpack(f"<{len(frames) // 4}I", frames)
        assert counted == tuple(range(50 * headset.A_PACKET))
        peer.send(Kind.SET_ALT_SETTING, bytes([1, 0]))
        peer.find(Kind.ALT_SETTING_STATUS)
        peer.send(Kind.GET_CONFIGURATION)
        assert peer.next().kind == Kind.CONFIGURATION_STATUS


def test_what_is_played_is_kept() -> None:
    device = headset.Headset()
    with plugged(device) as (_, peer):
        peer.configure()
        peer.send(Kind.SET_ALT_SETTING, bytes([2, 1]))
        assert start(peer, headset.SAMPLES_OUT)[0] == Status.SUCCESS
        for number in range(3):
            peer.send(Kind.ISO_PACKET, Data(headset.SAMPLES_OUT, bytes([number]) * 4).pack())
        assert wait_until(lambda: device.played == b"\0\0\0\0\1\1\1\1\2\2\2\2")


def test_a_halted_line_loses_nothing() -> None:
    device = faults.StallingLine()
    with plugged(device) as (_, peer):
        peer.configure()
        sent = bytes(range(256)) * 12
        peer.bulk(serial.DATA_OUT, sent)
        back, stalls = b"", 0
        while len(back) < len(sent):
            answer = peer.bulk(serial.DATA_IN, length=512)
            if answer.status == Status.STALL:
                stalls += 1
                peer.control(*CLEAR_HALT, serial.DATA_IN, 0)
            back += answer.data
        assert back == bytes(255 - byte for byte in sent)
        assert stalls == device.halts == 2


def test_a_disk_stalls_twice_and_has_the_host_try_again() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 8 * BLOCK)
        file.flush()
        device = faults.StallingDisk(file.name)
        with plugged(device) as (_, peer):
            peer.configure()
            seen = [read(peer, tag) for tag in range(1, 5)]
        good, bad = (b"x" * BLOCK, 0, 0), (b"", 2, 1)
        assert seen == [good, good, good, bad]
        assert (device.failed, device.cleared) == (1, 2)


def read_command(tag: int) -> bytes:
    """A command to read the first block."""
    command = struct.pack(">BBIBHB", faults.READ_10, 0, 0, 0, 1, 0)
    return CBW.pack(b"USBC", tag, BLOCK, 0x80, 0, len(command), command)


def read(peer: Peer, tag: int) -> tuple[bytes, int, int]:
    """Read one block; the data, how many stalls were cleared, and the command's status."""
    peer.bulk(0x02, read_command(tag))
    data, stalls = b"", 0
    while True:
        answer = peer.bulk(0x81, length=BLOCK)
        if answer.status == Status.STALL:
            stalls += 1
            peer.control(*CLEAR_HALT, 0x81, 0)
        elif answer.data.startswith(b"USBS"):
            return data, stalls, answer.data[12]
        else:
            data += answer.data


def test_a_disk_leaves_in_the_middle_and_another_device_comes_after_the_acknowledgement() -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(8 * BLOCK))
        file.flush()
        device = faults.VanishingDisk(file.name, 1, lambda: plug.become(None))
        with plugged(device) as (plug, peer):
            peer.configure()
            assert read(peer, 1)[0] == bytes(BLOCK)
            peer.ask_bulk(
                0x02, CBW.pack(b"USBC", 2, BLOCK, 0x80, 0, 10, bytes([faults.READ_10, 0, 0, 0, 0, 0, 0, 0, 1]))
            )
            peer.find(Kind.DEVICE_DISCONNECT)
            # What was on its way is of no interest any more.
            peer.ask_bulk(0x81, length=BLOCK)
            plug.insert(Mouse())
            peer.send(Kind.DEVICE_DISCONNECT_ACK)
            body = peer.find(Kind.DEVICE_CONNECT).body
            assert struct.unpack_from("<HH", body, 4) == (0x1209, Mouse.pid)
            assert plug.trouble == []


def test_a_firmware_is_replaced_by_way_of_another_identity() -> None:
    with plugged(dfu.Application(b"old" * 1000)) as (plug, peer):
        peer.control(0x21, dfu.DETACH, 1000, 0, 0)
        assert identity(peer) == dfu.Loader.pid
        assert peer.control(0xA1, dfu.UPLOAD, 0, 0, dfu.BLOCK).data == (b"old" * 1000)[: dfu.BLOCK]
        peer.control(0x21, dfu.ABORT, 0, 0, 0)
        assert peer.control(0x21, dfu.DNLOAD, 1, 0, 3, b"new").status == Status.STALL
        assert peer.control(0x21, dfu.DNLOAD, 0, 0, 3, b"new").status == Status.SUCCESS
        assert peer.control(0x21, dfu.DNLOAD, 1, 0, 3, b"new").status == Status.STALL
        assert peer.control(0xA1, dfu.GETSTATUS, 0, 0, 6).data[4] == dfu.State.DNLOAD_IDLE
        peer.control(0x21, dfu.DNLOAD, 1, 0, 0)
        assert peer.control(0xA1, dfu.GETSTATUS, 0, 0, 6).data[4] == dfu.State.MANIFEST_WAIT_RESET
        assert identity(peer) == dfu.Application.pid
        assert isinstance(plug.device, dfu.Application)
        assert plug.device.firmware == b"new"


def identity(peer: Peer) -> int:
    """The product id of the device that comes instead of the one that leaves."""
    peer.find(Kind.DEVICE_DISCONNECT)
    peer.send(Kind.DEVICE_DISCONNECT_ACK)
    product: int = struct.unpack_from("<H", peer.find(Kind.DEVICE_CONNECT).body, 6)[0]
    return product


def test_a_security_key_echoes_long_messages_and_refuses_what_it_does_not_know() -> None:
    with plugged(fido.Key()) as (_, peer):
        peer.configure()
        peer.send(Kind.START_INTERRUPT_RECEIVING, bytes([fido.REPORTS_IN]))

        def ask(channel: int, command: int, data: bytes) -> tuple[int, bytes]:
            for frame in fido.frames(channel, command, data):
                peer.send(Kind.INTERRUPT_PACKET, Data(fido.REPORTS_OUT, frame).pack())
            answer = message()
            return answer[4] & ~fido.INITIAL, answer[7:]

        def message() -> bytes:
            first = report()
            content, length = first, struct.unpack_from(">H", first, 5)[0]
            while len(content) - 7 < length:
                content += report()[5:]
            return content[: 7 + length]

        def report() -> bytes:
            while True:
                if (frame := peer.data(Kind.INTERRUPT_PACKET)).endpoint == fido.REPORTS_IN:
                    return frame.data

        command, opened = ask(fido.BROADCAST, fido.INIT, b"12345678")
        assert (command, opened[:12]) == (fido.INIT, b"12345678\0\0\0\1")
        long = bytes(range(256)) * 3
        assert ask(1, fido.PING, long) == (fido.PING, long)
        assert ask(1, fido.CBOR, bytes([fido.GET_INFO])) == (fido.CBOR, fido.INFORMATION)
        assert ask(1, fido.CBOR, b"\x7f") == (fido.ERROR, bytes([fido.INVALID_COMMAND]))
        assert ask(2, fido.PING, b"") == (fido.ERROR, bytes([fido.INVALID_CHANNEL]))


def test_one_qemu_has_the_device_at_a_time_and_the_next_one_finds_it_as_new() -> None:
    device = SourceSink()
    with plugged(device) as (plug, peer):
        peer.configure()
        other = Peer(plug.path)
        with pytest.raises((EOFError, ConnectionResetError)):
            other.next()
        other.sock.close()
        peer.sock.close()
        assert wait_until(lambda: device.configuration == 0)
        third = Peer(plug.path)
        third.hello()
        assert third.find(Kind.DEVICE_CONNECT)
        third.sock.close()


def test_what_breaks_the_protocol_ends_the_connection_and_is_kept_in_words() -> None:
    with tempfile.TemporaryDirectory() as folder, Plug(Path(folder) / "s", Mouse()) as plug:
        peer = Peer(plug.path)
        peer.send(Kind.RESET)
        assert peer.next().kind == Kind.HELLO
        with pytest.raises((EOFError, ConnectionResetError)):
            peer.next()
        peer.sock.close()
        assert plug.trouble == ["ProtocolError('a packet of type 3 before the hello')"]


def test_an_empty_plug_waits_for_a_device() -> None:
    with plugged(None) as (plug, peer):
        peer.send(Kind.RESET)
        plug.insert(Mouse())
        assert peer.next().kind == Kind.EP_INFO
        assert protocol.hello("x").kind == Kind.HELLO
