# SPDX-License-Identifier: BSD-2-Clause
"""Transfers of the engine usbfs against ioctls that a test answers: what ends at once, late, never, or not at all."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest

from router.usbip.engines import usbfs_device
from router.usbip.engines import usbfs_ioctl as usbfs
from router.usbip.engines.session import UserSession
from router.usbip.engines.usbfs_claims import Claims
from router.usbip.engines.usbfs_device import UsbfsDevice
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import BULK
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop, net
from router.usbip.runtime.event_loop import Loop
from tests.support.patience import PATIENCE
from tests.usbip.fakes import run_for, run_until

DEVICE = Device("1-1", 3, 1, 2, 0x46F4, 1)


class Kernel:
    """usbfs's side: `room` transfers in flight at most; they end when `finish` is called, or at once if `quick`."""

    def __init__(self, quick: bool = True, room: int = 100) -> None:
        self.quick = quick
        self.room = room
        self.flying: list[usbfs.Block] = []
        self.ended: list[usbfs.Block] = []
        self.addresses: list[int] = []

    def submit(self, _: int, block: usbfs.Block) -> None:
        if len(self.flying) + len(self.ended) >= self.room:
            raise OSError(errno.ENOMEM, "usbfs_memory_mb")
        self.addresses.append(block.buffer.buffer_info()[0])
        self.flying.append(block)
        if self.quick:
            self.finish()

    def finish(self, status: int = 0) -> None:
        """The oldest transfer ends, as long as was asked for; its first byte says how many have."""
        block = self.flying.pop(0)
        length = struct.unpack_from("<i", block.memory, 24)[0]
        struct.pack_into("<i", block.memory, 4, status)
        struct.pack_into("<i", block.memory, 28, 0 if status else length)
        self.ended.append(block)

    def reap(self, _: int) -> int:
        if not self.ended:
            raise BlockingIOError
        return self.ended.pop(0).address

    def discard(self, _: int, block: usbfs.Block) -> None:
        if block not in self.flying:
            raise OSError(errno.EINVAL, "discard")
        self.flying.remove(block)
        struct.pack_into("<i", block.memory, 4, urb.ENOENT)
        self.ended.append(block)


class NoClaims(Claims):
    """A device of two bulk endpoints, with a descriptor that is never ready."""

    def __init__(self, path: str, device: Device) -> None:
        self.endpoints = {0x81: BULK, 0x02: BULK}
        self.fd, self._other = os.pipe()

    def by_kernel(self, setup: bytes) -> int | None:
        return None

    def reset(self) -> None:
        return

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._other)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    for name in ("submit", "reap", "discard"):
        monkeypatch.setattr(usbfs, name, getattr(kernel, name))
    monkeypatch.setattr(usbfs_device, "Claims", NoClaims)
    return kernel


@pytest.fixture
def device(loop: Loop, kernel: Kernel) -> Iterator[UsbfsDevice]:
    device = UsbfsDevice(loop, "", DEVICE)
    yield device
    device.close()


@pytest.fixture
def client(loop: Loop, device: UsbfsDevice) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    device.session = UserSession(loop, ours, device, lambda: None)
    theirs.settimeout(PATIENCE)
    yield theirs
    theirs.close()


def take(seqnum: int, length: int) -> bytes:
    return urb.pack_submit(urb.Submit(seqnum, DEVICE.devid, urb.IN, 1, length))


def answers(loop: Loop, client: socket.socket, sizes: list[int]) -> list[tuple[int, ...]]:
    """(command, sequence number, status) of each answer; sizes: the bytes of data behind each."""
    run_for(loop, 0.1)
    found = []
    for size in sizes:
        header = net.receive_exactly(client, urb.HEADER_SIZE)
        net.receive_exactly(client, size)
        found.append((*struct.unpack_from(">2I", header), struct.unpack_from(">i", header, 20)[0]))
    return found


