# SPDX-License-Identifier: BSD-2-Clause
"""A server that means harm costs its client bounded memory, and its kernel sees only what was judged."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
from pathlib import Path

import pytest

from router.usbip.client import held
from router.usbip.client import keep_attached as client_module
from router.usbip.client.keep_attached import KeepAttached
from router.usbip.client.vhci import Vhci
from router.usbip.protocol import handshake, urb
from router.usbip.protocol.descriptors import parse_alternates
from router.usbip.protocol.device import Device
from router.usbip.runtime import event_loop
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from tests.usbip.fakes import FakeKernel, run_for, run_until
from tests.usbip.world import Between, header

# A server that is not trusted


def test_a_server_with_a_thousand_grants_does_not_end_the_keeper(
    loop: Loop, guest: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each grant has a connection attempt, and there are fewer descriptors than that."""
    for module in (client_module, held):
        monkeypatch.setattr(module, "MIN_DELAY_S", 0.01)
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
