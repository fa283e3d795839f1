# SPDX-License-Identifier: BSD-2-Clause
"""Figures are the same for people and for programs, and a missed goal is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench import route, sel4, tftp, usbip
from bench.report import Measurement, Row, as_json, median, number, render

ROWS = (
    median("TCP", "MiB/s", (10.0, 30.0, 20.0)),
    Row("echo", 0.5, "ms", "seL4"),
    Row("echo", 0.25, "ms", "split run"),
    Row("ratio", 96.0, "%", goal="≥ 97 %", met=False),
)


def test_systems_that_are_compared_share_a_line() -> None:
    lines = render(ROWS).splitlines()
    assert [line.split() for line in lines] == [
        ["TCP", "20.0", "MiB/s", "(median", "of", "3;", "10.0", "to", "30.0)"],
        ["echo", "seL4", "0.50", "ms", "split", "run", "0.25", "ms"],
        ["ratio", "96.0", "%", "goal", "≥", "97", "%:", "MISSED"],
    ]


def test_programs_get_the_same_figures_with_their_conditions() -> None:
    data = json.loads(as_json(Measurement("route", ("QEMU 9",), ROWS)))
    assert (data["measurement"], data["conditions"]) == ("route", ["QEMU 9"])
    assert data["rows"][0] == {
        "name": "TCP",
        "value": 20.0,
        "unit": "MiB/s",
        "of": "",
        "samples": [10.0, 30.0, 20.0],
        "goal": "",
        "met": None,
    }
    assert [row["name"] for row in data["rows"]] == ["TCP", "echo", "echo", "ratio"]


def test_a_missed_goal_is_seen() -> None:
    assert Measurement("x", (), ROWS).missed
    assert not Measurement("x", (), (*ROWS[:3], Row("ratio", 99.0, "%", goal="≥ 97 %", met=True))).missed


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1234"), (99.94, "99.9"), (1.234, "1.23"), (0.0, "0.00")])
def test_a_figure_has_about_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_the_routes_ratio_is_that_of_the_medians() -> None:
    result = route.RouteResult((100.0, 200.0, 300.0), (50.0, 100.0, 300.0), 0.5, 1514.0)
    assert result.ratio == 0.5
    assert {row.name: row.value for row in result.rows()}["ratio of the medians"] == 50.0


def usbip_figures(slower: float) -> usbip.Figures:
    """Figures of one round, in which our engine takes `slower` times as long as Debian's daemon."""
    figures = usbip.Figures()
    for engine in usbip.ENGINES:
        factor = 1.0 if engine == "C usbipd" else slower
        for name in ("sequential", "random", "write", "attach"):
            figures.add(f"{engine} {name}", factor)
        for name in ("listening", "memory", "read latency"):
            figures.add(f"{engine} {name}", 0.001)
    for name in ("tcp read", "tcp one", "kernel urb", "hot-plug"):
        figures.add(name, 0.001)
    return figures


def test_usbip_goals_are_judged_by_pairs_of_one_round() -> None:
    def missed(rows: Iterator[Row]) -> list[str]:
        return [row.name for row in rows if row.met is False]

    assert missed(usbip_figures(1.0).rows()) == []
    names = ("1 MiB reads", "1 MiB writes", "4 KiB random reads", "attach time")
    assert missed(usbip_figures(1.1).rows()) == [f"kernel engine against C usbipd, {name}" for name in names]


def test_sel4_has_each_figure_in_pairs() -> None:
    rates = {f"{way} {verb} {rate}": 1.0 for rate in sel4.RATES for verb in ("read", "write") for way in WAYS}
    frames = {"tcp": 1500.0, "plain": 1400.0}
    one = sel4.Figures(1.0, 2.0, frames=frames, rates={**rates, "tcp": 10.0, "plain": 5.0, "disk": 5.0})
    rows = list(sel4.rows(one, one))
    assert [row.of for row in rows] == ["seL4", "split run"] * (len(rows) // 2)
    shares = {row.name: row.value for row in rows if row.unit == "%"}
    assert shares["  unthrottled read, of TCP in the same run"] == 50.0
    assert shares["  routed write at 2 MiB/s, of native"] == 100.0


WAYS = ("native", "routed")


def test_tftp_ratios_have_goals_and_what_was_not_measured_has_no_row() -> None:
    transfers = (
        tftp.Transfer("ours", "curl", 1468, 1, 0.0, 30.0),
        tftp.Transfer("partftpy", "curl", 1468, 1, 0.0, None),
    )
    report = tftp.Report(1, 1, transfers, None, 0.9, 2.0, 11.0)
    rows = tftp.as_rows(report)
    assert [(row.name, row.met) for row in rows if row.goal] == [
        ("over tftpd-hpa", False),
        ("window 16 over window 1", True),
        ("over tftpd-hpa at 0.3 % loss", True),
    ]
    assert [row.of for row in rows if not row.goal] == ["ours"]
    assert "over partftpy                  not measured" in tftp.render(report)
