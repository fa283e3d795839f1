# SPDX-License-Identifier: BSD-2-Clause
"""`router bench devices` for a few of its devices: real guests, both engines, and the table that comes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.devices.catalogue import MADE, STREAMS
from bench.devices.models import ENGINES, ISSUES, WORKS, Trial
from bench.devices.run import choose, run_devices
from bench.devices.table import render
from bench.devices.usbtest import NATIVE
from bench.usbredir.devices.mouse import Mouse
from bench.usbredir.plug import Plug
from router.testing import Router, Setup
from tests.support.end_to_end import set_up

NAMES = ("usb-kbd", "usb-storage", "usb-serial", "gadget zero")
SOUND = ("made microphone", "made headset")
"""A transfer each millisecond is more than emulated guests keep up with (see the table). What comes must be right."""
LONG = (*SOUND, "made camera beside a disk", "made source and sink")
"""They take longer than `make test` has time for."""
QUICK = tuple(device.name for device in MADE if device.name not in LONG)
BUSY = 1.0
"""Load for each CPU, before the test begins, at which this computer has other work too."""
BUSY_WITH_OURS = 2.5
"""The same while the test's two guests run."""


@pytest.mark.timeout(1800)
def test_devices_of_each_kind_work_over_the_route_with_both_engines() -> None:
    steps: list[str] = []
    busy = load() > BUSY
    trials, conditions = run_devices(choose((*NAMES, *QUICK)), ENGINES, steps.append, lambda trial: None)
    seen = {(trial.device, trial.engine): trial for trial in trials}
    assert set(seen) == {(name, engine) for name in (*NAMES, *QUICK) for engine in ENGINES}
    bad = [trial for trial in trials if not is_good(trial, busy or load() > BUSY_WITH_OURS)]
    assert not bad, "\n".join([*map(str, bad), *steps])
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


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_made_devices_work_many_times_over_in_one_boot() -> None:
    names = [device.name for device in MADE]
    steps: list[str] = []
    busy = load() > BUSY
    devices = tuple(device for _ in range(5) for device in choose(names))
    trials, _ = run_devices(devices, ENGINES, steps.append, lambda trial: None)
    assert len(trials) == 10 * len(names)
    bad = [trial for trial in trials if not is_good(trial, busy or load() > BUSY_WITH_OURS)]
    assert not bad, "\n".join([*map(str, bad), *steps])


def load() -> float:
    """Of the last minute, for each CPU."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


def is_good(trial: Trial, busy: bool) -> bool:
    """A stream may have gaps on a busy computer. What arrives must be right even there, or the verdict is another."""
    too_late = trial.verdict == ISSUES and (trial.device in SOUND or (busy and trial.device in STREAMS))
    return trial.verdict == WORKS or too_late or only_natively(trial)


def only_natively(trial: Trial) -> bool:
    """Whether what is not well is a few cases of usbtest."""
    return trial.verdict == ISSUES and bool(trial.cases) and any(case[NATIVE] == "ok" for case in trial.cases.values())
