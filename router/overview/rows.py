# SPDX-License-Identifier: BSD-2-Clause
"""Tables of a moment, for the terminal and for the page: cells are text, and everything in them is safe to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from router.control.milestones import GUEST
from router.display import safe
from router.overview.moment import Event, Moment, Road
from router.overview.sample import Rate, device_rate, network_rate
from router.plan.models import Grant
from router.report.topology import usb_text
from router.usb.actions import why_not
from router.usb.facts import SPEEDS, Device, Port, Snapshot
from router.usb.text import rule_of

NOTHING = "–"
ASKING = "asking the guests"


@dataclass(frozen=True, slots=True)
class Row:
    """One line. key: names what it is about, the same in every moment. bad: a person should look at it."""

    key: str
    cells: tuple[str, ...]
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """numbers: the columns whose cells are numbers. keep: those that are cut last where there is little room.

    empty: what stands there when it has no rows.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[Row, ...]
    empty: str = ""
    numbers: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()


def _row(key: str, *cells: str, bad: bool = False) -> Row:
    return Row(key, tuple(safe(cell) for cell in cells), bad)


def duration(seconds: float) -> str:
    """`42 s`, `3:07` or `26:03:07`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def amount(size: float) -> str:
    """Bytes in four digits: `0`, `812 B`, `1.50 MB`. Decimal units, as those of a line's rate are."""
    if size < 0.5:
        return "0"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"


def per_second(size: float | None) -> str:
    """A rate in bytes; a dash when it is not known."""
    return NOTHING if size is None else amount(size) + ("/s" if size >= 0.5 else "")


def milliseconds(value: float | None) -> str:
    """A time for reading; a dash when it is not known."""
    return NOTHING if value is None else f"{value:.2f} ms" if value < 10 else f"{value:.0f} ms"


def guests(moment: Moment) -> Table:
    """Each guest: what state it is in, for how long, how often it came up again, its network's rates and round trip."""
    rows = []
    for guest in moment.state["guests"]:
        name = guest["name"]
        life, looks = moment.story.lives.get(name), moment.look(name)
        state = life.state if life else "not started"
        silent = bool(looks.trouble) and state == "up"
        uptime = looks.now.uptime if looks.now else moment.seconds - life.since if life and life.since else None
        received, sent = network_rate(looks.before, looks.now) or (None, None)
        restarts = life.restarts if life else 0
        state = f"{state}, but {looks.trouble}" if silent else f"{state}, busy" if looks.busy else state
        rows.append(
            _row(
                name,
                name,
                guest["role"] if guest["role"] != "none" else NOTHING,
                state,
                NOTHING if uptime is None else duration(uptime),
                str(restarts),
                per_second(received),
                per_second(sent),
                milliseconds(min(looks.now.pings.values(), default=None) if looks.now else None),
                bad=silent or restarts > 0 or life is None or life.state != "up",
            )
        )
    head = ("GUEST", "ROLE", "STATE", "UPTIME", "RESTARTS", "IN", "OUT", "PING")
    return Table("Guests", head, tuple(rows), numbers=frozenset({3, 4, 5, 6, 7}))


def device_key(device: Device) -> str:
    """What names a device in every moment."""
    return f"{device.server}/{device.busid}"


def devices(moment: Moment) -> Table:
    """Each device: where it is, who may have it and who has it."""
    seen = moment.usb
    rows = []
    for device in seen.devices if seen else ():
        assert seen is not None
        port = seen.place_of(device)
        held = f"{device.holder}, port {port.number}" if device.holder and port else device.holder
        held = device.held or held
        if held and port and port.device and port.device.uses:
            held += f", in use: {', '.join(port.device.uses)}"
        granted = ", ".join(device.grants)
        # A device that its rule gives to a guest, and that is in none, is what a person wants to see.
        stuck = device.holder is None and bool(device.grants)
        rows.append(
            _row(
                device_key(device),
                _place(seen, device.server, device.busid),
                device.name,
                held or f"no guest: {why_not(seen, device)}",
                f"{granted} by {rule_of(device)}" if granted else NOTHING,
                bad=stuck,
            )
        )
    head = ("BUSID", "DEVICE", "HELD BY", "GRANTED TO")
    return Table("Devices", head, tuple(rows), empty="no device" if seen else ASKING, keep=frozenset({0, 2}))


def _place(seen: Snapshot | None, server: str, busid: str) -> str:
    """Where a device is plugged in; its server is named where there are several."""
    several = seen is None or len(seen.with_role("server")) != 1 or server not in seen.guests
    return f"{server}/{busid}" if several and server else busid


def attached(seen: Snapshot) -> list[tuple[Device | None, Port]]:
    """The ports that have devices, with the device of a server guest that each is, where that is known."""
    found = []
    for ports in seen.ports.values():
        for port in ports:
            there = port.device
            if there is not None:
                found.append((next((one for one in seen.devices if there.is_from(one)), None), port))
    return found


def roads(moment: Moment) -> Table:
    """Each attached device: the way that it takes, what goes over it now, and how long a disk's requests take."""
    rows = []
    for device, port in attached(moment.usb) if moment.usb else ():
        there = port.device
        assert there is not None, "attached gives ports with devices"
        looks = moment.look(port.guest)
        rate = device_rate(looks.before, looks.now, there.local)
        origin = _place(moment.usb, there.server, there.busid) if there.busid else there.server or "elsewhere"
        rows.append(
            _row(
                device_key(device) if device else f"{port.guest} port {port.rhport}",
                f"{origin} → {port.guest} port {port.number}",
                there.name,
                "USB/IP",
                SPEEDS[there.speed] if there.speed < len(SPEEDS) else SPEEDS[0],
                *_rates(rate, disk=looks.now is not None and there.local in looks.now.disks),
            )
        )
    head = ("ROAD", "DEVICE", "BY", "SPEED", "URB/s", "READ", "WRITTEN", "REQUEST")
    empty = "no device is attached" if moment.usb else ASKING
    return Table("Roads", head, tuple(rows), empty, numbers=frozenset({4, 5, 6, 7}), keep=frozenset({0}))


