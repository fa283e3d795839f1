# SPDX-License-Identifier: BSD-2-Clause
"""Everything that was seen of a running system at one time, and what its events say of each guest's life."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from router.control.system import BUSY
from router.overview.sample import Rate, Sample, Traffic
from router.usb.facts import Snapshot

MAX_EVENTS = 200
"""The last ones, for showing them."""

_STATES = {
    "loading": "is loaded",
    "started": "boots",
    "kernel": "boots",
    "userspace": "up",
    "unset": "has no settings",
    "panic": "kernel panic",
    "restarting": "restarts",
}
"""A guest's state after these milestones (router.control.milestones)."""
_IN_ITS_WORDS = frozenset({"stopped", "delayed", "down"})
"""Those whose text is the state."""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the time line."""

    seconds: float
    guest: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Life:
    """How a guest has fared. ups: how often its user space came up; since: when that was last."""

    state: str = "not started"
    ups: int = 0
    since: float | None = None

    @property
    def restarts(self) -> int:
        """How often it has come up again."""
        return max(0, self.ups - 1)

    def after(self, event: Event) -> Life:
        """What it is once that has happened."""
        if event.name == "userspace":
            return Life("up", self.ups + 1, event.seconds)
        if event.name in _IN_ITS_WORDS:
            return replace(self, state=event.text, since=None)
        if event.name in _STATES:
            return replace(self, state=_STATES[event.name], since=None)
        return self


@dataclass(frozen=True, slots=True)
class Story:
    """What has happened: each guest's life, how many events there were, and the last of them.

    guests: those that have a life; None: all that events name.
    """

    guests: frozenset[str] | None = None
    lives: Mapping[str, Life] = field(default_factory=dict)
    count: int = 0
    last: tuple[Event, ...] = ()

    def after(self, event: Event) -> Story:
        """The story with one event more."""
        lives = self.lives
        if self.guests is None or event.guest in self.guests:
            lives = {**lives, event.guest: lives.get(event.guest, Life()).after(event)}
        return Story(self.guests, lives, self.count + 1, (*self.last, event)[-MAX_EVENTS:])


@dataclass(frozen=True, slots=True)
class Looks:
    """The last two looks into a guest, and why the last try failed, if it did."""

    before: Sample | None = None
    now: Sample | None = None
    trouble: str = ""
    busy: bool = False
    """It runs another command, so that it could not be asked: the next look tells what happened since `now`."""

    def then(self, sample: Sample) -> Looks:
        """After one more."""
        return Looks(self.now, sample)

    def failed(self, why: str) -> Looks:
        """After one that gave nothing: what was seen before says nothing of now."""
        return replace(self, before=None, busy=True) if BUSY in why else Looks(trouble=why)


@dataclass(frozen=True, slots=True)
class Road:
    """What went from a device to a guest while it was attached. peak: the most of each that one look has seen."""

    guest: str
    port: int
    origin: str
    name: str
    urbs: int = 0
    disk: Traffic | None = None
    peak: Rate = field(default_factory=lambda: Rate(0.0))


Switch = Mapping[str, Mapping[str, Any]]
"""The switch's counters by guest: the fields of `router.vswitch.PortCounters`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A system as it was seen. seconds: since it started. state: the answer to `state` (docs/reference/control.md).

    usb: None until the guests were asked. switch: None where the counters cannot be read.
    """

    seconds: float
    state: Mapping[str, Any]
    story: Story = field(default_factory=Story)
    usb: Snapshot | None = None
    looks: Mapping[str, Looks] = field(default_factory=dict)
    switch: Switch | None = None
    switch_before: Switch | None = None
    """The counters of the look before."""
    trouble: str = ""
    """Why the system itself does not answer any more."""

    def look(self, guest: str) -> Looks:
        """The looks into a guest."""
        return self.looks.get(guest, Looks())
