# SPDX-License-Identifier: BSD-2-Clause
"""The fixture `router`: the running system that a test is about, the same in QEMU and on a board."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router import files
from router.control.client import Connection
from router.errors import DescriptionError, RouterError
from router.testing.events import Event
from router.testing.guest import Guest, GuestFailure, shown
from router.testing.machine import Machine
from router.testing.needs import missing
from router.testing.person import Person
from router.testing.pool import Live, Systems
from router.testing.setup import BOARD
from router.usb import actions
from router.usb.facts import BlockDisk, Device, Port
from router.usb.view import snapshot
from router.vswitch.process import PortCounters
from router.words import did_you_mean

EVENT_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = 60.0
SETTLE_TIMEOUT_S = 10.0
"""For an event of something that was seen to have happened: it comes by the guest's console, which may be late."""
DISK_BYTES = 4 << 20


@dataclass(frozen=True)
class Plugged:
    """A device that a test has plugged in. port: of the server's controller; 0 on a board. busid: in the server."""

    kind: str
    port: int
    busid: str


@dataclass(frozen=True)
class Disk(Plugged):
    """An emulated disk. image: the file behind it."""

    image: Path = field(kw_only=True)

    def sha256(self) -> str:
        """The SHA-256 of the image as it is now, in hexadecimal."""
        return files.sha256_of(self.image.read_bytes())


