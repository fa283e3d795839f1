# SPDX-License-Identifier: BSD-2-Clause
"""The handshake's bytes: sizes and offsets of the protocol, and nothing believed that a peer says."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import MachineError
from router.usbip.client.exchange import devlist_steps, import_steps, watch_steps
from router.usbip.commands.list import remote_lines
from router.usbip.protocol import handshake, names
from router.usbip.protocol.device import Device, port_name, valid_busid, valid_name
from router.usbip.runtime import jsontext

DISK = Device(
    "1-1.2",
    5,
    1,
    7,
    0x0781,
    0x5567,
    0x0126,
    (0, 0, 0),
    1,
    1,
    ((8, 6, 0x50), (3, 0, 0)),
    "/sys/devices/pci0000:00/usb1/1-1/1-1.2",
)


def test_sizes_are_those_of_the_protocol() -> None:
    assert len(handshake.pack_devlist_request()) == 8
    assert len(handshake.pack_devlist_reply([DISK])) == 12 + 312 + 2 * 4
    assert len(handshake.pack_devlist_reply([])) == 12
    assert len(handshake.pack_import_request("1-1")) == 40
    assert len(handshake.pack_import_reply(DISK)) == 320


def test_an_import_request_is_byte_for_byte_that_of_linux() -> None:
    assert handshake.pack_import_request("1-1.2") == bytes.fromhex("0111 8003 00000000") + b"1-1.2" + bytes(27)


def test_an_import_replys_fields_are_where_linux_reads_them() -> None:
    data = handshake.pack_import_reply(DISK)
    assert data[:8] == bytes.fromhex("0111 0003 00000000")
    assert data[8:].startswith(DISK.path.encode() + b"\0")
    assert data[0x108:].startswith(b"1-1.2\0")
    assert struct.unpack_from(">III", data, 0x128) == (1, 7, 5)
    assert struct.unpack_from(">HHH", data, 0x134) == (0x0781, 0x5567, 0x0126)
    # bDeviceClass is at 0x13A, whatever the kernel's document says.
    assert data[0x13A:] == bytes([0, 0, 0, 1, 1, 2])


def test_super_speed_plus_is_sent_as_super_speed() -> None:
    fast = Device("1-1", 6, 1, 2, 1, 1)
    assert struct.unpack_from(">I", handshake.pack_device(fast), 296) == (5,)


def test_long_names_end_with_a_nul_as_c_peers_need_it() -> None:
    data = handshake.pack_device(Device("1-1", 3, 1, 2, 1, 1, path="/sys/" + "x" * 400))
    assert (len(data), data[255], data[256:259]) == (312, 0, b"1-1")


def drive(steps: Generator[int, bytes, Any], data: bytes) -> Any:
    """Runs a client's steps over a server's bytes; the result, or EOFError when they want more."""
    try:
        need = next(steps)
        while True:
            if need > len(data):
                raise EOFError
            part, data = data[:need], data[need:]
            need = steps.send(part)
    except StopIteration as result:
        return result.value


def test_a_list_survives_the_wire() -> None:
    devices = drive(devlist_steps(), handshake.pack_devlist_reply([DISK, DISK]))
    assert devices == [DISK, DISK]


def test_a_watch_list_survives_the_wire() -> None:
    heard: list[list[handshake.Grant]] = []
    bare = Device(DISK.busid, 5, 1, 7, 0x0781, 0x5567, 0x0126, path=DISK.path)
    data = (
        handshake.pack_watch_reply()
        + handshake.pack_watch_list([(bare, 3, handshake.WATCH_BUSY)])
        + handshake.pack_watch_list([])
    )
    with pytest.raises(EOFError):
        drive(watch_steps(heard.append), data)
    assert heard == [[(bare, 3, handshake.WATCH_BUSY)], []]


def reply(**changes: int | bytes) -> bytes:
    fields: dict[str, int | bytes] = {
        "path": b"/sys/x",
        "busid": b"1-1",
        "busnum": 1,
        "devnum": 2,
        "speed": 3,
        "count": 1,
    }
    fields |= changes
    device = struct.pack(
        ">256s32sIIIHHH6B",
        *(fields[name] for name in ("path", "busid", "busnum", "devnum", "speed")),
        *(1, 1, 0, 0, 0, 0, 1, 1, fields["count"]),
    )
    return struct.pack(">HHI", 0x0111, 3, 0) + device


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"busid": b"1-2"}, "answered for 1-2 where 1-1 was asked for"),
        ({"busid": b"x" * 32}, "the busid is not terminated"),
        ({"path": b"x" * 256}, "the path is not terminated"),
        ({"busid": b"../../etc"}, "is not a busid"),
        ({"busid": b"1 1"}, "is not a busid"),
        ({"busid": "1-\xb9".encode()}, "is not a busid"),
        ({"busnum": 0x10000}, "out of range"),
        ({"devnum": 0xFFFFFFFF}, "out of range"),
        ({"speed": 7}, "speed 7 of 1-1 is unknown"),
        ({"speed": 0xFFFFFFFF}, "is unknown"),
    ],
)
def test_a_lying_import_reply_is_refused(changes: dict[str, int | bytes], text: str) -> None:
    with pytest.raises(handshake.WireError, match=text):
        drive(import_steps("1-1"), reply(**changes))


def test_a_server_of_another_version_is_named() -> None:
    with pytest.raises(handshake.VersionError, match="the server speaks USB/IP version 0x0106"):
        drive(import_steps("1-1"), struct.pack(">HHI", 0x0106, 3, 0) + bytes(312))


def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(handshake.WireError, match="code 0x0005 where 0x0003 was due"):
        drive(import_steps("1-1"), handshake.pack_devlist_reply([]))


def test_a_list_of_millions_is_not_believed() -> None:
    with pytest.raises(handshake.WireError, match="4294967295 devices"):
        drive(devlist_steps(), struct.pack(">HHII", 0x0111, 5, 0, 0xFFFFFFFF))


@pytest.mark.parametrize("busid", ["1-1", "1-1.2", "12-3.4.5.6"])
def test_port_paths_are_busids(busid: str) -> None:
    assert valid_busid(busid)


@pytest.mark.parametrize(
    "busid", ["", "1", "1-", "-1", "1-1.", "1-1/..", "usb1", "1-1:1.0", "1-1\n", "1-¹", "1-" + "1" * 40]
)
def test_nothing_else_is_a_busid(busid: str) -> None:
    assert not valid_busid(busid)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("1-1.4", "1-1.4"),
        ("usb@38100000/1.4", "usb@38100000/1.4"),
        ("usb-host@fe,1/2", "usb-host@fe,1/2"),
        ("0000:00:02.0/1", "0000:00:02.0/1"),
        ("00:1D.7/1.12", "0000:00:1d.7/1.12"),
    ],
)
def test_a_port_is_named_by_linux_or_by_its_controller(written: str, name: str) -> None:
    assert port_name(written) == name and port_name(name) == name


@pytest.mark.parametrize(
    "written",
    [
        *(
            "usb1",
            "usb@38100000",
            "usb@38100000/",
            "usb@38100000/0",
            "usb@38100000/1.",
            "usb@xyz/1",
            "@1/1",
            "usb@1/1-1",
        ),
        *(
            "00:02/1",
            "00:02.8/1",
            "0:00:02.0/1",
            "00:02.0/1/2",
            "../1",
            "a b@1/1",
            "üsb@1/1",
            "usb@1/" + "1." * 40 + "1",
        ),
    ],
)
def test_nothing_else_names_a_port(written: str) -> None:
    assert port_name(written) is None


@pytest.mark.parametrize("busid", ["0-0-0", "1-0", "kbd0", "1-1:1.0", "x" * 31])
def test_a_server_without_linux_port_paths_is_understood(busid: str) -> None:
    assert valid_name(busid)
    named = Device(busid, 3, 0, 0, 1, 1, path="/sys/x")
    assert drive(devlist_steps(), handshake.pack_devlist_reply([named])) == [named]
    assert handshake.unpack_import_busid(handshake.pack_import_request(busid)[8:]) == busid
    assert drive(import_steps(busid), reply(busid=busid.encode(), busnum=0, devnum=0)).busid == busid


@pytest.mark.parametrize("busid", ["", "../x", "a/b", "1-1\n", "a b", "ü", "\x7f", "x" * 32])
def test_what_could_be_a_path_or_a_control_sequence_is_no_name(busid: str) -> None:
    assert not valid_name(busid)


@pytest.mark.parametrize(
    "changes",
    [
        {"busid": b"../etc"},
        {"busid": b""},
        {"busid": b"x" * 32},
        {"speed": 9},
        {"busnum": 1 << 20},
        {"path": b"x" * 256},
    ],
)
def test_one_odd_record_does_not_cost_the_list(changes: dict[str, int | bytes]) -> None:
    odd = reply(**changes)[8:] + b"\3\0\0\0"
    good = handshake.pack_devlist_reply([DISK])[12:]
    head = struct.pack(">HHII", 0x0111, 5, 0, 3)
    said: list[str] = []
    assert drive(devlist_steps(said.append), head + good + odd + good) == [DISK, DISK]
    assert len(said) == 1


def test_a_path_that_is_not_utf_8_is_kept_and_can_be_shown() -> None:
    record = reply(path=b"/sys/\xff\xfe")[8:]
    data = struct.pack(">HHII", 0x0111, 5, 0, 1) + record + b"\3\0\0\0"
    (device,) = drive(devlist_steps(), data)
    assert handshake.pack_device(device)[:8] == b"/sys/\xff\xfe\0"
    "\n".join(remote_lines("host", [device])).encode("utf-8")
    assert json.loads(jsontext.dumps(names.as_data(device)))["path"]


@given(st.binary(max_size=700), st.sampled_from(["import", "devlist", "watch"]))
def test_a_client_survives_any_answer(data: bytes, kind: str) -> None:
    steps: dict[str, Callable[[], Generator[int, bytes, Any]]] = {
        "import": lambda: import_steps("1-1"),
        "devlist": devlist_steps,
        "watch": lambda: watch_steps(lambda _: None),
    }
    head = {"import": 3, "devlist": 5, "watch": 0xF0}[kind]
    for stream in (data, struct.pack(">HHI", 0x0111, head, 0) + data):
        try:
            result = drive(steps[kind](), stream)
        except (MachineError, EOFError):
            continue
        assert result is not None


@given(
    st.builds(
        Device,
        busid=st.from_regex(r"\A[1-9][0-9]?-[1-9](\.[1-9]){0,5}\Z"),
        speed=st.integers(0, 5),
        busnum=st.integers(1, 65535),
        devnum=st.integers(1, 65535),
        vid=st.integers(0, 65535),
        pid=st.integers(0, 65535),
        bcd=st.integers(0, 65535),
        triple=st.tuples(*[st.integers(0, 255)] * 3),
        config=st.integers(0, 255),
        configs=st.integers(0, 255),
        interfaces=st.lists(st.tuples(*[st.integers(0, 255)] * 3), max_size=32).map(tuple),
        path=st.text("abc/", min_size=1, max_size=200),
    )
)
def test_any_device_survives_the_wire(device: Device) -> None:
    assert drive(devlist_steps(), handshake.pack_devlist_reply([device])) == [device]
