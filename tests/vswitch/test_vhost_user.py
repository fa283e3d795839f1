# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU that breaks vhost-user, and a guest that lies in its rings: that port alone is cut off, and it is counted."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.vswitch import SwitchProcess
from tests.support.patience import wait_until
from tests.vswitch.vhost import GUEST_ADDRESS, REQUEST, STREAM, USER_ADDRESS, Front, Guest, Header, connected, guests
from tests.vswitch.vsock_switch import CLIENT, SERVER, VSOCK, attach, carry, counters, run


@pytest.fixture(scope="module")
def serving(checked_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwitchProcess]:
    """One switch for all that is malformed: none of it may harm it."""
    with SwitchProcess(checked_program, VSOCK, tmp_path_factory.mktemp("vhost"), stall_ms=0) as switch:
        yield switch
        switch.stop()
        assert switch.ended() == 0, switch.last_words()


def is_cut_off(switch: SwitchProcess, front: Front, faults: int, said: str) -> None:
    """The link is closed, one more fault is counted, and the log says why; other guests are served as before."""
    assert front.is_closed()
    assert wait_until(lambda: counters(switch, "client").faults == faults + 1)
    if faults < 20:  # so many complaints of a port are logged
        assert re.search(f"port client: vsock: .*{said}.*; closing the link", switch.log.read_text())
    assert not counters(switch, "client").connected
    front.close()
    with guests(run(switch, "other"), run(switch, "server")) as (other, server):
        here, there = connected(other, server)
        carry(here, there, b"served")


def table(regions: int = 1, address: int = GUEST_ADDRESS, size: int = 32 << 20, offset: int = 0) -> bytes:
    return struct.pack("=IIQQQQ", regions, 0, address, size, USER_ADDRESS, offset)


def unsealed(front: Front) -> None:
    memfd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(memfd, 32 << 20)
    front.message(5, table(), memfd)
    os.close(memfd)


def flood_of_descriptors(front: Front) -> None:
    front.message(13, struct.pack("=Q", 0), *[front.memfd] * 20)


def huge_message(front: Front) -> None:
    front.socket.sendall(struct.pack("=III", 2, 1, 0xFFFFFFFF))


def file_as_kick(front: Front) -> None:
    front.message(12, struct.pack("=Q", 0), front.memfd)


def hung_up_kick(front: Front) -> None:
    ours, theirs = os.pipe()
    front.message(12, struct.pack("=Q", 0), ours)
    os.close(ours)
    os.close(theirs)


def rings_without_memory(front: Front) -> None:
    for number in range(2):
        front.message(12, struct.pack("=Q", number), front.kicks[number])
    front.enable()


def unaligned_rings(front: Front) -> None:
    front.rx.desc += 1
    front.set_rings()
    front.enable()


def rings_elsewhere(front: Front) -> None:
    front.rx.used = front.memory_size - 8
    front.set_rings()
    front.enable()


def odd_ring_size(front: Front) -> None:
    front.rx.size = 100
    front.set_rings()
    front.enable()


def huge_ring(front: Front) -> None:
    front.tx.size = 32768
    front.set_rings()
    front.enable()


def empty_ring(front: Front) -> None:
    front.tx.size = 0
    front.set_rings()
    front.enable()


