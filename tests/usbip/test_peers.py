# SPDX-License-Identifier: BSD-2-Clause
"""Other people's clients: by the bytes that they are known to send, and by themselves where they can be had."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.usbip.client.exchange import devlist_steps, run_steps
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake, urb
from router.usbip.runtime import net
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address, parse_address
from router.usbip.server.server import Server
from router.usbip.virtual.audio import FRAME_BYTES, SAMPLES, Microphone
from router.usbip.virtual.disk import Disk
from router.usbip.virtual.engine import VirtualEngine
from router.usbip.virtual.serial import Serial
from tests.support.patience import PATIENCE
from tests.usbip.remote import Remote, running

POLICY = """\
allow 127.0.0.1 path 90-1
allow 127.0.0.1 path 90-2
allow 127.0.0.1 path 90-3
allow ::1 path 90-1
allow unix path 90-2
allow vsock:1 path 90-3
"""


class Host:
    """A serial line (90-1), a microphone (90-2) and a disk (90-3), served at several addresses."""

    def __init__(self, loop: Loop, folder: Path, policy: str) -> None:
        (folder / "disk").write_bytes(bytes(range(256)) * 256)
        self.loop = loop
        self.engine = VirtualEngine(loop)
        for device in (Serial(), Microphone(), Disk(str(folder / "disk"))):
            self.engine.plug(device)
        self.server = Server(loop, [self.engine], parse_policy(policy))
        self.server.rescan()

    def listen(self, text: str) -> Address:
        address = parse_address(text)
        sock = self.server.listen(address)
        if address.kind == "tcp":
            address.port = sock.getsockname()[1]
        return address

    def close(self) -> None:
        self.server.close(release=True)
        self.engine.close()


@pytest.fixture
def host(loop: Loop, tmp_path: Path) -> Iterator[Host]:
    host = Host(loop, tmp_path, POLICY)
    yield host
    host.close()


def exchange(sock: socket.socket, request: bytes, size: int) -> bytes:
    sock.sendall(request)
    return net.receive_exactly(sock, size)


# usbip-win2 and usbip-win: the header of a transfer that is not isochronous says −1 packets.


@pytest.mark.parametrize("packets", [-1, 0, 7, 1024], ids=["usbip-win2", "Linux", "stale", "the most"])
def test_the_number_of_packets_of_a_bulk_transfer_means_nothing(host: Host, packets: int) -> None:
    address = host.listen("127.0.0.1:0")
    with running(host.loop), Remote(address, "90-1") as remote:
        remote.configure()
        devid = remote.device.devid
        out = struct.pack(">5I I4i8s", 1, 100, devid, 0, 2, 0, 4, 0, packets, 0, bytes(8)) + b"ping"
        assert exchange(remote.sock, out, 48) == struct.pack(">5I5i8x", 3, 100, 0, 0, 0, 0, 4, 0, 0, 0)
        take = struct.pack(">5I I4i8s", 1, 101, devid, 1, 2, 0x201, 64, 0, packets, 0, bytes(8))
        assert exchange(remote.sock, take, 52) == struct.pack(">5I5i8x", 3, 101, 0, 0, 0, -121, 4, 0, 0, 0) + b"ping"


def test_usbip_win2_resets_a_port_by_a_request_to_endpoint_0(host: Host) -> None:
    address = host.listen("127.0.0.1:0")
    with running(host.loop), Remote(address, "90-1") as remote:
        remote.configure()
        assert remote.control(0x80, 8, 0, 0, 1).data == b"\1"
        assert remote.control(0x23, 3, 4, 1).status == 0
        assert remote.control(0x80, 8, 0, 0, 1).data == b"\0", "the device is unconfigured again"


def test_the_answer_to_an_unlink_has_exactly_48_bytes_and_its_fields(host: Host) -> None:
    address = host.listen("127.0.0.1:0")
    with running(host.loop), Remote(address, "90-1") as remote:
        remote.configure()
        devid = remote.device.devid
        remote.sock.sendall(struct.pack(">5I I4i8s", 1, 200, devid, 1, 2, 0, 64, 0, 0, 0, bytes(8)))
        unlink = struct.pack(">5I I24x", 2, 201, devid, 0, 0, 200)
        assert exchange(remote.sock, unlink, 48) == struct.pack(">5I i24x", 4, 201, 0, 0, 0, -104)


def test_an_iso_answer_has_its_packets_after_its_data(host: Host) -> None:
    address = host.listen("127.0.0.1:0")
    with running(host.loop), Remote(address, "90-2") as remote:
        remote.configure()
        request = struct.pack(">5I I4i8s", 1, 300, remote.device.devid, 1, 1, 2, 2 * FRAME_BYTES, 0, 2, 1, bytes(8))
        request += struct.pack(">8I", 0, FRAME_BYTES, 0, 0, FRAME_BYTES, FRAME_BYTES, 0, 0)
        answer = exchange(remote.sock, request, 48 + 2 * FRAME_BYTES + 32)
    assert answer[:48] == struct.pack(">5I5i8x", 3, 300, 0, 0, 0, 0, 2 * FRAME_BYTES, 0, 2, 0)
    assert answer[48 : 48 + 2 * FRAME_BYTES] == SAMPLES * 2
    assert answer[48 + 2 * FRAME_BYTES :] == struct.pack(
        ">8I", 0, FRAME_BYTES, FRAME_BYTES, 0, FRAME_BYTES, FRAME_BYTES, FRAME_BYTES, 0
    )


def test_a_list_request_with_a_status_and_a_later_close_is_answered(host: Host) -> None:
    """Some clients leave garbage in the request's status and wait for the server to close."""
    address = host.listen("127.0.0.1:0")
    with running(host.loop), net.connect(address, PATIENCE) as sock:
        head = exchange(sock, struct.pack(">HHI", 0x0111, 0x8005, 0xDEADBEEF), 12)
        assert head == struct.pack(">HHII", 0x0111, 5, 0, 3)
        rest = b""
        while part := sock.recv(65536):
            rest += part
        assert len(rest) == 3 * 312 + 4 * (2 + 2 + 1)


