# SPDX-License-Identifier: BSD-2-Clause
"""A USB/IP client in user space, for tests: imports a device over a socket and moves URBs by hand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from router.usbip.client.exchange import import_steps, run_steps
from router.usbip.protocol import handshake, urb
from router.usbip.protocol.device import Device
from router.usbip.runtime import net
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from tests.support.patience import PATIENCE


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop in a thread of its own; an exception there is raised here."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def spin() -> None:
        try:
            while not stop.is_set():
                loop.run_once(0.02)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if failed:
        raise failed[0]


class Remote:
    """An imported device."""

    def __init__(self, address: Address, busid: str) -> None:
        self.sock = net.connect(address, PATIENCE)
        try:
            self.device: Device = run_steps(self.sock, handshake.pack_import_request(busid), import_steps(busid))
        except BaseException:
            self.sock.close()
            raise
        self.seqnum = 0
        self.sent: dict[int, urb.Submit] = {}
        self.unlinks: set[int] = set()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def submit(
        self,
        direction: int,
        endpoint: int,
        length: int = 0,
        data: bytes = b"",
        setup: bytes = bytes(8),
        flags: int = 0,
        iso: list[tuple[int, int]] | None = None,
    ) -> int:
        """Sends a CMD_SUBMIT; its sequence number."""
        self.seqnum += 1
        submit = urb.Submit(
            self.seqnum, self.device.devid, direction, endpoint, length or len(data), data, setup, flags, 0, 0, iso
        )
        self.sent[self.seqnum] = submit
        self.sock.sendall(urb.pack_submit(submit))
        return self.seqnum

    def unlink(self, target: int) -> int:
        self.seqnum += 1
        self.unlinks.add(self.seqnum)
        self.sock.sendall(urb.pack_unlink(urb.Unlink(self.seqnum, self.device.devid, target)))
        return self.seqnum

    def take_any(self) -> urb.Return:
        """The next PDU, which must be a Return."""
        answer = self.receive()
        assert isinstance(answer, urb.Return)
        return answer

    def receive(self) -> urb.Return | tuple[int, int]:
        """The next PDU: a Return, or (sequence number, status) of a RET_UNLINK; anything else is an error."""
        header = net.receive_exactly(self.sock, urb.HEADER_SIZE)
        assert header[8:20] == bytes(12), "devid, direction and endpoint of an answer are 0"
        if urb.command_of(header) == urb.RET_UNLINK:
            seqnum, status = urb.unpack_unlinked(header)
            self.unlinks.remove(seqnum)
            return seqnum, status
        assert urb.command_of(header) == urb.RET_SUBMIT
        submit = self.sent.pop(urb.return_seqnum(header))
        size, packets = urb.return_sizes(header, submit)
        data = net.receive_exactly(self.sock, size)
        iso = net.receive_exactly(self.sock, packets * urb.ISO_SIZE) if submit.iso is not None else None
        return urb.unpack_return(header, submit, data, iso)

    def wait(self, seqnum: int) -> urb.Return:
        answer = self.receive()
        assert isinstance(answer, urb.Return) and answer.seqnum == seqnum
        return answer

    def control(
        self, kind: int, request: int, value: int, index: int, length: int = 0, data: bytes = b""
    ) -> urb.Return:
        setup = struct.pack("<BBHHH", kind, request, value, index, length or len(data))
        return self.wait(self.submit(kind >> 7, 0, length, data, setup))

    def descriptor(self, kind: int, number: int = 0, length: int = 255) -> bytes:
        return self.control(0x80, 6, kind << 8 | number, 0, length).data

    def configure(self) -> None:
        assert self.control(0, 9, 1, 0).status == 0

    def out(self, endpoint: int, data: bytes) -> urb.Return:
        return self.wait(self.submit(urb.OUT, endpoint, data=data))

    def take(self, endpoint: int, length: int) -> urb.Return:
        return self.wait(self.submit(urb.IN, endpoint, length))


class Bot:
    """The host's side of bulk-only transport."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        remote.configure()
        self.tag = 0

    def command(self, cdb: bytes, length: int = 0, data: bytes = b"") -> tuple[int, int, bytes]:
        """(status, residue, data) of a SCSI command."""
        self.tag += 1
        total = length or len(data)
        flags = 0 if data else 0x80
        cbw = struct.pack("<4sIIBBB16s", b"USBC", self.tag, total, flags, 0, len(cdb), cdb)
        assert self.remote.out(2, cbw).status == 0
        came = b""
        if data:
            assert self.remote.out(2, data).actual == len(data)
        elif length:
            came = self.remote.take(1, length).data
        csw = self.remote.take(1, 13).data
        signature, tag, residue, status = struct.unpack("<4sIIB", csw)
        assert (signature, tag) == (b"USBS", self.tag)
        return status, residue, came

    def sense(self) -> tuple[int, int, int]:
        _, _, data = self.command(bytes([3, 0, 0, 0, 18, 0]), 18)
        return data[2], data[12], data[13]


def closed(sock: socket.socket) -> bool:
    """Whether the peer ends the connection."""
    try:
        return sock.recv(65536) == b""
    except ConnectionError:
        return True
