# SPDX-License-Identifier: BSD-2-Clause
"""Many clients, many devices, many times over: nothing leaks, nothing mixes."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from router.usbip.client.vhci import Vhci
from router.usbip.commands.attach import attach
from router.usbip.protocol import urb
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.support.patience import wait_until
from tests.usbip.fakes import FakeKernel, unused_address
from tests.usbip.remote import Bot, Remote, closed, running
from tests.usbip.world import World, serving


@pytest.mark.parametrize("count", [1000, pytest.param(50_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])])
def test_attachments_leak_nothing(count: int) -> None:
    with serving(Keyboard("x"), Serial()) as world:
        for _ in range(20):
            with Remote(world.address, "90-1") as remote:
                remote.configure()
        before = len(list(Path("/proc/self/fd").iterdir()))
        threads = threading.active_count()
        for number in range(count):
            with Remote(world.address, f"90-{1 + number % 2}") as remote:
                remote.submit(urb.IN, 1, 8)
        assert wait_until(lambda: not any(export.session for export in world.server.exports.values()))
        assert wait_until(lambda: not world.server.conversations)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
        assert threading.active_count() <= threads


def test_a_thousand_attachments_to_virtual_ports_leak_none(
    loop: Loop,
    host: FakeKernel,
    guest: FakeKernel,
    serve: Callable[[str], tuple[Server, Address]],
    tmp_path: Path,
) -> None:
    host.plug("1-1")
    server, address = serve("allow any all")
    vhci = Vhci(guest, str(tmp_path / "state"))
    with running(loop):
        before = len(list(Path("/proc/self/fd").iterdir()))
        threads = threading.active_count()
        for _ in range(1000):
            port = attach(address, "1-1", vhci)
            assert port.number == 1
            # A stub that is done when the server looks: what is waited for otherwise is tested elsewhere.
            host.set_status("1-1", 1)
            vhci.detach(port.rhport)
            host.end_session("1-1")
            assert wait_until(lambda: not server.exports["1-1"].session, interval=0.0005)
        assert wait_until(lambda: not server.conversations)
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
        assert threading.active_count() <= threads
    assert (guest.ports, host.sockets, server.conversations) == ({}, {}, set())


def test_thirty_two_devices_serve_four_clients_at_once() -> None:
    devices = [Serial(str(number)) for number in range(32)]
    wrong: list[str] = []

    def client(world: World, mine: list[str]) -> None:
        try:
            remotes = [Remote(world.address, busid) for busid in mine]
            for remote in remotes:
                remote.configure()
            for number in range(10):
                for remote in remotes:
                    remote.out(2, f"{remote.device.busid} {number}".encode())
                for remote in remotes:
                    if remote.take(2, 100).data != f"{remote.device.busid} {number}".encode():
                        wrong.append(remote.device.busid)
            for remote in remotes:
                remote.sock.close()
        except BaseException as error:
            wrong.append(repr(error))
            raise

    with serving(*devices) as world:
        threads = [threading.Thread(target=client, args=(world, world.busids[n::4])) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_device_unplugged_in_the_middle_of_a_transfer_ends_its_session() -> None:
    with serving(Serial(), Keyboard()) as world, Remote(world.address, "90-1") as remote:
        remote.configure()
        remote.submit(urb.IN, 2, 512)

        def unplug_and_rescan() -> None:
            world.engine.unplug("90-1")
            world.server.rescan()

        world.loop.call_soon(unplug_and_rescan)
        assert closed(remote.sock)
        with Remote(world.address, "90-2") as other:
            other.configure()


def start(policy: Path, disk: Path, address: Address) -> subprocess.Popen[str]:
    """Our server as a process of its own; it listens when this returns."""
    words = ["serve", "--engine", "none", "--virtual", f"disk:{disk}", "--policy", str(policy), "--control", ""]
    server = subprocess.Popen(
        [sys.executable, "-m", "router.usbip", *words, "--listen", str(address)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout
    assert any("exported" in line for line in iter(server.stdout.readline, ""))
    return server


def test_a_server_killed_under_load_loses_nothing_that_a_flush_acknowledged(tmp_path: Path) -> None:
    policy, disk = tmp_path / "policy", tmp_path / "disk"
    policy.write_text("allow any all\n")
    disk.write_bytes(bytes(1 << 20))
    with unused_address() as address:
        acknowledged = three_lives(policy, disk, address)
    content = disk.read_bytes()
    assert len(acknowledged) == 60
    assert all(content[at * 512 : at * 512 + 4096] == data for at, data in acknowledged.items())


def three_lives(policy: Path, disk: Path, address: Address) -> dict[int, bytes]:
    """Writes and flushes on a server that is killed three times; what was acknowledged, by block."""
    acknowledged: dict[int, bytes] = {}
    for life in range(3):
        server = start(policy, disk, address)
        try:
            with Remote(address, "90-1") as remote:
                bot = Bot(remote)
                for at, data in acknowledged.items():
                    assert bot.command(struct.pack(">BBIBHB", 0x28, 0, at, 0, 8, 0), 4096)[2] == data
                for number in range(20):
                    at = life * 320 + number * 16
                    data = bytes([life, number]) * 2048
                    assert bot.command(struct.pack(">BBIBHB", 0x2A, 0, at, 0, 8, 0), data=data)[0] == 0
                    assert bot.command(bytes([0x35] + [0] * 9))[0] == 0
                    acknowledged[at] = data
                # Dies with a write on its way.
                cbw = struct.pack(
                    "<4sIIBBB16s", b"USBC", 999, 4096, 0, 0, 10, struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 8, 0)
                )
                remote.submit(urb.OUT, 2, data=cbw)
                server.kill()
        finally:
            server.kill()
            server.wait()
            if server.stdout:
                server.stdout.close()
    return acknowledged