class Router:
    """The system. What its machine or mode cannot do skips the test and says why; `router_needs` skips before the boot.

    After the test, what it plugged in is unplugged and what it froze goes on. What `attach` and `detach` changed stays
    until the next boot.
    """

    def __init__(self, systems: Systems, live: Live, folder: Callable[[], Path], person: Person) -> None:
        """folder: makes a folder for the test's own files. person: who plugs devices into a board."""
        self._systems = systems
        self._live = live
        self._folder = folder
        self._person = person
        self._plugged: list[Plugged] = []
        self._first = self._caught_up()

    # The system

    @property
    def mode(self) -> str:
        """split, microkit or board."""
        return self._live.machine.mode

    @property
    def name(self) -> str:
        """What it is called among running systems: `router usb list --system NAME`; of a board, the board's name."""
        return self._live.machine.name

    @property
    def machine(self) -> Machine:
        """What it runs in (router.testing.qemu, router.testing.board): not the same everywhere."""
        return self._live.machine

    @property
    def logs(self) -> tuple[Path, ...]:
        """The consoles' logs and the capture, as far as they are on this computer and have something in them."""
        return self._live.machine.attachments

    @property
    def guests(self) -> Mapping[str, Guest]:
        """All guests, by name."""
        return {name: Guest(self, name) for name in self._live.machine.guests}

    def guest(self, name: str) -> Guest:
        """The guest of that name; DescriptionError when there is none."""
        names = self._live.machine.guests
        if name not in names:
            hint = did_you_mean(name, list(names)) or f"guests: {', '.join(names)}"
            raise DescriptionError(f"no guest '{name}'", hint=hint)
        return Guest(self, name)

    def connect(self) -> AbstractContextManager[Connection]:
        """A connection to its control socket, for what this object does not offer."""
        return self._live.machine.connect()

    def needs(self, need: str) -> None:
        """Skip the test, with the reason, where the system does not have that (router.testing.needs)."""
        why = missing(need, self.mode, self._person.present)
        if why is not None:
            pytest.skip(why)

    def restart(self) -> None:
        """Stop the whole system and boot it again: a board is deployed again."""
        self._plugged = []
        self._live = self._systems.restart()
        self._first = self._caught_up()

    # What has happened

    def _caught_up(self) -> int:
        """The number of the next event, once all of before have come: else the test could take one for its own."""
        with self.connect() as connection:
            count = int(connection.state().get("events", 0))
        return self._live.events.catch_up(count, SETTLE_TIMEOUT_S)

    @property
    def next_event(self) -> int:
        """The number that the next event will have: for `since`."""
        return len(self._live.events.so_far())

    def events(self, name: str | None = None, guest: str | None = None, *, since: int = 0) -> tuple[Event, ...]:
        """What has happened since the boot, or since an event's number: those of that name and that guest."""
        wanted = _wanted(name, guest, "")
        return tuple(event for event in self._live.events.so_far() if event.number >= since and wanted(event))

    def wait_for_event(
        self,
        name: str,
        guest: str | None = None,
        *,
        detail: str = "",
        since: int | None = None,
        timeout: float | None = None,
    ) -> Event:
        """Wait for an event whose detail contains `detail`. since: an event's number (None: this test's first).

        GuestFailure, with what has happened instead, when it does not come.
        """
        __tracebackhide__ = True
        first = self._first if since is None else since
        seconds = EVENT_TIMEOUT_S if timeout is None else timeout
        found = self._live.events.wait(_wanted(name, guest, detail), first, seconds)
        if found is None:
            of = f" of guest '{guest}'" if guest else ""
            what = f" with '{detail}'" if detail else ""
            seen = "\n".join(map(str, self.events(since=first)))
            raise GuestFailure(f"no event '{name}'{of}{what} within {seconds:g} s; events meanwhile:\n{shown(seen)}")
        return found

    def milestones(self) -> dict[str, float]:
        """How long the boot took to each milestone: `GUEST MILESTONE`, and seconds since its start."""
        return dict(self._live.machine.boot)

    # USB

    def devices(self) -> tuple[Device, ...]:
        """The servers' USB devices: who has each, and by which rule."""
        return snapshot(self.connect).devices

    def plug(self, device: str) -> Plugged:
        """Plug a device into the server guest: `KIND[:ARGUMENT]` as for `router run --usb`.

        On a board a person is asked to do it (--router-interactive), and what appears there then is the device.
        """
        self.needs("plug")
        if self.mode == BOARD:
            plugged = Plugged(device, 0, self._person.plug(device, self._busids))
        else:
            with self.connect() as connection:
                row = connection.plug(device)
            plugged = Plugged(row["kind"], row["port"], row["path"])
        self._plugged.append(plugged)
        return plugged

    def plug_disk(self, content: bytes | None = None, kind: str = "storage") -> Disk:
        """Plug an emulated disk in. content: None for random bytes, DISK_BYTES of them. kind: storage, uas or bot."""
        self.needs("disk")
        image = self._folder() / f"disk-{len(self._plugged)}.img"
        image.write_bytes(os.urandom(DISK_BYTES) if content is None else content)
        plugged = self.plug(f"{kind}:{image}")
        disk = Disk(plugged.kind, plugged.port, plugged.busid, image=image)
        self._plugged[-1] = disk
        return disk

    def unplug(self, plugged: Plugged | int) -> None:
        """Pull a device out, and wait until no guest has it: what `plug` gave, or its port (--router-usb's, from 1)."""
        self.needs("plug")
        mine = [one for one in self._plugged if plugged in (one, one.port)]
        if self.mode == BOARD:
            if isinstance(plugged, int):
                raise DescriptionError("a board has no port numbers", hint="give `unplug` what `plug` gave")
            self._person.unplug(plugged.kind, plugged.busid, self._busids)
            busid = plugged.busid
        else:
            with self.connect() as connection:
                row = connection.unplug(plugged if isinstance(plugged, int) else plugged.port)
            busid = row["path"]
            self._wait_until_gone(busid)
        self._wait_until_told(busid)
        for one in mine:
            self._plugged.remove(one)

    def attach(
        self, guest: str, device: str, port: int = 0, *, take: bool = False, force: bool = False
    ) -> Port | BlockDisk:
        """Give a device (its busid, id or part of its name) to a client guest and wait until it is there: its port.

        Of a disk that goes as blocks it is the disk as the guest has it.

        take: also from another guest, unless a disk of it is in use there; force: even then.
        """
        since = self.next_event
        found = actions.attach(self.connect, guest, device, port, take=take, force=force)
        if isinstance(found, Port) and found.device is not None:
            attached = _wanted("attached", guest, f"{found.device.busid} ")
            self._live.events.wait(attached, since, SETTLE_TIMEOUT_S)
        return found

    def detach(self, guest: str, device: str, *, force: bool = False) -> Port | BlockDisk:
        """Take a device from a guest, by port number or by what it is called, and wait: the port or disk that it was.

        force: even if a disk of it is in use there.
        """
        found = actions.detach(self.connect, guest, device, force=force)
        if isinstance(found, Port) and found.device is not None:
            self._wait_until_told(found.device.busid)
        return found

    def _wait_until_gone(self, busid: str) -> None:
        """Else the next test could take the device for one of its own."""
        end = time.monotonic() + GONE_TIMEOUT_S
        while True:
            seen = snapshot(self.connect)
            attached = (port.device for ports in seen.ports.values() for port in ports)
            if busid not in {one.busid for one in (*seen.devices, *attached) if one is not None}:
                return
            if time.monotonic() > end:
                raise GuestFailure(f"{busid} is pulled out, and a guest has it still after {GONE_TIMEOUT_S:.0f} s")
            time.sleep(0.1)

    def _wait_until_told(self, busid: str) -> None:
        """Until every guest that had the device has said that it is detached, or has had its time for that."""
        end = time.monotonic() + SETTLE_TIMEOUT_S
        for guest, since in self._holders(busid).items():
            gone = _wanted("detached", guest, f"{busid} ")
            self._live.events.wait(gone, since, max(0.0, end - time.monotonic()))

    def _holders(self, busid: str) -> dict[str, int]:
        """The guests that have the device by what has been told, each with the number of the event that said so."""
        holders: dict[str, int] = {}
        for event in self._live.events.so_far():
            if event.name == "userspace":  # a guest that has restarted has let go of it without a word
                holders.pop(event.guest, None)
            elif event.detail.startswith(f"{busid} "):
                if event.name == "attached":
                    holders[event.guest] = event.number
                elif event.name == "detached":
                    holders.pop(event.guest, None)
        return holders

    def _busids(self) -> frozenset[str]:
        return frozenset(device.busid for device in self.devices())

    # The machine

    def counters(self) -> Mapping[str, PortCounters]:
        """The switch's counters, by guest. MachineError when nothing answers."""
        self.needs("counters")
        return self._live.machine.counters()

    @contextmanager
    def freeze(self, guest: str) -> Iterator[None]:
        """Stop a guest's machine where it is while the context lasts: as if its processor stood still (split runs)."""
        self.needs("freeze")
        self.guest(guest)
        self._live.machine.freeze(guest)
        try:
            yield
        finally:
            self._live.machine.thaw(guest)

    def tidy(self) -> list[str]:
        """After the test: what it plugged in goes. What did not, with the reasons."""
        left = []
        for plugged in tuple(self._plugged):
            try:
                if self._is_plugged(plugged):
                    self.unplug(plugged)
            except (RouterError, GuestFailure) as error:
                left.append(f"{plugged.kind} ({plugged.busid}): {error}")
        return left

    def _is_plugged(self, plugged: Plugged) -> bool:
        """Whether it is there still: a test may have pulled it out by a connection of its own."""
        if self.mode == BOARD:
            return plugged.busid in self._busids()
        with self.connect() as connection:
            rows = connection.state().get("plugged") or []
        return (plugged.kind, plugged.port) in {(row["kind"], row["port"]) for row in rows}


def _wanted(name: str | None, guest: str | None, detail: str) -> Callable[[Event], bool]:
    return lambda event: name in (None, event.name) and guest in (None, event.guest) and detail in event.detail
