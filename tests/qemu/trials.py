# SPDX-License-Identifier: BSD-2-Clause
"""Trials of `router bench devices`, and which verdicts are good enough."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench.devices.catalogue import MADE, STREAMS
from bench.devices.models import ENGINES, ISSUES, WORKS, Device, Trial
from bench.devices.run import choose, run_devices
from bench.devices.usbtest import NATIVE

SOUND = ("made microphone", "made headset")
"""A transfer each millisecond is more than emulated guests keep up with (see the table). What comes must be right."""
LONG = (*SOUND, "made camera beside a disk", "made source and sink")
"""They take longer than `make test` has time for."""
QUICK = tuple(device.name for device in MADE if device.name not in (*LONG, *STREAMS))
"""The other made devices whose data wait until the guests are ready."""
BUSY = 1.0
"""Load for each CPU, before the test begins, at which this computer has other work too."""
BUSY_WITH_OURS = 2.5
"""The same while the test's two guests run."""


def work(names: Sequence[str], times: int = 1) -> tuple[list[Trial], tuple[str, ...]]:
    """Try these devices so many times with both engines: the trials, which must all be good, and the conditions."""
    steps: list[str] = []
    busy = load() > BUSY
    devices: tuple[Device, ...] = times * choose(names)
    trials, conditions = run_devices(devices, ENGINES, steps.append, lambda trial: None)
    tried = [(trial.device, trial.engine) for trial in trials]
    assert sorted(tried) == sorted((name, engine) for name in names for engine in ENGINES for _ in range(times))
    bad = [trial for trial in trials if not is_good(trial, busy or load() > BUSY_WITH_OURS)]
    assert not bad, "\n".join([*map(str, bad), *steps])
    return trials, conditions


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
