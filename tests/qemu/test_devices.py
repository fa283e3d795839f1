# SPDX-License-Identifier: BSD-2-Clause
"""`router bench devices` for a few of its devices: real guests, both engines, and the table that comes of it."""

from __future__ import annotations

from bench.devices.models import ENGINES, ISSUES, WORKS, Trial
from bench.devices.run import choose, run_devices
from bench.devices.table import render
from bench.devices.usbtest import NATIVE

NAMES = ("usb-kbd", "usb-storage", "usb-serial", "gadget zero")


def test_devices_of_each_kind_work_over_the_route_with_both_engines() -> None:
    steps: list[str] = []
    trials, conditions = run_devices(choose(NAMES), ENGINES, steps.append, lambda trial: None)
    seen = {(trial.device, trial.engine): trial for trial in trials}
    assert set(seen) == {(name, engine) for name in NAMES for engine in ENGINES}
    bad = [trial for trial in trials if trial.verdict != WORKS and not only_natively(trial)]
    assert not bad, "\n".join([*map(str, bad), *steps])
    text = render(trials, conditions)
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert [row.split("**")[1] for row in rows] == list(NAMES)
    assert rows[0].startswith("| **usb-kbd** keyboard | high | control, interrupt | usbhid | 4 keys")
    assert rows[1].startswith("| **usb-storage** disk, bulk-only | super | control, bulk | usb-storage | read 12 MiB")
    assert rows[2].startswith("| **usb-serial** serial adapter (FTDI) | full | control, bulk | ftdi_sio | 4096 random")
    assert "| 1 bulk out | ok | ok | ok |" in text


def only_natively(trial: Trial) -> bool:
    """Whether what is not well is a few cases of usbtest."""
    return trial.verdict == ISSUES and bool(trial.cases) and any(case[NATIVE] == "ok" for case in trial.cases.values())
