# SPDX-License-Identifier: BSD-2-Clause
"""Looks at a running system from time to time, in threads of its own, over its control socket.

A guest that does not answer delays no other: each is asked by itself, and not again before it has answered. What costs
a guest much (its USB/IP program starts an interpreter) is asked after an event about USB only, and now and then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any, Self

from router.control.client import Connection
from router.errors import MachineError, RouterError
from router.overview import sample
from router.overview.moment import Event, Looks, Moment, Story, Switch
from router.usb.facts import Snapshot
from router.usb.text import EVENTS
from router.usb.view import snapshot

INTERVAL_S = 2.0
LOOK_TIMEOUT_S = 10.0
"""For a guest's counters, its other commands included: after that it counts as one that does not answer."""
USB_INTERVAL_S = 60.0
"""For asking about devices without an event: a daemon may have restarted unseen."""
SWITCH_WAIT_S = 1.0
"""For the switch's counters, before a look is shown without: a board with an image of an older router never tells."""
SETTLE_S = 0.3
"""Events about USB come in groups: what is asked so long after the first of them knows of the others."""
PARALLEL = 3
"""Guests asked at once; with `snapshot`'s 8 and our own connections within the control socket's 16 clients."""
END_TIMEOUT_S = 30.0

Connect = Callable[[], AbstractContextManager[Connection]]