MESSAGES: dict[str, tuple[Callable[[Front], None], str]] = {
    "an unknown request": (lambda front: front.message(40, bytes(8)), "unknown request"),
    "another version": (lambda front: front.message(1, flags=2), "another version"),
    "a message too long": (lambda front: front.message(2, bytes(513)), "too long"),
    "an announced length of 4 GiB": (huge_message, "too long"),
    "a message cut short": (lambda front: front.message(2, bytes(4)), "cut short"),
    "features that were not offered": (lambda front: front.message(2, struct.pack("=Q", 1)), "not offered"),
    "protocol features that were not offered": (lambda front: front.message(16, struct.pack("=Q", 1)), "not offered"),
    "no memory region": (lambda front: front.message(5, table(0)), "not one region"),
    "two memory regions": (lambda front: front.message(5, table(2) + bytes(32), front.memfd, front.memfd), "not one"),
    "memory without a descriptor": (lambda front: front.message(5, table()), "not one region with one descriptor"),
    "a table cut short": (lambda front: front.message(5, table()[:20], front.memfd), "cut short"),
    "memory larger than its file": (lambda front: front.message(5, table(size=33 << 20), front.memfd), "smaller"),
    "memory behind its file": (lambda front: front.message(5, table(offset=4096), front.memfd), "smaller"),
    "memory of no size": (lambda front: front.message(5, table(size=0), front.memfd), "impossible size"),
    "memory that wraps": (lambda front: front.message(5, table(address=2**64 - 4096), front.memfd), "impossible"),
    "memory at an odd address": (lambda front: front.message(5, table(address=1), front.memfd), "impossible size"),
    "memory at an odd offset": (lambda front: front.message(5, table(size=4096, offset=1), front.memfd), "mapped"),
    "memory that may shrink": (unsealed, "sealed memfd"),
    "a socket as memory": (lambda front: front.message(5, table(), front.socket.fileno()), "sealed memfd"),
    "twenty descriptors": (flood_of_descriptors, "more descriptors"),
    "a ring that is not there": (lambda front: front.message(8, struct.pack("=II", 2, 256)), "not have"),
    "an event for a ring that is not there": (lambda front: front.message(13, struct.pack("=Q", 5), 0), "no ring"),
    "a call without its descriptor": (lambda front: front.message(13, struct.pack("=Q", 0)), "does not come"),
    "a kick to be polled": (lambda front: front.message(12, struct.pack("=Q", 0x100)), "polled"),
    "a file as kick": (file_as_kick, "cannot be watched"),
    "a pipe that has hung up as kick": (hung_up_kick, "is not one"),
    "rings without memory": (rings_without_memory, "impossible size or place"),
    "rings at odd addresses": (unaligned_rings, "impossible size or place"),
    "a ring that ends behind the memory": (rings_elsewhere, "impossible size or place"),
    "a ring of 100": (odd_ring_size, "impossible size or place"),
    "a ring of 32768": (huge_ring, "impossible size or place"),
    "a ring of 0": (empty_ring, "impossible size or place"),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_malformed_message_cuts_off_its_port_alone(serving: SwitchProcess, name: str) -> None:
    faults = counters(serving, "client").faults
    send, said = MESSAGES[name]
    front = Front(serving.vsock_socket("client"))
    assert front.realize() == CLIENT
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the first part may have been enough
        send(front)
    is_cut_off(serving, front, faults, said)


def test_a_ring_that_runs_is_not_changed(serving: SwitchProcess) -> None:
    for request, payload in (
        (8, struct.pack("=II", 0, 128)),
        (10, struct.pack("=II", 0, 0)),
        (9, struct.pack("=IIQQQQ", 1, 0, *[USER_ADDRESS] * 3, 0)),
    ):
        faults = counters(serving, "client").faults
        guest = run(serving, "client")
        guest.message(request, payload)
        is_cut_off(serving, guest, faults, "runs")
        assert counters(serving, "client").faults == faults + 1


def lie(guest: Guest, ring: int, how: str) -> None:
    """Break a rule of virtio in one of the rings, and ring."""
    lying = (guest.rx, guest.tx)[ring]
    flags = 2 if ring == 0 else 0
    entry = lying.size - 1
    at = GUEST_ADDRESS + guest.buffer(60)
    if how == "an index too far ahead":
        struct.pack_into("<H", guest.memory, lying.avail + 2, (lying.added + lying.size + 1) % 65536)
        guest.kick(ring)
        return
    if how == "a head outside":
        lying.add(lying.size)
    elif how == "a chain that loops":
        lying.describe(entry, at, 64, flags | 1, entry)
        lying.add(entry)
    elif how == "a chain that leads outside":
        lying.describe(entry, at, 64, flags | 1, 60000)
        lying.add(entry)
    elif how == "a buffer outside the memory":
        lying.describe(entry, GUEST_ADDRESS + guest.memory_size - 10, 64, flags)
        lying.add(entry)
    elif how == "a buffer at the end of addresses":
        lying.describe(entry, 2**64 - 10, 64, flags)
        lying.add(entry)
    elif how == "an indirect table in an indirect table":
        struct.pack_into("<QIHH", guest.memory, guest.buffer(60), at, 16, 4, 0)
        lying.describe(entry, at, 16, 4)
        lying.add(entry)
    elif how == "an indirect table of an odd length":
        lying.describe(entry, at, 17, 4)
        lying.add(entry)
    elif how == "the wrong direction":
        lying.describe(entry, at, 64, flags ^ 2)
        lying.add(entry)
    elif how == "a buffer too short":
        lying.describe(entry, at, 44 - ring, flags)
        lying.add(entry)
    guest.kick(ring)


LIES = [
    "an index too far ahead",
    "a head outside",
    "a chain that loops",
    "a chain that leads outside",
    "a buffer outside the memory",
    "a buffer at the end of addresses",
    "an indirect table in an indirect table",
    "an indirect table of an odd length",
    "the wrong direction",
    "a buffer too short",
]


@pytest.mark.parametrize("ring", [0, 1], ids=["rx", "tx"])
@pytest.mark.parametrize("how", LIES)
def test_a_guest_that_lies_in_a_ring_is_cut_off_alone(serving: SwitchProcess, how: str, ring: int) -> None:
    faults = counters(serving, "client").faults
    with guests(run(serving, "server")) as (server,):
        guest = attach(serving, "client", buffers=2 if ring == 1 else 0).start()
        assert wait_until(lambda: counters(serving, "client").connected)
        lie(guest, ring, how)
        if ring == 0:  # it is read once there is something to deliver
            server.send(Header(SERVER, CLIENT, 7, 99, 0, STREAM, REQUEST, 0, 65536))
        assert guest.is_closed()
    is_cut_off(serving, guest, faults, "ring breaks the rules of virtio")


def test_messages_may_arrive_in_pieces(serving: SwitchProcess) -> None:
    front = Front(serving.vsock_socket("client"))
    for byte in struct.pack("=III", 1, 1, 0):
        front.socket.sendall(bytes([byte]))
        serving.counters()
    assert struct.unpack("=Q", front.reply(1)) == (0x1_7000_0000,)
    front.socket.sendall(struct.pack("=IIIQ", 16, 1, 8, 0x208)[:15])
    front.close()
    assert wait_until(lambda: counters(serving, "client").links > 0)
    with guests(run(serving, "client")) as (guest,):
        assert isinstance(guest, Guest)


def test_memory_may_be_set_again_while_the_rings_run(serving: SwitchProcess) -> None:
    with guests(run(serving, "client"), run(serving, "server")) as (client, server):
        here, there = connected(client, server)
        client.set_memory()
        carry(here, there, b"as before")
        carry(there, here, b"both ways")
        assert counters(serving, "client").open == 1


def test_a_configuration_outside_the_device_is_not_read(serving: SwitchProcess) -> None:
    front = Front(serving.vsock_socket("client"))
    front.realize()
    for offset, size in ((8, 1), (0, 9), (0xFFFFFFFF, 2)):
        answer = front.ask(24, struct.pack("=III", offset, size, 0))
        assert struct.unpack("=III", answer) == (0, 0, 0)
    assert front.ask(24, struct.pack("=III", 0, 4, 0))[12:] == struct.pack("<I", CLIENT)
    front.close()


def test_a_thousand_links_leave_nothing_open(serving: SwitchProcess) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{serving.pid}/fd").iterdir()))

    assert wait_until(lambda: not any(counters(serving, port.name).connected for port in VSOCK.vsock_ports))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
        first.connect(str(serving.vsock_socket("client")))
        links = counters(serving, "client").links
    before = descriptors()
    for turn in range(60):
        with guests(attach(serving, "client")) as (guest,):
            guest.set_rings()
            if turn % 2:
                guest.enable()
        assert wait_until(lambda turn=turn: counters(serving, "client").links > links + turn)  # type: ignore[misc]
    assert wait_until(lambda: descriptors() <= before)
    mapped = Path(f"/proc/{serving.pid}/maps").read_text()
    assert wait_until(lambda: "memfd:guest" not in Path(f"/proc/{serving.pid}/maps").read_text()), mapped