def test_version_0106_gets_an_answer_and_then_the_end(host: Host) -> None:
    address = host.listen("127.0.0.1:0")
    with running(host.loop), net.connect(address, PATIENCE) as sock:
        assert exchange(sock, struct.pack(">HHI", 0x0106, 0x8005, 0), 8) == struct.pack(">HHI", 0x0111, 5, 1)
        assert sock.recv(1) == b""


# Ways to connect


def listed(address: Address) -> list[str]:
    with net.connect(address, PATIENCE) as sock:
        return [device.busid for device in run_steps(sock, handshake.pack_devlist_request(), devlist_steps())]


def test_each_way_to_connect_is_a_client_of_its_own_to_the_policy(host: Host, tmp_path: Path) -> None:
    tcp = host.listen("127.0.0.1:0")
    local = host.listen(f"unix:{tmp_path}/socket")
    with running(host.loop):
        assert listed(tcp) == ["90-1", "90-2", "90-3"]
        assert listed(local) == ["90-2"]
        with Remote(local, "90-2") as remote:
            assert len(remote.descriptor(1)) == 18


def test_ipv6_and_ipv4_come_over_one_socket(host: Host) -> None:
    try:
        both = host.listen("[::]:0")
    except Exception as error:
        pytest.skip(f"no IPv6 here: {error}")
    with running(host.loop):
        assert listed(Address("tcp", "::1", both.port)) == ["90-1"]
        assert listed(Address("tcp", "127.0.0.1", both.port)) == ["90-1", "90-2", "90-3"]


def test_a_virtual_machine_connects_over_vsock(host: Host) -> None:
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
            probe.bind((1, 13240))
            probe.listen()
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as other:
                other.connect((1, 13240))
    except OSError as error:
        pytest.skip(f"no vsock loopback here: {error}")
    address = host.listen("vsock:1:13241")
    with running(host.loop):
        assert listed(address) == ["90-3"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("10.77.0.2", "10.77.0.2:3240"),
        ("10.77.0.2:3241", "10.77.0.2:3241"),
        ("::1", "[::1]:3240"),
        ("[fd00::1]:3241", "[fd00::1]:3241"),
        ("host.example", "host.example:3240"),
        ("unix:/run/x", "unix:/run/x"),
        ("vsock:2", "vsock:2:3240"),
    ],
)
def test_addresses_are_read_as_users_write_them(text: str, what: str) -> None:
    assert str(parse_address(text)) == what


@pytest.mark.parametrize("text", ["", ":3240", "host:port", "host:70000", "vsock:x", "[::1", "[::1]x", "unix:"])
def test_text_that_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="is not an address"):
        parse_address(text)


def test_the_pypi_packages_client_uses_our_devices(host: Host) -> None:
    usbip_host = pytest.importorskip("usbip.host", reason="the PyPI package usbip is not installed")
    address = host.listen("127.0.0.1:0")
    with running(host.loop):
        with socket.create_connection((address.host, address.port), PATIENCE) as sock:
            connection = usbip_host.Connection(sock)
            assert connection.import_device("90-1")["idVendor"] == 0x1209
            assert len(connection.control(0x80, 6, 0x0100, 0, 18)) == 18
            connection.control(0, 9, 1, 0, b"")
            assert connection.transfer_out(2, b"from another library") == 20
            assert bytes(connection.transfer_in(2, 512)) == b"from another library"
        with socket.create_connection((address.host, address.port), PATIENCE) as sock:
            connection = usbip_host.Connection(sock)
            connection.import_device("90-2")
            connection.control(0, 9, 1, 0, b"")
            data, packets = connection.iso_transfer(0x81, [FRAME_BYTES] * 3)
            assert bytes(data) == SAMPLES * 3
            assert [packet[2] for packet in packets] == [FRAME_BYTES] * 3


def test_the_constants_are_linuxs() -> None:
    assert (urb.ECONNRESET, urb.EPIPE, urb.EREMOTEIO, urb.ENOENT) == (-104, -32, -121, -2)
