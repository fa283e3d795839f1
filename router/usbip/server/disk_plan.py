# SPDX-License-Identifier: BSD-2-Clause
"""Which disk, or which part of one, goes to which client as blocks: decided from policy, devices and their units."""

from __future__ import annotations

from collections.abc import Callable

from router.usbip.policy.rules import Policy, Rule
from router.usbip.protocol.classes import CODES
from router.usbip.protocol.device import Device
from router.usbip.protocol.disks import Disk, disk_name, disk_of, nguid_of, part_name, place_of, uuid_of
from router.usbip.server.disk_units import TYPE_DISK, TYPE_OPTICAL, Part, Unit
from router.usbip.server.nvmet import Namespace

SECTOR = 512
PREPARE = "router disk prepare"


class Wanted:
    """A disk that is to be at a client's port under a name."""

    __slots__ = ("client", "disk", "name", "tcp")

    def __init__(self, disk: Disk, client: str, tcp: int, name: str) -> None:
        self.disk = disk
        self.client = client
        self.tcp = tcp
        self.name = name

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for the same disk in the same plug: another one, another medium or a second plugging in differ."""
        disk = self.disk
        plug = disk.device.busid, disk.device.devid, disk.lun, disk.block, disk.medium
        return self.client, self.tcp, self.name, *plug, disk.digest()

    def namespace(self, nsid: int) -> Namespace:
        digest = self.disk.digest()
        nguid = nguid_of(digest, place_of(self.disk, self.name))
        return Namespace(nsid, f"/dev/{self.disk.block}", uuid_of(digest), nguid)

    @property
    def called(self) -> str:
        return disk_name(self.disk, self.name)


class Plan:
    """What is to be exported.

    refused: (what, why) of disks that are not. missing: the same of parts that are not on a disk, or not yet, as the
    kernel shows a disk before it has read its partition table. pending: drivers are at it still.
    """

    __slots__ = ("missing", "pending", "refused", "wanted")

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self.refused: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.pending = False


Fit = list[tuple[str, "Wanted"]]
"""What could be exported, each with how messages call it."""


def plan(
    devices: list[Device],
    units: dict[str, list[Unit]],
    policy: Policy,
    exported: Callable[[Wanted], bool] = lambda one: False,
) -> Plan:
    """What of these devices goes where. units: by busid. exported: whether a client has that disk already. Pure."""
    planned = Plan()
    fit: Fit = []
    shared: list[tuple[str, Device, list[Rule]]] = []
    for device in devices:
        whole = [one.rule for one in policy.blocks(device) if one.rule]
        parts = [one.rule for one in policy.parts(device) if one.rule]
        if not whole and not parts:
            continue
        where = f"{device.busid} {device.vidpid}"
        if whole and parts:
            planned.refused[where] = "rules give it to a client as a whole and parts of it to others"
        elif len(whole) > 1:
            planned.refused[where] = f"{len(whole)} clients may have it; a disk goes to one"
        elif CODES["mass-storage"] not in {triple[0] for triple in device.interfaces}:
            planned.refused[where] = "is not a disk; write as: usb for it"
        elif not units.get(device.busid):
            planned.pending = True
        elif usable := _usable(planned, where, units[device.busid]):
            if parts:
                _fit_parts(planned, fit, device, usable, parts)
                shared.append((where, device, parts))
            for unit in usable if whole else ():
                disk = Disk(device, unit.lun, unit.block, unit.sectors, unit.medium, wwid=unit.wwid)
                fit.append((_called(where, unit), Wanted(disk, whole[0].client, whole[0].tcp, whole[0].name)))
    # A disk in use keeps its name, whatever is plugged in later at a port before it.
    fit.sort(key=lambda named: not exported(named[1]))
    _refuse_twins(planned, fit, exported)
    _name(planned, fit)
    _say_missing(planned, fit, shared)
    return planned


def _called(where: str, unit: Unit) -> str:
    return f"{where} unit {unit.lun}" if unit.lun else where


def _usable(planned: Plan, where: str, units: list[Unit]) -> list[Unit]:
    """The units that can be exported; why the others cannot is noted."""
    found = []
    for unit in units:
        if unit.kind == TYPE_DISK and not unit.block:
            # Its driver has not asked it for its size yet.
            planned.pending = True
        elif why := _unfit(unit):
            planned.refused[_called(where, unit)] = why
        else:
            found.append(unit)
    return found


def _fit_parts(planned: Plan, fit: Fit, device: Device, units: list[Unit], rules: list[Rule]) -> None:
    """The parts of a disk that rules give away, where they are there and as the rules have them."""
    names = {part_name(rule.name, rule.owner) for rule in rules}
    for rule in rules:
        what = f"{device.busid} {device.vidpid} part {rule.name}"
        name = part_name(rule.name, rule.owner)
        there = [(unit, part) for unit in units for part in unit.parts if part.name == name]
        if not there and any(disk_of(part.name) == rule.name for unit in units for part in unit.parts):
            planned.refused[what] = f"is not marked as this client's: see {PREPARE}"
        if len(there) > 1:
            planned.refused[what] = "is on it more than once"
        for unit, part in there if len(there) == 1 else ():
            shared = [one.name for one in unit.parts if one is not part and one.name in names and one.overlaps(part)]
            if why := _unfit_part(part, rule) or (shared and _shares(shared)):
                planned.refused[what] = why
            else:
                disk = Disk(
                    device, 0, part.block, part.sectors, unit.medium, part.name, part.start, unit.block, unit.wwid
                )
                fit.append((what, Wanted(disk, rule.client, rule.tcp, rule.name)))


def _unfit_part(part: Part, rule: Rule) -> str | None:
    if part.read_only:
        return "is write-protected, which cannot be kept up as blocks"
    if part.sectors * SECTOR != rule.size:
        return f"has {part.sectors * SECTOR} bytes, and its rule says {rule.size}: see {PREPARE}"
    return None


def _shares(names: list[str]) -> str:
    return f"has blocks in common with the part {', '.join(disk_of(name) for name in names)}: see {PREPARE}"


def _refuse_twins(planned: Plan, fit: Fit, exported: Callable[[Wanted], bool]) -> None:
    """A part that two disks have: which one is meant is not guessed. One that is in use stays."""
    places: dict[tuple[int, str], Fit] = {}
    for one, wanted in fit:
        if wanted.disk.part:
            places.setdefault((wanted.tcp, wanted.name), []).append((one, wanted))
    for same in places.values():
        kept = [wanted for _, wanted in same if exported(wanted)]
        if len(same) == 1 or kept:
            continue
        for named in same:
            others = " and ".join(wanted.disk.device.busid for one, wanted in same if one != named[0])
            planned.refused[named[0]] = f"is also on {others}; unplug one, or write path or serial in its 'on'"
            fit.remove(named)


def _name(planned: Plan, fit: Fit) -> None:
    """Each name goes to the first that would have it."""
    taken: dict[tuple[int, str], tuple[str, Disk]] = {}
    for one, wanted in fit:
        first, disk = taken.setdefault((wanted.tcp, wanted.called), (one, wanted.disk))
        if disk is wanted.disk:
            planned.wanted.append(wanted)
        elif first == one:
            # Two interfaces for mass storage count their units each for itself.
            planned.refused[f"{one} {wanted.disk.block}"] = (
                f"has the number of {disk.block}; only one of them is served"
            )
        else:
            planned.refused[one] = (
                f"the name {wanted.called} is taken by {first}; write a rule with path or serial for each"
            )


def _say_missing(planned: Plan, fit: Fit, shared: list[tuple[str, Device, list[Rule]]]) -> None:
    """Parts that a disk should have and has not. What another disk has is not missed."""
    there = {wanted.name for _, wanted in fit if wanted.disk.part}
    for where, _, rules in shared:
        absent = [
            rule.name for rule in rules if rule.name not in there and f"{where} part {rule.name}" not in planned.refused
        ]
        if absent:
            planned.missing[where] = f"has no partition {', '.join(absent)}: {PREPARE} makes it"


def _unfit(unit: Unit) -> str | None:
    """Why a logical unit is not exported."""
    if unit.kind == TYPE_OPTICAL:
        return "is an optical drive; write as: usb for it"
    if unit.kind != TYPE_DISK:
        return f"is not a disk but a SCSI device of type {unit.kind}; write as: usb for it"
    if not unit.sectors:
        return "has no medium in it"
    if unit.read_only:
        # nvmet's own write protection is a feature that any client can switch off.
        return "is write-protected, which cannot be kept up as blocks; write as: usb for it"
    return None
