# SPDX-License-Identifier: BSD-2-Clause
"""A look into a guest: its counters become rates, and no answer does harm."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.overview.sample import MAX_ANSWER, Rate, Sample, Traffic, command, device_rate, network_rate, parse
from tests.overview.moments import BEFORE, NOW
from tests.support.patience import PATIENCE

ANSWER = b"""\
usb 1-5 16
usb 2-1.4 54
usb usb1 226
disk /sys/devices/platform/vhci_hcd.0/usb2/2-1/2-1.4/2-1.4:1.0/host0/target0:0:0/0:0:0:0        3        0       24 \
      50        2        0        8        6        0       24       24        0        0        0
disk /sys/devices/pci0000:00/0000:00:01.0/virtio0 1 0 8 1 0 0 0 0 0 1 1
net 25569 18447
up 198.23
ping 10.77.0.2 6.205
"""


def test_an_answer_becomes_counters() -> None:
    assert parse(ANSWER) == Sample(
        198.23,
        {"1-5": 16, "2-1.4": 54},
        {"2-1.4": Traffic(3, 24 * 512, 2, 8 * 512, 56)},
        25569,
        18447,
        {"10.77.0.2": 6.205},
    )


def test_the_command_is_a_shells_and_gives_this_computers_own_counters(tmp_path: Path) -> None:
    said = subprocess.run(["sh", "-c", command()], capture_output=True, timeout=PATIENCE, cwd=tmp_path, check=False)
    found = parse(said.stdout)
    assert found is not None
    assert found.uptime > 0


def test_round_trips_are_asked_for_where_there_is_an_address() -> None:
    assert "ping" not in command()
    assert "-W 1 10.77.0.2 " in command([IPv4Address("10.77.0.2")])


@pytest.mark.parametrize(
    "answer",
    [b"", b"up \n", b"up -1", b"up 1e9", b"usb 1-1 5\n", b"up 99999999999999999999.0", b"\xff\x00\x1b[2J", b"up 1" * 9],
)
def test_an_answer_without_an_uptime_is_none(answer: bytes) -> None:
    assert parse(answer) is None


def test_lines_that_are_nothing_of_it_are_ignored() -> None:
    more = b"usb 1-1;reboot 5\nusb 1-1 99999999999999999999\ndisk /sys/x 1 2\nnet 1\nping 1.2.3.4\nups 3\n\x1b[2J\n"
    assert parse(more + ANSWER) == parse(ANSWER)


def test_no_more_of_an_answer_is_looked_at_than_an_honest_one_has() -> None:
    assert parse(ANSWER + b"x" * MAX_ANSWER + b"\nup 3.0\n") == parse(ANSWER)
    flood = b"".join(b"usb 1-%d 1\n" % n for n in range(999)) + b"up 1.0\n"
    found = parse(flood)
    assert found is not None
    assert len(found.urbs) == 256


@given(st.binary(max_size=400) | st.lists(st.sampled_from(ANSWER.splitlines(keepends=True))).map(b"".join))
def test_any_answer_is_read_without_an_error(answer: bytes) -> None:
    found = parse(answer)
    assert found is None or found.uptime >= 0


def test_two_looks_give_a_devices_rates() -> None:
    assert device_rate(BEFORE, NOW, "2-1") == Rate(100.0, 1_500_000.0, 0.0, 2.0)
    assert network_rate(BEFORE, NOW) == (4_000.0, 0.0)


def test_a_device_without_a_disk_has_a_rate_of_urbs_only() -> None:
    assert device_rate(BEFORE, replace(NOW, disks={}), "2-1") == Rate(100.0)


def test_what_has_come_in_between_has_done_all_of_it_since() -> None:
    none = replace(BEFORE, urbs={}, disks={})
    assert device_rate(none, NOW, "2-1") == Rate(150.0, 1_500_500.0, 250.0, 60 / 35)
    assert device_rate(replace(BEFORE, disks={}), NOW, "2-1") == Rate(100.0, 1_500_500.0, 250.0, 60 / 35)


def test_an_idle_disk_has_no_time_for_a_request() -> None:
    assert device_rate(BEFORE, replace(BEFORE, uptime=41.0), "2-1") == Rate(0.0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, NOW),
        (BEFORE, None),
        (NOW, BEFORE),
        (NOW, NOW),
        (BEFORE, replace(NOW, urbs={})),
        (BEFORE, replace(NOW, urbs={"2-1": 1})),
        (BEFORE, replace(NOW, disks={"2-1": Traffic()})),
    ],
)
def test_what_began_anew_in_between_has_no_rate(before: Sample | None, now: Sample | None) -> None:
    assert device_rate(before, now, "2-1") is None


def test_counters_that_went_back_give_no_network_rate() -> None:
    assert network_rate(BEFORE, replace(NOW, received_bytes=1)) is None
