# SPDX-License-Identifier: BSD-2-Clause
"""What is shown of a moment: the tables, and how they fit into a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from router.overview import rows
from router.overview.columns import MAX_ROWS, cut, lay_out, widths
from router.overview.moment import MAX_EVENTS, Looks, Story
from router.overview.rows import Row, Table, amount, duration, milliseconds, per_second
from tests.overview.moments import (
    DISK,
    FREE,
    MOUSE,
    NOW,
    ON_PORT,
    PORT,
    PORT_COUNTERS,
    RULE,
    STATE,
    UP,
    moment,
    snapshot,
    story,
)

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e[@click=app.quit]x[/]\nline"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J\\u202e[@click=app.quit]x[/]\\x0aline"


def cells(table: Table) -> list[tuple[str, ...]]:
    return [row.cells for row in table.rows]


def bad(table: Table) -> list[str]:
    return [row.cells[0] for row in table.rows if row.bad]


def test_a_guest_has_its_state_uptime_restarts_rates_and_round_trip() -> None:
    table = rows.guests(moment())
    assert cells(table) == [
        ("server", "server", "up", "42 s", "0", "–", "–", "–"),
        ("client", "client", "up", "42 s", "0", "4.00 kB/s", "0", "0.25 ms"),
    ]
    assert bad(table) == []


def test_a_guest_that_came_up_again_is_counted_and_marked() -> None:
    again = UP.after(story((50.0, "client", "userspace", "user space up")).last[0])
    table = rows.guests(moment(story=again, looks={}))
    assert cells(table)[1][2:5] == ("up", "50 s", "1")
    assert bad(table) == ["client"]


@pytest.mark.parametrize(
    ("name", "text", "state"),
    [
        ("kernel", "kernel 6.1 up", "boots"),
        ("panic", "kernel panic: x", "kernel panic"),
        ("stopped", "has crashed", "has crashed"),
        ("delayed", "is started again in 8 s", "is started again in 8 s"),
        ("down", "too often; the guest stays down", "too often; the guest stays down"),
    ],
)
def test_what_happened_last_is_a_guests_state(name: str, text: str, state: str) -> None:
    table = rows.guests(moment(story=UP.after(story((9.0, "client", name, text)).last[0])))
    assert cells(table)[1][2] == state
    assert bad(table) == ["client"]


def test_a_guest_that_does_not_answer_is_marked_and_a_busy_one_is_not() -> None:
    deaf = Looks(None, NOW).failed("guest 'client' does not answer")
    busy = Looks(None, NOW).failed("guest 'server' is busy with another command")
    table = rows.guests(moment(looks={"client": deaf, "server": busy}))
    assert [row[2] for row in cells(table)] == ["up, busy", "up, but guest 'client' does not answer"]
    assert bad(table) == ["client"]
    assert busy.then(NOW).before == NOW, "the next look tells what happened meanwhile"


def test_a_guest_of_which_nothing_was_seen_has_not_started() -> None:
    assert [row[2] for row in cells(rows.guests(moment(story=Story(), looks={})))] == ["not started"] * 2


def test_a_device_is_shown_with_who_has_it_and_by_which_rule() -> None:
    table = rows.devices(moment())
    assert cells(table) == [
        ("2-1", "QEMU USB HARDDRIVE", "client, port 1", "client by class mass-storage port 1"),
        ("1-3", "QEMU USB Mouse", "no guest: no rule gives it to a guest", "–"),
    ]
    assert bad(table) == []


def test_a_disk_that_is_mounted_says_where() -> None:
    used = replace(PORT, device=replace(ON_PORT, uses=("sda1 on /mnt",)))
    table = rows.devices(moment(usb=snapshot(DISK, ports=(used,))))
    assert cells(table)[0][2] == "client, port 1, in use: sda1 on /mnt"


def test_a_device_that_should_be_in_a_guest_and_is_not_is_marked() -> None:
    stuck = replace(DISK, holder=None)
    table = rows.devices(moment(usb=snapshot(stuck, ports=(replace(PORT, state="free", device=None), FREE))))
    assert cells(table)[0][2] == "no guest: given to 'client', which is about to attach it"
    assert bad(table) == ["2-1"]


def test_devices_of_several_servers_are_told_apart() -> None:
    seen = snapshot(DISK, replace(MOUSE, server="other"))
    two = replace(seen, guests={**seen.guests, "other": replace(seen.guests["server"], name="other")})
    assert [row[0] for row in cells(rows.devices(moment(usb=two)))] == ["server/2-1", "other/1-3"]
    assert cells(rows.roads(moment(usb=two)))[0][0] == "server/2-1 → client port 1"


def test_a_road_has_its_rates_and_the_time_of_a_request() -> None:
    assert cells(rows.roads(moment())) == [
        ("2-1 → client port 1", "QEMU USB HARDDRIVE", "USB/IP", "5G", "100", "1.50 MB/s", "0", "2.00 ms")
    ]


def test_a_road_of_which_only_one_look_is_known_has_no_rates_yet() -> None:
    assert cells(rows.roads(moment(looks={"client": Looks(None, NOW)})))[0][4:] == ("–",) * 4


def test_drops_are_shown_with_reasons_the_most_frequent_first() -> None:
    table = rows.drops(moment())
    assert cells(table)[1] == ("client", "1.50 kB", "0", "10", "source-mac 7, ipv6 3", "")
    assert bad(table) == []


def test_drops_that_go_on_and_a_guest_that_takes_nothing_are_marked() -> None:
    before = {"client": {**PORT_COUNTERS, "drops": {"ipv6": 3}}}
    assert bad(rows.drops(moment(switch_before=before))) == ["client"]
    stuck = {"client": {**PORT_COUNTERS, "blocked": True}, "server": {**PORT_COUNTERS, "connected": False}}
    assert bad(rows.drops(moment(switch=stuck))) == ["client", "server"]


def test_a_guest_with_a_vsock_device_alone_shows_that_ones_counters() -> None:
    none = {**PORT_COUNTERS, "connected": False, "rx_bytes": 0}
    row = {**none, "vsock": {**PORT_COUNTERS, "rx_bytes": 2_000_000, "drops": {"not-allowed": 3}}}
    before = {"client": {**row, "vsock": {**row["vsock"], "drops": {"not-allowed": 3}}}}
    table = rows.drops(moment(switch={"client": row}, switch_before=before))
    assert bad(table) == []
    ((name, received, _, count, why, now),) = cells(table)
    assert (name, count, why, now) == ("client", "3", "not-allowed 3", "")
    assert received.startswith("2")


def test_a_switch_whose_counters_nothing_tells_says_so() -> None:
    table = rows.drops(moment(switch=None, state={**STATE, "mode": "board"}))
    assert table.rows == ()
    assert "protection domain" in table.empty


def test_the_policy_is_the_descriptions_rules_and_what_was_given_by_hand() -> None:
    given = replace(MOUSE, grants={"client": replace(RULE, words="allow 10.77.0.3 path 1-3 # at run time")})
    assert cells(rows.policy(moment(usb=snapshot(DISK, given)))) == [
        ("USB", "server → client", "mass-storage → port 1"),
        ("USB", "server → client", "1-3 by hand"),
        ("network", "client → server", "tcp/3240"),
        ("network", "client → server", "icmp"),
    ]


def test_a_grant_of_another_version_is_shown_as_it_is() -> None:
    state = {**STATE, "grants": [{"source": "server", "to": "client", "colour": "red"}], "rules": []}
    assert cells(rows.policy(moment(state=state)))[0] == ("USB", "server → client", "colour red")


def test_the_time_line_shows_the_newest_first_where_there_is_room_for_some_only() -> None:
    told = story(*((float(n), "client", "attached", f"device attached: {n}") for n in range(MAX_EVENTS + 9)))
    table = rows.events(told.last, newest=2)
    assert [row[2] for row in cells(table)] == [f"device attached: {MAX_EVENTS + n}" for n in (8, 7)]
    assert (told.count, len(told.last)) == (MAX_EVENTS + 9, MAX_EVENTS)


def test_nothing_that_a_guest_or_a_device_says_is_more_than_text() -> None:
    device = replace(DISK, product=HOSTILE, holder=HOSTILE)
    there = replace(PORT, device=replace(ON_PORT, name=HOSTILE))
    seen = moment(
        usb=snapshot(device, ports=(there,)),
        story=UP.after(story((9.0, "client", "stopped", HOSTILE)).last[0]),
        looks={"server": Looks(trouble=HOSTILE)},
        switch={HOSTILE: {**PORT_COUNTERS, "drops": {HOSTILE: 1}}},
        state={**STATE, "grants": [{"source": HOSTILE, "to": HOSTILE, "odd": HOSTILE}]},
    )
    tables = (rows.guests, rows.devices, rows.roads, rows.drops, rows.policy)
    shown = [cell for table in tables for row in table(seen).rows for cell in row.cells]
    shown += [cell for row in rows.events(seen.story.last).rows for cell in row.cells]
    assert sum(SHOWN in cell for cell in shown) >= 9
    assert all(cell.isprintable() for cell in shown)


# Into a terminal


@pytest.mark.parametrize("room", [30, 78, 80, 118, 200])
def test_every_line_fits_at_any_width(room: int) -> None:
    device = replace(DISK, product="鍵盤" * 300)
    for table in (rows.guests, rows.devices, rows.roads, rows.drops, rows.policy):
        for line in lay_out(table(moment(usb=snapshot(device))), room, cell_len):
            assert cell_len(line.text) <= room


def test_a_text_is_cut_where_it_still_fits() -> None:
    assert cut("abcdef", 6, cell_len) == "abcdef"
    assert cut("abcdefg", 6, cell_len) == "abcde…"
    assert cut("鍵盤鍵盤", 6, cell_len) == "鍵盤…"
    assert cut("鍵盤", 1, cell_len) == "…"
    assert len(cut("e\u0301" + "\u0301" * 100_000, 6, cell_len)) <= 25


def test_the_work_for_a_long_text_depends_on_the_room_alone() -> None:
    measured = []

    def measure(text: str) -> int:
        measured.append(len(text))
        return cell_len(text)

    assert cut("鍵" * 10_000, 80, measure) == "鍵" * 39 + "…"
    assert sum(measured) < 80 * 4 * 12


def test_of_a_long_table_the_first_rows_are_shown_and_how_many_more_there_are() -> None:
    many = Table("", ("A",), tuple(Row(str(n), (str(n),)) for n in range(MAX_ROWS + 5)))
    *_, before, last = lay_out(many, 80, cell_len)
    assert (before.row, before.text.strip()) == (MAX_ROWS - 1, str(MAX_ROWS - 1))
    assert (last.row, last.text) == (None, "  … 5 more")


def test_the_widest_text_gives_way_first_and_numbers_never() -> None:
    assert widths([10, 30, 8], frozenset({2}), frozenset(), 40) == [10, 18, 8]
    assert widths([30, 30, 8], frozenset({2}), frozenset({0}), 48) == [30, 6, 8]
    assert widths([10, 10, 50], frozenset({2}), frozenset(), 20) == [6, 6, 50]


def test_a_line_that_a_person_should_look_at_needs_no_colour() -> None:
    stuck = {"client": {**PORT_COUNTERS, "blocked": True}, "server": PORT_COUNTERS}
    head, first, second = lay_out(rows.drops(moment(switch=stuck)), 80, cell_len)
    assert (head.text[:2], first.text[:2], second.text[:2]) == ("  ", "! ", "  ")


def test_a_table_without_rows_says_why() -> None:
    (line,) = lay_out(rows.roads(moment(usb=None)), 80, cell_len)
    assert line.text == "  asking the guests"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (0.4, "0"),
        (812, "812 B"),
        (1500, "1.50 kB"),
        (99_960, "100 kB"),
        (12_345_678, "12.3 MB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_have_at_most_four_digits(size: float, text: str) -> None:
    assert amount(size) == text


def test_times_and_rates_are_short() -> None:
    assert [duration(seconds) for seconds in (-1, 59.9, 187, 93787)] == ["0 s", "59 s", "3:07", "26:03:07"]
    assert [milliseconds(value) for value in (None, 0.254, 66.2)] == ["–", "0.25 ms", "66 ms"]
    assert [per_second(rate) for rate in (None, 0.0, 1e6)] == ["–", "0", "1.00 MB/s"]