class Watcher:
    """Watches while its context lasts. `moment` and `ask_again` are for any thread.

    on_look: called with each new moment from the thread that made it.
    """

    def __init__(
        self, connect: Connect, interval: float = INTERVAL_S, on_look: Callable[[Moment], None] | None = None
    ) -> None:
        self._connect = connect
        self._interval = interval
        self._on_look = on_look
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._story = Story()
        self._looks: dict[str, Looks] = {}
        self._usb: Snapshot | None = None
        self._usb_wanted = threading.Event()
        self._usb_wanted.set()
        self._moment: Moment | None = None
        self._switch: Switch | None = None
        self._switch_asked: threading.Thread | None = None
        self._open: set[Connection] = set()
        self._turns = threading.BoundedSemaphore(PARALLEL)
        # Daemon threads, not a pool: the interpreter waits for a pool's threads, and so for a guest that hangs.
        self._asked: dict[str, threading.Thread] = {}
        parts = (self._follow, self._look, self._ask_devices)
        self._threads = [threading.Thread(target=part, name=part.__name__, daemon=True) for part in parts]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._usb_wanted.set()
        with self._lock:
            for system in self._open:
                system.hang_up()
        end = time.monotonic() + END_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for thread in (*self._asked.values(), *([self._switch_asked] if self._switch_asked else [])):
            thread.join(max(0.0, end - time.monotonic()))

    @property
    def moment(self) -> Moment | None:
        """What was seen last; None before the first answer."""
        return self._moment

    def ask_again(self) -> None:
        """Ask about devices soon, for instance since something was changed."""
        self._usb_wanted.set()

    def look_again(self) -> None:
        """One more look at everything, waiting for it: what there is before the system ends."""
        with suppress(RouterError), self._connected() as system:
            state = system.state()
            self._ask_switch(LOOK_TIMEOUT_S)
            self._ask_guests(state)
            end = time.monotonic() + LOOK_TIMEOUT_S
            for thread in tuple(self._asked.values()):
                thread.join(max(0.0, end - time.monotonic()))
            if self._usb is None or self._usb_wanted.is_set():
                with suppress(RouterError):
                    usb = snapshot(self._connected)
                    with self._lock:
                        self._usb = usb
            self._show(state)

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection that the end of watching hangs up. MachineError after that end."""
        with self._connect() as system:
            with self._lock:
                if self._over.is_set():
                    raise MachineError("nothing is watched any more")
                self._open.add(system)
            try:
                yield system
            finally:
                with self._lock:
                    self._open.discard(system)

    # Threads

    def _follow(self) -> None:
        """The events, as they come: all of them after each connection, since the system may have started anew."""
        while not self._over.is_set():
            with suppress(RouterError), self._connected() as system:
                guests = frozenset(guest["name"] for guest in system.state()["guests"])
                with self._lock:
                    self._story, self._looks = Story(guests), {}
                self._usb_wanted.set()
                for row in system.watch(0):
                    if row:
                        self._happened(Event(row["seconds"], row["guest"], row["event"], row["text"]))
            self._over.wait(self._interval)

    def _happened(self, event: Event) -> None:
        with self._lock:
            self._story = self._story.after(event)
        if event.name in EVENTS:
            self._usb_wanted.set()

    def _look(self) -> None:
        """State and counters, every interval; each guest's counters are asked for meanwhile."""
        while not self._over.is_set():
            start = time.monotonic()
            try:
                with self._connected() as system:
                    while not self._over.is_set():
                        start = time.monotonic()
                        state = system.state()
                        self._ask_guests(state)
                        self._ask_switch(SWITCH_WAIT_S)
                        self._show(state)
                        self._over.wait(max(0.1, start + self._interval - time.monotonic()))
            except RouterError as error:
                self._lost(error.message)
                self._over.wait(max(0.1, start + self._interval - time.monotonic()))

    def _ask_switch(self, seconds: float) -> None:
        """Ask for the switch's counters, unless that goes on; wait so long for them."""
        thread = self._switch_asked
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._find_switch, name="look at the switch", daemon=True)
            self._switch_asked = thread
            thread.start()
        thread.join(seconds)

    def _find_switch(self) -> None:
        try:
            with self._connected() as system:
                switch = system.switch()
        except RouterError:  # a server of another version, or a switch or a console that does not answer
            switch = None
        with self._lock:
            self._switch = switch

    def _show(self, state: Mapping[str, Any]) -> None:
        with self._lock:
            # The counters from before a connection was lost may be those of another run.
            before = self._moment.switch if self._moment and not self._moment.trouble else None
            self._moment = Moment(
                seconds=float(state["seconds"]),
                state=state,
                story=self._story,
                usb=self._usb,
                looks=dict(self._looks),
                switch=self._switch,
                switch_before=before,
            )
        if self._on_look is not None:
            self._on_look(self._moment)

    def _lost(self, why: str) -> None:
        with self._lock:
            if self._moment is not None:
                last = self._moment
                self._moment = Moment(
                    seconds=last.seconds,
                    state=last.state,
                    story=self._story,
                    usb=self._usb,
                    switch=last.switch,
                    trouble=why,
                )

    def _ask_guests(self, state: Mapping[str, Any]) -> None:
        for guest in state["guests"]:
            name = guest["name"]
            with self._lock:  # both the interval's look and the last one ask, and join what they find in `_asked`
                before = self._asked.get(name)
                if guest["up"] and (before is None or not before.is_alive()):
                    words = (name, reachable(state, name))
                    thread = threading.Thread(target=self._ask, args=words, name=f"look at {name}", daemon=True)
                    thread.start()
                    self._asked[name] = thread

    def _ask(self, guest: str, addresses: list[IPv4Address]) -> None:
        try:
            with self._turns:
                found, trouble = look_into(self._connected, guest, addresses), ""
        except RouterError as error:
            found, trouble = None, error.message
        with self._lock:
            looks = self._looks.get(guest, Looks())
            self._looks[guest] = looks.failed(trouble) if found is None else looks.then(found)

    def _ask_devices(self) -> None:
        while not self._over.is_set():
            self._usb_wanted.wait(USB_INTERVAL_S)
            if self._over.wait(SETTLE_S):
                return
            self._usb_wanted.clear()
            try:
                usb = snapshot(self._connected)
            except RouterError:
                self._over.wait(self._interval)  # the look says that the system does not answer
                continue
            with self._lock:
                self._usb = usb
            if any(not guest.up for guest in usb.guests.values()):
                self._over.wait(self._interval)
                self._usb_wanted.set()


def look_into(connect: Connect, guest: str, addresses: list[IPv4Address]) -> sample.Sample:
    """A guest's counters. MachineError when it does not answer, or answers anything else."""
    answer = bytearray()

    def hear(data: bytes) -> None:
        answer.extend(data[: sample.MAX_ANSWER - len(answer)])

    with connect() as system:
        system.execute(guest, sample.command(addresses), LOOK_TIMEOUT_S, hear)
    found = sample.parse(bytes(answer))
    if found is None:
        raise MachineError("its answer is not its counters")
    return found


def reachable(state: Mapping[str, Any], guest: str) -> list[IPv4Address]:
    """The addresses that a guest may ping by the switch's rules."""
    may = {rule["to"] for rule in state["rules"] if rule["protocol"] == "icmp" and rule["from"] == guest}
    found = []
    for other in state["guests"]:
        if other["name"] in may:
            with suppress(ValueError):  # it goes into a shell command, so it must be an address
                found.append(IPv4Address(other["address"]))
    return found
