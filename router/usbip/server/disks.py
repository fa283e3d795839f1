# SPDX-License-Identifier: BSD-2-Clause
"""Exports the disks that the policy grants as blocks, each at its client's own TCP port, and follows plugging.

The kernel moves all data: usb-storage or uas has the disk, nvmet-tcp exports it. What is to be where is planned by
`disk_plan`, without effects; `DiskServer` brings the kernel's target in line with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from router.usbip.policy.rules import Policy
from router.usbip.protocol.device import Device
from router.usbip.runtime.log import log, milestone
from router.usbip.runtime.sysfs import Sysfs, find_devices
from router.usbip.runtime.text import error_text
from router.usbip.server.disk_plan import Plan, Wanted, plan
from router.usbip.server.disk_units import Unit, read_units
from router.usbip.server.lanes import LOOKING_LANE
from router.usbip.server.nvmet import Nvmet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.server.lanes import Lanes

# A client that reconnects takes what is missing then for gone: its port opens once nothing has been plugged in for a
# while, or at the latest after the second time.
SETTLE_S, MAX_SETTLE_S = 1.5, 10.0
MAX_OPENING_S = 60.0
"""How long a client's port waits for a disk that the kernel takes long to open."""
LOOK_INTERVAL_S = 1.0
CUT_TIMEOUT_S = 5.0
"""A disk leaves its client once all that the client has asked for has ended. One that keeps a request open, such as a
write whose data it does not send, loses its connections after so long: its other disks wait until it has new ones."""
# Numbers of namespaces: the first of a disk follows from the disk, and none is used twice for what is plugged in anew.
MAX_NSID = 1024


