# SPDX-License-Identifier: BSD-2-Clause
"""Back-pressure: nothing is lost or reordered, nothing locks up, and one slow guest does not hold up the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from router.vswitch import SwitchConfig, SwitchProcess, SwitchRule
from tests.support.patience import PATIENCE
from tests.vswitch.frames import ACK, CONFIG, tcp_frame
from tests.vswitch.links import Link, links, wait_for

A, B, C, D = range(4)
NAMES = ("server", "client", "other", "lonely")
ALL_TALK = SwitchConfig(
    CONFIG.ports, tuple(SwitchRule(one, two, "tcp", 3240) for one in NAMES for two in NAMES if one != two)
)
SIZES = (0, 10, 1400, 8960, 64000)


def numbered(source: int, target: int, number: int) -> bytes:
    """A frame that carries its number; sizes vary from 58 bytes to 64 KiB."""
    return tcp_frame(source, target, 3240, 3240, ACK, number.to_bytes(4, "big") + bytes(SIZES[number % len(SIZES)]))


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[54:58], "big")


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def sender(link: Link, source: int, target: int, count: int) -> threading.Thread:
    def send() -> None:
        for first in range(0, count, 10):
            link.send(*(numbered(source, target, number) for number in range(first, min(first + 10, count))))

    return in_background(send)


def test_a_slow_reader_loses_no_frame_of_hundreds_of_megabytes(host_program: Path, tmp_path: Path) -> None:
    count = 20_000
    with (
        # A reader that is only slow is not given up on, however slow this computer makes it.
        SwitchProcess(host_program, ALL_TALK, tmp_path / "run", stall_ms=600_000) as switch,
        links(switch, "server", "client") as (a, b),
    ):
        sending = sender(a, A, B, count)
        size = 0
        for number in range(count):
            if number % 2000 == 0:
                wait_for(switch, lambda ports: ports["server"].blocked)  # everything on the way is full
            frame = b.receive()
            assert number_of(frame) == number
            size += len(frame)
        sending.join(PATIENCE)
        assert size > 290_000_000
        counters = switch.counters()
        assert counters["server"].drops == {}
        assert counters["client"].tx_frames == count
        assert counters["client"].queued_peak_bytes > 500_000, "the queue was never in use: the test is too easy"


def test_two_guests_that_fill_each_other_do_not_lock_up(checked_program: Path, tmp_path: Path) -> None:
    count = 1000
    with SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=0) as switch:
        with links(switch, "server", "client") as (a, b):
            sending = [sender(a, A, B, count), sender(b, B, A, count)]
            wait_for(switch, lambda ports: ports["server"].blocked and ports["client"].blocked)
            received: dict[str, list[int]] = {"a": [], "b": []}
            reading = [
                in_background(lambda: received["a"].extend(number_of(a.receive()) for _ in range(count))),
                in_background(lambda: received["b"].extend(number_of(b.receive()) for _ in range(count))),
            ]
            for thread in sending + reading:
                thread.join(PATIENCE)
            assert received == {"a": list(range(count)), "b": list(range(count))}
        switch.stop()
        assert switch.ended() == 0, switch.last_words()


def test_a_slow_third_guest_does_not_hold_up_the_others(checked_program: Path, tmp_path: Path) -> None:
    """C reads nothing. A, who sends to C, is held up; all that is not from A goes on; A goes on when C does."""
    with SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=0) as switch:
        with links(switch, *NAMES) as (a, b, c, d):
            flood = numbered(A, C, 4)
            sent = a.fill(flood, switch, "server")
            assert sent * len(flood) > 1_000_000
            assert switch.counters()["server"].blocked
            for number in range(50):
                d.send(numbered(D, B, number))
                assert number_of(b.receive()) == number
                b.send(numbered(B, A, number))
                assert number_of(a.receive()) == number
            assert switch.counters()["other"].queued_bytes > 500_000

            def finish_and_send() -> None:
                a.finish()
                a.send(numbered(A, B, 7))

            in_background(finish_and_send)
            for _ in range(sent):
                assert c.receive() == flood
            assert number_of(b.receive()) == 7
            assert switch.counters()["server"].drops == {}
        switch.stop()
        assert switch.ended() == 0, switch.last_words()


def test_several_senders_share_a_slow_receiver(checked_program: Path, tmp_path: Path) -> None:
    count = 400
    with (
        SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=0) as switch,
        links(switch, *NAMES) as ends,
    ):
        a, b, c, d = ends
        for link, port in ((a, A), (b, B), (d, D)):
            sender(link, port, C, count)
        wait_for(switch, lambda ports: all(ports[name].blocked for name in ("server", "client", "lonely")))
        seen: dict[bytes, list[int]] = {}
        for _ in range(3 * count):
            frame = c.receive()
            seen.setdefault(frame[6:12], []).append(number_of(frame))
        assert list(seen.values()) == [list(range(count))] * 3


def test_a_guest_that_stops_reading_for_good_is_given_up_on(checked_program: Path, tmp_path: Path) -> None:
    """After the limit its frames are dropped and counted: A's other conversations go on, and C's stream stays whole."""
    with SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=300) as switch:
        with links(switch, "server", "client", "other") as (a, b, c):
            flood = numbered(A, C, 4)
            a.socket.settimeout(PATIENCE)
            for _ in range(60):  # 3.8 MB: more than the queue and both sockets hold
                a.send(flood)
            a.send(numbered(A, B, 1))
            assert number_of(b.receive()) == 1
            counters = wait_for(switch, lambda ports: ports["server"].drops)
            stalled = counters["server"].drops["stalled"]
            assert 0 < stalled < 60
            for _ in range(60 - stalled):
                assert c.receive() == flood
            a.send(numbered(A, C, 2))
            assert number_of(c.receive()) == 2
        switch.stop()
        assert switch.ended() == 0, switch.last_words()


def test_a_guest_that_leaves_while_others_wait_for_it_frees_them(checked_program: Path, tmp_path: Path) -> None:
    with SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=0) as switch:
        with links(switch, "server", "client") as (a, b), links(switch, "other") as (c,):
            a.fill(numbered(A, C, 4), switch, "server")
            wait_for(switch, lambda ports: ports["server"].blocked)
            c.close()
            a.finish()
            a.send(numbered(A, B, 9))
            assert number_of(b.receive()) == 9
            counters = switch.counters()
            assert counters["other"].lost_bytes > 500_000
            assert counters["server"].drops["port-down"] >= 1
        switch.stop()
        assert switch.ended() == 0, switch.last_words()


def test_the_last_frames_of_a_guest_that_has_gone_are_delivered(checked_program: Path, tmp_path: Path) -> None:
    with (
        SwitchProcess(checked_program, ALL_TALK, tmp_path / "run", stall_ms=0) as switch,
        links(switch, "other") as ends,
    ):
        flood = numbered(A, C, 4)
        with links(switch, "server") as (a,):
            whole = a.fill(flood, switch, "server") - bool(a.unsent)
        time.sleep(0.2)
        assert switch.counters()["server"].blocked
        for _ in range(whole):
            assert ends[0].receive() == flood
        wait_for(switch, lambda ports: ports["server"].rx_frames == whole and not ports["server"].blocked)


def test_as_many_guests_as_there_may_be(checked_program: Path, tmp_path: Path) -> None:
    count = 62
    ports = tuple(
        type(CONFIG.ports[0])(f"guest-{n}", f"02:00:0a:4d:00:{n + 1:02x}", IPv4Address("10.77.0.1") + n)
        for n in range(count)
    )
    rules = tuple(SwitchRule(f"guest-{n}", "guest-0", "tcp", 3240) for n in range(1, count))
    with SwitchProcess(checked_program, SwitchConfig(ports, rules), tmp_path / "run") as switch:
        names = [port.name for port in ports]
        with links(switch, *names) as ends:
            for number in range(1, count):
                frame = bytearray(tcp_frame(A, B, 40000, 3240))
                frame[:12] = bytes.fromhex((ports[0].mac + ports[number].mac).replace(":", ""))
                frame[26:34] = ports[number].ipv4.packed + ports[0].ipv4.packed
                ends[number].send(bytes(frame))
                assert ends[0].receive() == frame
