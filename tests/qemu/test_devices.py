# SPDX-License-Identifier: BSD-2-Clause
"""`router bench devices` for a few of its devices: real guests, both engines, and the table that comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.devices.table import render
from bench.usbredir.devices.mouse import Mouse
from bench.usbredir.plug import Plug
from router.testing import Router, Setup
from tests.qemu.trials import QUICK, work
from tests.support.end_to_end import set_up

NAMES = ("usb-kbd", "usb-storage", "usb-serial", "gadget zero")


@pytest.mark.timeout(1800)
def test_devices_of_each_kind_work_over_the_route_with_both_engines() -> None:
    trials, conditions = work((*NAMES, *QUICK))
    text = render(trials, conditions)
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert [row.split("**")[1] for row in rows] == [*NAMES, *QUICK]
    assert rows[0].startswith("| **usb-kbd** keyboard | high | control, interrupt | usbhid | 4 keys")
    assert rows[1].startswith("| **usb-storage** disk, bulk-only | super | control, bulk | usb-storage | read 12 MiB")
    assert rows[2].startswith("| **usb-serial** serial adapter (FTDI) | full | control, bulk | ftdi_sio | 4096 random")
    assert "| 1 bulk out | ok | ok | ok |" in text


REDIR = """
system: redir
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
usb:
  - {path: 1-1, to: client}
"""


@pytest.fixture(scope="module")
def program(shared_place: str) -> Iterator[Plug]:
    """A mouse that is a program."""
    with Plug(Path(shared_place) / "mouse", Mouse()) as plug:
        yield plug


@pytest.fixture(scope="module")
def router_setup(program: Plug, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return set_up(tmp_path_factory.mktemp("redir"), REDIR, 0, f"redir:{program.path}", on="split")


def test_a_program_is_a_device_from_the_start_of_a_run(router: Router, program: Plug) -> None:
    # A rule that names the port is enough to know that the client is to have it.
    assert "client attached" in router.milestones()
    client = router.guest("client")
    client.wait_for("grep 'Low-speed mouse' /proc/bus/input/devices")
    client.run("timeout 60 dd if=/dev/input/event0 bs=24 count=10 of=/tmp/events")
    assert isinstance(program.device, Mouse) and program.device.moves > 3
    assert program.trouble == []
