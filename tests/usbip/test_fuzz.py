# SPDX-License-Identifier: BSD-2-Clause
"""Whatever bytes come: every parser, fed by hypothesis."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from router.usbip.engines.session import UserSession
from router.usbip.protocol.descriptors import interfaces_of, parse_alternates
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.uevent import parse_uevent
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.device import VirtualDevice
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.usbip.fakes import run_for, run_until
from tests.usbip.world import Between, World, header

fuzz = settings(max_examples=150)
commands = st.one_of(
    st.binary(max_size=120),
    st.builds(
        header,
        command=st.sampled_from([1, 1, 1, 2, 3]),
        seqnum=st.integers(0, 5),
        direction=st.integers(0, 2),
        endpoint=st.integers(0, 17),
        flags=st.integers(0, 0xFFFFFFFF),
        length=st.one_of(st.integers(-1, 600), st.integers(-(1 << 31), (1 << 31) - 1)),
        packets=st.one_of(st.integers(-1, 3), st.integers(-(1 << 31), (1 << 31) - 1)),
        setup=st.one_of(
            st.binary(min_size=8, max_size=8),
            st.builds(
                struct.pack,
                st.just("<BBHHH"),
                st.sampled_from([0x80, 0x00, 0x01, 0x02, 0x23, 0xA1, 0x21, 0xC0]),
                st.integers(0, 0x24),
                st.integers(0, 0x1000),
                st.integers(0, 0x90),
                st.integers(0, 300),
            ),
        ),
    ),
)


@fuzz
@given(st.sampled_from(["serial", "keyboard", "audio", "disk"]), st.lists(commands, max_size=12), st.booleans())
def test_a_session_survives_any_client(tmp_path: Path, kind: str, parts: list[bytes], slowly: bool) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4096))
    makers: dict[str, Callable[[], VirtualDevice]] = {
        "serial": Serial,
        "keyboard": lambda: Keyboard("ab"),
        "audio": Microphone,
        "disk": lambda: Disk(str(path)),
    }
    device = makers[kind]()
    loop = Loop()
    mine, theirs = socket.socketpair()
    ended: list[int] = []
    UserSession(loop, theirs, device, lambda: ended.append(1))
    mine.setblocking(False)
    for part in parts:
        for piece in [part[n : n + 1] for n in range(len(part))] if slowly else [part]:
            try:
                mine.send(piece)
            except OSError:
                break
            loop.run_once(0)
    mine.close()
    run_until(loop, lambda: ended)
    device.close()
    loop.close()
    assert (ended, device.session) == ([1], None)


@fuzz
@given(st.lists(commands, max_size=6), st.lists(st.one_of(st.binary(max_size=100), commands), max_size=6))
def test_a_relay_survives_any_two_peers(kernel_says: list[bytes], server_says: list[bytes]) -> None:
    loop = Loop()
    between = Between(loop)
    for sock, says in ((between.kernel, kernel_says), (between.server, server_says)):
        sock.setblocking(False)
        for part in says:
            try:
                sock.send(part)
            except OSError:
                break
            loop.run_once(0)
            loop.run_once(0)
    between.close()
    loop.close()
    assert between.over == [1]


@fuzz
@given(st.binary(max_size=120))
def test_the_server_survives_any_request(data: bytes) -> None:
    loop = Loop()
    world = World(loop, Serial())
    with socket.create_connection((world.address.host, world.address.port)) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        run_for(loop, 0.02)
    run_until(loop, lambda: not world.server.conversations)
    world.close()
    loop.close()
    assert world.server.exports["90-1"].session is None


@given(st.binary(max_size=300), st.integers(0, 255))
def test_no_descriptors_confuse_the_reader(data: bytes, config: int) -> None:
    assert all(len(triple) == 3 for triple in interfaces_of(data, config))
    assert all(kind < 4 for ends in parse_alternates(data, config).values() for kind in ends.values())


@given(st.binary(max_size=300))
def test_no_hot_plug_message_confuses_the_reader(data: bytes) -> None:
    assert isinstance(parse_uevent(data), dict)
    assert parse_uevent(b"libudev\0" + data) == {}