def test_what_ends_at_once_is_answered_in_the_same_turn_of_the_loop(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    client.sendall(take(1, 4096))
    loop.run_once(1)
    assert net.receive_exactly(client, 48 + 4096)[:8] == struct.pack(">2I", urb.RET_SUBMIT, 1)


def test_a_buffer_is_used_again_and_a_pdu_in_two_parts_is_one(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    for seqnum in (1, 2):
        client.sendall(take(seqnum, 4096)[:30])
        loop.run_once(1)
        client.sendall(take(seqnum, 4096)[30:])
        assert answers(loop, client, [4096]) == [(urb.RET_SUBMIT, seqnum, 0)]
    assert kernel.addresses[0] == kernel.addresses[1]


def test_small_data_that_went_out_does_not_pile_up(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    for seqnum in range(1, 50):
        client.sendall(urb.pack_submit(urb.Submit(seqnum, DEVICE.devid, urb.OUT, 2, 31, bytes(31))))
        assert answers_now(loop, client) == seqnum
    assert device._buffers.get(31, []) == []


def answers_now(loop: Loop, client: socket.socket) -> int:
    loop.run_once(1)
    seqnum: int = struct.unpack_from(">I", net.receive_exactly(client, urb.HEADER_SIZE), 4)[0]
    return seqnum


def test_transfers_that_usbfs_has_no_memory_for_wait_and_are_all_answered_in_order(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    kernel.room = 2
    client.sendall(b"".join(take(seqnum, 64) for seqnum in range(1, 8)))
    for _ in range(5):
        loop.run_once(0.02)
        device._ready(event_loop.OUT)
    assert answers(loop, client, [64] * 7) == [(urb.RET_SUBMIT, seqnum, 0) for seqnum in range(1, 8)]


def test_a_transfer_that_is_too_large_for_usbfs_fails_alone(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    kernel.room = 0
    client.sendall(take(1, 64))
    assert answers(loop, client, [0]) == [(urb.RET_SUBMIT, 1, -errno.ENOMEM)]


def test_an_unlink_in_time_is_answered_alone(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    kernel.quick = False
    client.sendall(take(1, 64))
    run_until(loop, lambda: kernel.flying)
    client.sendall(urb.pack_unlink(urb.Unlink(2, DEVICE.devid, 1)))
    assert answers(loop, client, [0]) == [(urb.RET_UNLINK, 2, urb.ECONNRESET)]
    assert (kernel.flying, device._flights) == ([], {})


def test_an_unlink_of_what_has_just_ended_is_answered_after_the_return(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    kernel.quick = False
    client.sendall(take(1, 64))
    run_until(loop, lambda: kernel.flying)
    kernel.finish()
    client.sendall(urb.pack_unlink(urb.Unlink(2, DEVICE.devid, 1)))
    assert answers(loop, client, [64, 0]) == [(urb.RET_SUBMIT, 1, 0), (urb.RET_UNLINK, 2, 0)]


def test_what_a_client_has_not_read_yet_is_not_overwritten(
    loop: Loop, kernel: Kernel, device: UsbfsDevice, client: socket.socket
) -> None:
    size = 8 << 20
    client.sendall(take(1, size) + take(2, 4096))
    run_for(loop, 0.2)
    client.setblocking(False)
    got = 0
    while got < size + 4096 + 96:
        loop.run_once(0.01)
        try:
            got += len(client.recv(1 << 20))
        except BlockingIOError:
            continue
    assert got == size + 4096 + 96
    assert size not in device._buffers, "it was not sent at once, so it is not used again"


def test_an_exception_while_transfers_are_reaped_ends_that_session_and_the_device_is_renewed(
    loop: Loop, device: UsbfsDevice, client: socket.socket, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: list[int] = []
    loop.call_later(0.05, lambda: other.append(1))
    monkeypatch.setattr(usbfs, "reap", lambda fd: 12345)
    claims = device._claims
    assert isinstance(claims, NoClaims)
    os.close(claims._other)
    claims._other = os.open(os.devnull, os.O_RDONLY)
    run_until(loop, lambda: device.broken and other)
    client.settimeout(0.1)
    assert client.recv(1) == b""