class DiskServer:
    """Keeps the kernel's target as the policy and the devices are."""

    def __init__(self, sysfs: Sysfs, target: Nvmet, policy: Policy, lanes: Lanes) -> None:
        self._sysfs = sysfs
        self._target = target
        self._lanes = lanes
        self._policy = policy
        self._known: dict[str, Device] = {}
        self._exported: dict[tuple[object, ...], tuple[Wanted, int]] = {}
        """By `Wanted.key`, with the namespace's number."""
        self._exporting: dict[tuple[object, ...], Wanted] = {}
        """What the kernel is just opening."""
        self._leaving: dict[tuple[object, ...], float] = {}
        """What the kernel is just taking from its client, since when; it is in `_exported` until then."""
        self._cut: set[tuple[object, ...]] = set()
        """Of these, what its client has lost its connections for."""
        self._used: dict[int, set[int]] = {}
        """The numbers that a port's namespaces have had."""
        self._said: dict[str, str] = {}
        self._missed: dict[str, float] = {}
        """Disks without the parts that they should have, with the time at which that was seen first."""
        self._asked: dict[str, str] = {}
        """Block devices without a medium that were opened, with the kernel's number of what was in them then."""
        self._complained: dict[str, str] = {}
        """What failed at the last try, and why: the next one is a second later."""
        self._begun = self._news = time.monotonic()

    def ports(self) -> list[int]:
        """The TCP ports that the policy names."""
        return sorted({rule.tcp for rule in self._policy.rules if rule.tcp})

    def start(self) -> None:
        """Makes the clients' subsystems, and takes over what an earlier run has exported. OSError: the kernel's."""
        for tcp in self.ports():
            self._target.prepare(tcp)
        there = {tcp: self._target.namespaces(tcp) for tcp in self.ports()}
        planned = self._plan(lambda one: any(one.namespace(was.nsid).is_same(was) for was in there[one.tcp]))
        for tcp, namespaces in there.items():
            for was in namespaces:
                self._used.setdefault(tcp, set()).add(was.nsid)
                same = [one for one in planned.wanted if one.tcp == tcp and one.namespace(was.nsid).is_same(was)]
                if same and same[0].key not in self._exported:
                    self._exported[same[0].key] = (same[0], was.nsid)
                else:
                    self._target.remove(tcp, was.nsid)
        self.look()

    def set_policy(self, policy: Policy) -> None:
        """A new policy: its rules are in force at once. Ports of clients that it names for the first time are made,
        and those of clients that it does not name are closed. OSError: the kernel's."""
        self._policy = policy
        for tcp in self.ports():
            self._target.prepare(tcp)
        self.look()

    def _close(self) -> bool:
        """Takes everything from clients that the policy does not name. Returns whether it could."""
        done = True
        for tcp in set(self._target.ports()) - set(self.ports()):
            try:
                self._target.close(tcp)
            except OSError as error:
                self._complain(f"cannot close port {tcp}", error)
                done = False
            else:
                self._complained.pop(f"cannot close port {tcp}", None)
        return done

    def news(self) -> None:
        """Something was plugged in or pulled out."""
        self._news = time.monotonic()
        self.look()

    def look(self) -> None:
        """Brings the target in line with what is there."""
        planned = self._plan(lambda one: one.key in self._exported)
        keys = {one.key for one in planned.wanted}
        for key in [key for key in self._exported if key not in keys]:
            self._withdraw(key)
        self._cut_slow()
        # What could not be taken from a client may still be written to by it.
        closed = self._close()
        for one in planned.wanted:
            others = (*(other for other, _ in self._exported.values()), *self._exporting.values())
            if closed and not any(one.disk.overlaps(other.disk) for other in others):
                self._export(one)
        for what, why in planned.refused.items():
            if self._said.get(what) != why:
                milestone(f"no disk: {what}: {why}")
        self._said = planned.refused
        self._open(planned.pending)

    def _plan(self, exported: Callable[[Wanted], bool]) -> Plan:
        late: set[str] = set()
        self._known = find_devices(self._sysfs, self._known, late)
        devices = [self._known[busid] for busid in sorted(self._known)]
        granted = [device for device in devices if self._policy.blocks(device) or self._policy.parts(device)]
        units = {device.busid: self._units(device) for device in granted}
        planned = plan(granted, units, self._policy, exported)
        now = time.monotonic()
        self._missed = {what: self._missed.get(what, now) for what in planned.missing}
        young = {what for what, since in self._missed.items() if now - since < SETTLE_S}
        planned.refused.update({what: why for what, why in planned.missing.items() if what not in young})
        planned.pending = planned.pending or bool(late) or bool(young)
        return planned

    def _units(self, device: Device) -> list[Unit]:
        """The units of a device; a reader in which something has changed is opened once, so that its size is known."""
        parts = bool(self._policy.parts(device))
        units = read_units(self._sysfs, device, parts=parts)
        new = [one for one in units if one.medium and not one.sectors and self._asked.get(one.block) != one.medium]
        for one in new:
            if self._lanes.idle(LOOKING_LANE):
                self._asked[one.block] = one.medium
                # No medium, or none that may be written, is an error; what the kernel found is in sysfs either way.
                self._lanes.start(LOOKING_LANE, ["ask", f"/dev/{one.block}"], lambda error: None)
        return read_units(self._sysfs, device, parts=parts) if new else units

    def _export(self, one: Wanted) -> None:
        if not self._lanes.idle(one.tcp):
            return
        nsid = self._number(one)

        def done(error: OSError | None) -> None:
            del self._exporting[one.key]
            what = f"cannot export {one.disk.block} as blocks"
            if error is not None:
                # The disk may be leaving again; the next look tries once more.
                self._complain(what, error)
                return
            self._complained.pop(what, None)
            self._used.setdefault(one.tcp, set()).add(nsid)
            self._exported[one.key] = (one, nsid)
            device = one.disk.device
            milestone(f"exported {device.busid} {device.vidpid} as disk {one.called} for {one.client}")

        self._exporting[one.key] = one
        there = one.namespace(nsid)
        self._lanes.start(one.tcp, ["add", str(one.tcp), str(nsid), there.path, there.uuid, there.nguid], done)

    def _withdraw(self, key: tuple[object, ...]) -> None:
        one, nsid = self._exported[key]
        if key in self._leaving or not self._lanes.idle(one.tcp):
            return

        def done(error: OSError | None) -> None:
            del self._leaving[key]
            self._cut.discard(key)
            what = f"cannot withdraw {one.called} from {one.client}"
            if error is not None:
                self._complain(what, error)
                return
            self._complained.pop(what, None)
            del self._exported[key]
            milestone(f"withdrawn {one.disk.device.busid} {one.disk.device.vidpid} disk {one.called}")

        self._leaving[key] = time.monotonic()
        self._lanes.start(one.tcp, ["remove", str(one.tcp), str(nsid)], done)

    def _cut_slow(self) -> None:
        """Takes the connections from clients that keep requests for a disk open which is to leave them."""
        now = time.monotonic()
        for key, since in self._leaving.items():
            one, _ = self._exported[key]
            if now - since < CUT_TIMEOUT_S or key in self._cut:
                continue
            self._cut.add(key)
            try:
                self._target.cut(one.tcp)
            except OSError as error:
                self._complain(f"cannot close port {one.tcp}", error)
            else:
                log(f"{one.client} keeps requests for {one.called} open: its connections are closed")

    def _number(self, one: Wanted) -> int:
        """A number that this port has not had: a client must not take a disk that was away for one that was not."""
        used = self._used.setdefault(one.tcp, set())
        first = int.from_bytes(one.disk.digest()[24:26], "big")
        now = {nsid for other, nsid in self._exported.values() if other.tcp == one.tcp}
        for avoided in (used, now):
            for step in range(MAX_NSID):
                nsid = 1 + (first + step) % MAX_NSID
                if nsid not in avoided:
                    return nsid
            used.clear()
        return 1

    def _open(self, pending: bool) -> None:
        """Opens the ports once all is there that was plugged in when the server started."""
        now = time.monotonic()
        if (pending or now - self._news < SETTLE_S) and now - self._begun < MAX_SETTLE_S:
            return
        opening = {one.tcp for one in self._exporting.values()} if now - self._begun < MAX_OPENING_S else set()
        for tcp in self.ports():
            if tcp in opening or self._target.listens(tcp):
                continue
            try:
                self._target.listen(tcp)
            except OSError as error:
                self._complain(f"cannot listen at {self._target.address}:{tcp}", error)
                continue
            self._complained.pop(f"cannot listen at {self._target.address}:{tcp}", None)
            milestone(f"disk port {tcp} is open")

    def _complain(self, what: str, error: OSError) -> None:
        """Says what failed, once for each reason."""
        why = error_text(error)
        if self._complained.get(what) != why:
            log(f"{what}: {why}")
        self._complained[what] = why
