# SPDX-License-Identifier: BSD-2-Clause
"""What is kept of a run for its page, while it runs: rates over time, and what went over each road in all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace

from router.overview.moment import Moment, Road
from router.overview.rows import attached
from router.overview.sample import Rate, device_rate, network_rate
from router.usb.facts import Port

MAX_POINTS = 720
"""Of the rates over time; then two and two become one, however long the run is."""


@dataclass(frozen=True, slots=True)
class Point:
    """What each guest sent from the point before to this one, in bytes in each second. seconds: since the start."""

    seconds: float
    sent: Mapping[str, float]


MAX_ROADS = 500
"""A guest can claim a new device at each look: further ones are not kept."""


class Record:
    """Grows with every moment of a run; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: Moment | None = None
        self._step = 1
        """How many looks become one point."""
        self._looks = 0
        self._named: set[tuple[str, str]] = set()
        """Devices that a road was of, by guest and name there."""
        self._early: dict[tuple[str, str], Rate] = {}
        """Peaks of others, which were counted before the guest said what they are: it may run a long command first."""
        self.points: list[Point] = []
        self.roads: dict[tuple[str, int, str], Road] = {}

    @property
    def last(self) -> Moment | None:
        """What was seen last."""
        return self._before

    def add(self, moment: Moment) -> None:
        """Take what a moment tells."""
        with self._lock:
            before, self._before = self._before, moment
            sent = rates(before, moment)
            if sent:
                self._point(Point(moment.seconds, sent))
            for _, port in attached(moment.usb) if moment.usb else ():
                self._road(moment, port)
            self._note_early(moment)

    def _point(self, point: Point) -> None:
        self._looks += 1
        if self._looks % self._step and self.points:
            # The larger of both, so that a short burst stays visible in a long run.
            self.points[-1] = Point(point.seconds, larger(self.points[-1].sent, point.sent))
        else:
            self.points.append(point)
        if len(self.points) > MAX_POINTS:
            pairs = zip(self.points[::2], self.points[1::2], strict=False)
            odd = self.points[-1:] if len(self.points) % 2 else []
            self.points = [Point(two.seconds, larger(one.sent, two.sent)) for one, two in pairs] + odd
            self._step *= 2

    def _road(self, moment: Moment, port: Port) -> None:
        there = port.device
        assert there is not None, "attached gives ports with devices"
        looks = moment.look(port.guest)
        key = (port.guest, port.rhport, f"{there.server}/{there.busid}")
        if key not in self.roads and len(self.roads) >= MAX_ROADS:
            return
        road = self.roads.get(key)
        if road is None:
            self._named.add((port.guest, there.local))
            early = self._early.pop((port.guest, there.local), Rate(0.0))
            road = Road(port.guest, port.number, key[2], there.name, peak=early)
        rate = device_rate(looks.before, looks.now, there.local)
        if looks.now is not None and there.local in looks.now.urbs:
            road = replace(road, urbs=looks.now.urbs[there.local], disk=looks.now.disks.get(there.local, road.disk))
        if rate is not None:
            road = replace(road, peak=peak(road.peak, rate))
        self.roads[key] = road

    def _note_early(self, moment: Moment) -> None:
        for guest, looks in moment.looks.items():
            for local in looks.now.urbs if looks.now else ():
                key, rate = (guest, local), device_rate(looks.before, looks.now, local)
                room = key in self._early or len(self._early) < MAX_ROADS
                if rate is not None and room and key not in self._named:
                    self._early[key] = peak(self._early.get(key, rate), rate)


def peak(one: Rate, two: Rate) -> Rate:
    """The larger of both in each way."""
    return Rate(
        max(one.urbs, two.urbs),
        max(one.read_bytes, two.read_bytes),
        max(one.written_bytes, two.written_bytes),
    )


def larger(one: Mapping[str, float], two: Mapping[str, float]) -> dict[str, float]:
    """The larger rate of each guest."""
    return {name: max(one.get(name, 0.0), two.get(name, 0.0)) for name in {**one, **two}}


def rates(before: Moment | None, now: Moment) -> dict[str, float]:
    """What each guest sends, in bytes in each second: as the switch counts it, or else as the guests do."""
    if now.switch:
        seconds = now.seconds - before.seconds if before is not None else 0.0
        if before is None or not before.switch or seconds <= 0:
            return {}
        return {
            name: max(0, port["rx_bytes"] - before.switch[name]["rx_bytes"]) / seconds
            for name, port in now.switch.items()
            if name in before.switch
        }
    found = {}
    for name, looks in now.looks.items():
        rate = network_rate(looks.before, looks.now)
        if rate is not None:
            found[name] = rate[1]
    return found