def totals(roads: Sequence[Road]) -> Table:
    """What went over each road while it was there: in all, and at most in a second."""
    rows = []
    for road in roads:
        disk, peak = road.disk, road.peak
        requests = disk.reads + disk.writes if disk else 0
        rows.append(
            _row(
                f"{road.guest}/{road.port}/{road.origin}",
                f"{road.origin} → {road.guest} port {road.port}",
                road.name,
                str(road.urbs),
                f"{peak.urbs:.0f}",
                amount(disk.read_bytes) if disk else NOTHING,
                per_second(peak.read_bytes) if disk else NOTHING,
                amount(disk.written_bytes) if disk else NOTHING,
                per_second(peak.written_bytes) if disk else NOTHING,
                milliseconds(disk.wait_ms / requests if disk and requests else None),
            )
        )
    head = ("ROAD", "DEVICE", "URBs", "MOST URB/s", "READ", "AT MOST", "WRITTEN", "AT MOST", "REQUEST")
    return Table("Roads", head, tuple(rows), empty="no device was attached", numbers=frozenset(range(2, 9)))


def _rates(rate: Rate | None, *, disk: bool) -> tuple[str, str, str, str]:
    urbs = NOTHING if rate is None else f"{rate.urbs:.0f}" if rate.urbs >= 10 or not rate.urbs else f"{rate.urbs:.1f}"
    if rate is None or not disk:
        return urbs, NOTHING, NOTHING, NOTHING
    return urbs, per_second(rate.read_bytes), per_second(rate.written_bytes), milliseconds(rate.wait_ms)


def drops(moment: Moment) -> Table:
    """What the switch has carried and dropped for each guest; docs/reference/vswitch.md has the reasons."""
    rows = []
    before = moment.switch_before or {}
    for name, row in (moment.switch or {}).items():
        port = _counted(row)
        reasons = {str(reason): int(count) for reason, count in port["drops"].items() if count}
        # A Linux that looks for IPv6 routers at its start is no reason to look; drops that go on are.
        more = name in before and sum(reasons.values()) > sum(_counted(before[name])["drops"].values())
        rows.append(
            _row(
                name,
                name,
                amount(port["rx_bytes"]),
                amount(port["tx_bytes"]),
                str(sum(reasons.values())),
                ", ".join(f"{reason} {count}" for reason, count in most_first(reasons)) or NOTHING,
                "does not take frames" if port["blocked"] else "" if port["connected"] else "not connected",
                bad=more or port["blocked"] or not port["connected"],
            )
        )
    inside = moment.state["mode"] != "split"
    empty = (
        "no counters: the switch is a protection domain, and the console does not tell them"
        if inside
        else "it does not answer"
    )
    head = ("FROM GUEST", "IN", "OUT", "DROPPED", "WHY", "NOW")
    return Table("Switch", head, tuple(rows), empty=empty, numbers=frozenset({1, 2, 3}))


def _counted(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """The counters of a guest's device: its vsock device's, where it has one, since the others are zeros then."""
    counters: Mapping[str, Any] = row.get("vsock") or row
    return counters


def most_first(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    """The reasons for drops, the most frequent first."""
    return sorted(reasons.items(), key=lambda item: (-item[1], item[0]))


def policy(moment: Moment) -> Table:
    """Who may have which USB device and who may talk to whom, as the description says it."""
    state = moment.state
    rows = [
        _row(f"usb {n}", "USB", f"{grant.get('source')} → {grant.get('to')}", _grant_text(grant))
        for n, grant in enumerate(state["grants"])
    ]
    rows += [
        _row(f"by hand {device_key(device)}/{name}", "USB", f"{device.server} → {name}", f"{device.busid} by hand")
        for device in (moment.usb.devices if moment.usb else ())
        for name, grant in device.grants.items()
        if grant.at_run_time
    ]
    rows += [
        _row(f"net {n}", "network", f"{rule['from']} → {rule['to']}", _service(rule))
        for n, rule in enumerate(state["rules"])
    ]
    head = ("KIND", "WHO", "WHAT")
    return Table("Who may have what", head, tuple(rows), empty="nothing: no rule allows anything")


def _grant_text(grant: Mapping[str, Any]) -> str:
    try:
        return usb_text(Grant(**grant))
    except (TypeError, ValueError):  # a server of another version has other fields
        return ", ".join(f"{name} {value}" for name, value in grant.items() if value and name not in ("source", "to"))


def _service(rule: Mapping[str, Any]) -> str:
    return rule["protocol"] if rule["port"] is None else f"{rule['protocol']}/{rule['port']}"


def events(happened: Sequence[Event], newest: int | None = None) -> Table:
    """The time line; newest: only so many, the newest first."""
    shown = list(enumerate(happened)) if newest is None else list(enumerate(happened))[-newest:][::-1]
    rows = [
        _row(str(n), f"{event.seconds:.2f} s", event.guest, event.text, bad=event.name in ALARMING)
        for n, event in shown
    ]
    head = ("AT", "GUEST", "WHAT")
    return Table("Time line", head, tuple(rows), empty="nothing has happened", numbers=frozenset({0}))


ALARMING = frozenset(
    {"unset", "stopped", "delayed", "restarting", "down", "panic", "qemu"} | {one.name for one in GUEST if one.warning}
)
"""Events that a person should look at."""
