# SPDX-License-Identifier: BSD-2-Clause
"""A system at one time, as the live view sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.overview.moment import Event, Looks, Moment, Story
from router.overview.sample import Sample, Traffic
from router.usb.facts import Attached, Device, Grant, Guest, Port, Snapshot

STATE: dict[str, Any] = {
    "system": "desk",
    "mode": "split",
    "seconds": 100.0,
    "guests": [
        {"name": name, "role": role, "address": address, "usb": {"version": 3, "ports": 8}, "up": True}
        for name, role, address in (("server", "server", "10.77.0.2"), ("client", "client", "10.77.0.3"))
    ],
    "grants": [{"source": "server", "to": "client", "vendor": None, "product": None, "device_class": 8, "port": 1}],
    "rules": [
        {"from": "client", "to": "server", "protocol": "tcp", "port": 3240},
        {"from": "client", "to": "server", "protocol": "icmp", "port": None},
    ],
}
RULE = Grant(1, "allow 10.77.0.3 class mass-storage port 1")
DISK = Device(
    "server",
    "2-1",
    2,
    2,
    "46f4:0001",
    "QEMU",
    "USB HARDDRIVE",
    "",
    5,
    (0, 0, 0),
    (),
    True,
    "client",
    {"client": RULE},
    (),
)
MOUSE = replace(DISK, busid="1-3", busnum=1, devnum=3, product="USB Mouse", speed=3, holder=None, grants={})
ON_PORT = Attached("server", "2-1", 2, 2, 0x46F4, 1, "QEMU USB HARDDRIVE", 5, "2-1", ("usb-storage",))
PORT = Port("client", 1, "ss", 0, 1, 15, "used", ON_PORT)
FREE = Port("client", 2, "hs", 0, 2, 1, "free", None)
BEFORE = Sample(40.0, {"2-1": 100}, {"2-1": Traffic(10, 1000, 5, 500, 20)}, 1_000, 2_000, {"10.77.0.2": 0.4})
NOW = Sample(42.0, {"2-1": 300}, {"2-1": Traffic(30, 3_001_000, 5, 500, 60)}, 9_000, 2_000, {"10.77.0.2": 0.25})


def snapshot(*devices: Device, ports: tuple[Port, ...] = (PORT, FREE)) -> Snapshot:
    """What `router usb` would see."""
    guests = {row["name"]: Guest(row["name"], row["role"], row["address"], 3, 8, row["up"]) for row in STATE["guests"]}
    reaches = frozenset({("client", "server")})
    return Snapshot("desk", guests, reaches, devices or (DISK, MOUSE), {"client": ports})


def story(*events: tuple[float, str, str, str]) -> Story:
    """The story of these events."""
    told = Story()
    for event in events:
        told = told.after(Event(*event))
    return told


UP = story((5.0, "server", "userspace", "user space up"), (6.0, "client", "userspace", "user space up"))
PORT_COUNTERS: dict[str, Any] = {"connected": True, "blocked": False, "rx_bytes": 1500, "tx_bytes": 0, "drops": {}}


def moment(**changes: Any) -> Moment:
    """Two guests that are up, a disk that the client reads, a mouse that no rule gives away."""
    whole = Moment(
        seconds=100.0,
        state=STATE,
        story=UP,
        usb=snapshot(),
        looks={"client": Looks(BEFORE, NOW), "server": Looks(None, replace(NOW, urbs={}, disks={}, pings={}))},
        switch={"server": PORT_COUNTERS, "client": {**PORT_COUNTERS, "drops": {"ipv6": 3, "source-mac": 7}}},
    )
    return replace(whole, **changes)
