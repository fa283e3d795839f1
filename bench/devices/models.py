# SPDX-License-Identifier: BSD-2-Clause
"""The result of trying a device: the exercise's outcome, and the row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.devices.rig import Attached, Rig
from router.errors import MachineError

WORKS, ISSUES, FAILS, UNTRIED = "works", "works with issues", "does not work", "not tried"
ENGINES = ("kernel", "usbfs")


@dataclass(frozen=True)
class Outcome:
    """What an exercise did with a usable device, and checked. When nothing works it raises MachineError instead.

    issues: what went wrong although the device is usable; refused: why the device is not exported, by design.
    cases: results of parts, by name and by the way in which they were run.
    """

    done: str
    issues: tuple[str, ...] = ()
    refused: str = ""
    cases: dict[str, dict[str, str]] = field(default_factory=dict)


def expect(seen: object, wanted: object, what: str) -> None:
    """MachineError when what arrived is not what was sent."""
    if seen != wanted:
        raise MachineError(f"{what}: {str(seen)[:150]} arrived instead of {str(wanted)[:150]}")


class NotTried(MachineError):
    """The device cannot be made here; this says nothing about USB/IP."""


@dataclass(frozen=True)
class Device:
    """A device of the table. modules: kernel modules that the server needs to make it."""

    name: str
    what: str
    exercise: Callable[[Rig], Outcome]
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A device tried with one engine. speed: Mbit/s, as in sysfs; drivers: of its interfaces in the client."""

    device: str
    what: str
    engine: str
    verdict: str
    reason: str = ""
    done: str = ""
    speed: str = ""
    transfers: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    seconds: float = 0.0
    cases: dict[str, dict[str, str]] = field(default_factory=dict)


def trial(
    device: Device, engine: str, seen: Attached | None, outcome: Outcome | str, trouble: str, took: float
) -> Trial:
    """The row. outcome: of the exercise, or why it failed; trouble: what went wrong at unplugging, or ""."""
    drivers = tuple(dict.fromkeys(name for name in seen.drivers.values() if name)) if seen else ()
    facts = (seen.speed, seen.transfers, drivers) if seen else ("", (), ())
    if isinstance(outcome, str):
        return Trial(device.name, device.what, engine, FAILS, outcome, "", *facts, took)
    issues = (*outcome.issues, *([trouble] if trouble else []))
    verdict = FAILS if outcome.refused else ISSUES if issues else WORKS
    reason = outcome.refused or "; ".join(issues)
    return Trial(device.name, device.what, engine, verdict, reason, outcome.done, *facts, took, outcome.cases)
