# SPDX-License-Identifier: BSD-2-Clause
"""The watcher over a real control socket, against guests that answer by the real programs' code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from router.control.client import Connection
from router.control.place import Claim
from router.control.server import ControlServer
from router.errors import MachineError
from router.overview import actions
from router.overview.moment import Moment
from router.overview.watcher import LOOK_TIMEOUT_S, Watcher, reachable
from router.usb.view import snapshot
from tests.control.running import FakeSystem
from tests.overview.moments import PORT_COUNTERS, STATE
from tests.support.patience import PATIENCE


def connect() -> Connection:
    return Connection("desk")


def until(watcher: Watcher, seen: Callable[[Moment], object]) -> Moment:
    """The first moment that is as it should be."""
    end = time.monotonic() + PATIENCE
    while (moment := watcher.moment) is None or not seen(moment):
        assert time.monotonic() < end, f"not seen: {moment}"
        time.sleep(0.02)
    return moment


def test_it_sees_state_events_devices_counters_and_the_switch(system: FakeSystem) -> None:
    system.counters = {"client": PORT_COUNTERS}
    system.samples = {"client": "usb 1-5 7\nnet 1 2\nup 3.5\n"}
    with Watcher(connect, 0.05) as watcher:
        moment = until(
            watcher, lambda moment: moment.usb and moment.look("client").now and moment.look("small").trouble
        )
    assert moment.usb is not None
    assert [device.busid for device in moment.usb.devices] == ["1-2", "1-3", "2-1"]
    assert moment.look("small").trouble == "its answer is not its counters"
    assert moment.switch == {"client": PORT_COUNTERS}
    assert moment.story.lives["client"].ups == 1
    assert moment.state["mode"] == "split"


def test_an_event_about_usb_makes_it_ask_again(system: FakeSystem) -> None:
    with Watcher(connect, 0.05) as watcher:
        until(watcher, lambda moment: moment.usb)
        with connect() as guests:
            guests.execute("server", "router-usbip grant 10.77.0.3 1-3")
        moment = until(watcher, lambda moment: moment.usb and all(one.holder for one in moment.usb.devices))
        assert "attached" in {event.name for event in moment.story.last}


def test_a_guest_that_hangs_delays_no_other(system: FakeSystem) -> None:
    system.samples = dict.fromkeys(system.guests, "up 3.5\n")
    with system.guests["small"].turn, Watcher(connect, 0.05) as watcher:
        first = until(watcher, lambda moment: moment.look("client").now)
        until(watcher, lambda moment: moment.seconds > first.seconds + 0.2 and moment.look("server").now)
        assert watcher.moment is not None
        assert watcher.moment.look("small").now is None
        assert system.guests["small"].waiting <= 2, "asked once for counters and once for its ports"


def test_a_system_that_stops_is_said_and_what_was_seen_stays() -> None:
    system = FakeSystem()
    with Claim("desk") as claim:
        with ControlServer(claim, system, "split"):
            watcher = Watcher(connect, 0.05).__enter__()
            until(watcher, lambda moment: moment.usb)
        stopped = until(watcher, lambda moment: moment.trouble)
        assert stopped.usb is not None
        watcher.__exit__(None, None, None)


def test_a_system_that_starts_anew_has_its_own_story() -> None:
    first, second = FakeSystem(), FakeSystem()
    first.samples = dict.fromkeys(first.guests, "up 99\n")
    second.timeline.line("client", "router: guest client: attached 7-7 port 1")
    with Claim("desk") as claim, ControlServer(claim, first, "split"):
        watcher = Watcher(connect, 0.05).__enter__()
        until(watcher, lambda moment: moment.look("client").now and moment.story.lives["client"].ups)
    until(watcher, lambda moment: moment.trouble)
    with Claim("desk") as claim, ControlServer(claim, second, "split"):
        moment = until(watcher, lambda moment: any("7-7" in event.text for event in moment.story.last))
        assert moment.story.lives["client"].ups == 1
        until(watcher, lambda moment: not moment.trouble and moment.look("client").now is None)
        watcher.__exit__(None, None, None)


def test_only_the_systems_own_guests_have_a_life(system: FakeSystem) -> None:
    for number in range(50):
        system.timeline.add(f"made-up-{number}", "userspace", "", "user space up")
    with Watcher(connect, 0.05) as watcher:
        moment = until(watcher, lambda moment: any(one.guest == "made-up-49" for one in moment.story.last))
    assert set(moment.story.lives) == set(system.guests)


def test_a_guest_that_hangs_does_not_delay_the_end(system: FakeSystem) -> None:
    small = system.guests["small"]
    with small.turn:
        with Watcher(connect, 0.05) as watcher:
            until(watcher, lambda moment: small.waiting >= 2)
            assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("look"))
            start = time.monotonic()
        assert time.monotonic() - start < LOOK_TIMEOUT_S
        assert [one.name for one in threading.enumerate() if one.name.startswith(("look", "ThreadPool"))] == []


def test_the_last_look_may_come_while_another_look_starts_its_threads(
    system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def slowly(thread: threading.Thread) -> None:
        if thread.name.startswith("look at"):
            time.sleep(0.1)
        start(thread)

    with Watcher(connect, 0.05) as watcher:
        until(watcher, lambda moment: moment.usb)
        monkeypatch.setattr(threading.Thread, "start", slowly)
        for _ in range(5):
            watcher.look_again()
    assert watcher.moment is not None


def test_leaving_ends_every_thread(system: FakeSystem) -> None:
    before = threading.active_count()
    with Watcher(connect, 0.05) as watcher:
        until(watcher, lambda moment: moment.usb)
    end = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.02)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(("look", "_"))] == []


def test_only_addresses_that_a_rule_lets_through_are_pinged() -> None:
    assert [str(one) for one in reachable(STATE, "client")] == ["10.77.0.2"]
    assert reachable(STATE, "server") == []
    evil = {**STATE, "guests": [{**guest, "address": "$(reboot)"} for guest in STATE["guests"]]}
    assert reachable(evil, "client") == []


@pytest.mark.usefixtures("system")
class TestActions:
    """The keys of the live view."""

    def holder(self, busid: str) -> str | None:
        return next(one.holder for one in snapshot(connect).devices if one.busid == busid)

    def test_attach_and_detach_say_where_the_device_is(self) -> None:
        assert actions.attach(connect, "client", "server/1-3") == "server/1-3 is on port 2 of 'client'"
        assert actions.detach(connect, "client", "server/1-3") == "server/1-3 is taken from port 2 of 'client'"
        assert self.holder("1-3") is None

    def test_take_moves_a_device_from_its_guest_to_another(self) -> None:
        assert actions.take(connect, "small", "server/1-2") == "server/1-2 is on port 1 of 'small'"
        assert self.holder("1-2") == "small"

    def test_a_device_that_its_taker_cannot_have_stays_where_it_is(self) -> None:
        with pytest.raises(MachineError, match="SuperSpeed device, and 'small' has a USB 2 controller"):
            actions.take(connect, "small", "server/2-1")
        assert self.holder("2-1") == "client"

    def test_a_device_is_not_taken_from_the_guest_that_shall_have_it(self) -> None:
        with pytest.raises(MachineError, match=r"'client' has 1-2 .* already"):
            actions.take(connect, "client", "server/1-2")
        assert self.holder("1-2") == "client"
