"""What trying a device gives: the exercise's outcome, and the row of the table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.device_stand import Attached, Stand
from router.errors import MachineError

WORKS, ISSUES, FAILS, UNTRIED = "works", "works with issues", "does not", "not tried"
ENGINES = ("kernel", "usbfs")


@dataclass(frozen=True)
class Outcome:
    """What an exercise did with a device that is there, checked. What did not go at all is a MachineError instead.

    issues: what went wrong although the device is usable; refused: why the device is not to be had, by design.
    cases: parts with results of their own: by name, what each way of running them gave.
    """

    done: str
    issues: tuple[str, ...] = ()
    refused: str = ""
    cases: dict[str, dict[str, str]] = field(default_factory=dict)


class NotTried(MachineError):
    """The device cannot be made here, which says nothing about USB/IP."""


@dataclass(frozen=True)
class Device:
    """A device of the table. modules: of the server's kernel, without which it cannot be made."""

    name: str
    what: str
    exercise: Callable[[Stand], Outcome]
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A device tried with one engine. speed in Mbit/s as sysfs has it; drivers of its interfaces in the client."""

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
    """The row. outcome: what the exercise gave, or why it failed; trouble: what went wrong afterwards, or ""."""
    drivers = tuple(dict.fromkeys(name for name in seen.drivers.values() if name)) if seen else ()
    facts = (seen.speed, seen.transfers, drivers) if seen else ("", (), ())
    if isinstance(outcome, str):
        return Trial(device.name, device.what, engine, FAILS, outcome, "", *facts, took)
    issues = (*outcome.issues, *([trouble] if trouble else []))
    verdict = FAILS if outcome.refused else ISSUES if issues else WORKS
    reason = outcome.refused or "; ".join(issues)
    return Trial(device.name, device.what, engine, verdict, reason, outcome.done, *facts, took, outcome.cases)
