# SPDX-License-Identifier: BSD-2-Clause
"""A system on seL4 is controlled and used from other programs, over the one serial line that its guests share."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.testing import Router
from tests.support.end_to_end import router as command_line
from tests.support.screen import Screen
from tests.support.terminal_user import Terminal, use_a_shell

Says = Callable[..., str]
SOON = 6.0
"""Seconds; it is 1 on a quiet machine."""


@pytest.fixture(autouse=True)
def running(router: Router) -> None:
    """Every test here is about a system that runs."""


def listed(says: Says) -> dict[str, object]:
    return {row["name"]: row["holder"] for row in json.loads(says("usb", "list", "--json"))}


def test_the_list_is_there_soon(says: Says) -> None:
    expected = {"QEMU USB HARDDRIVE": "client", "QEMU USB Keyboard": "client", "QEMU USB Mouse": None}
    assert listed(says) == expected
    took: list[float] = []
    while len(took) < 10 and min(took, default=SOON) >= SOON:
        start = time.monotonic()
        assert listed(says) == expected
        took.append(time.monotonic() - start)
    print(f"router usb list: best of {len(took)} {min(took):.2f} s")
    assert min(took) < SOON, took


def test_a_device_is_attached_and_detached_by_hand(router: Router, says: Says) -> None:
    assert "QEMU USB Mouse is on port 3 of 'client'" in says("usb", "attach", "client", "mouse", "--port", "3")
    router.guest("client").wait_for("grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert "held by guest 'client', on port 3" in says("usb", "attach", "stranger", "mouse", code=4)
    says("usb", "detach", "client", "3")
    assert listed(says)["QEMU USB Mouse"] is None


def test_a_guests_console_is_a_terminal_like_any_other(router: Router, tmp_path: Path) -> None:
    command = command_line("console", "--system", router.name, "--guest", "client")
    with Terminal(command, tmp_path) as terminal:
        terminal.expect("console of client; Ctrl-\\] leaves it")
        use_a_shell(terminal)
        terminal.send("\x1d")
        assert terminal.ended() == 0
    assert router.guest("client").run("echo still here").stdout == "still here\n"


def test_the_live_view_shows_the_guests_and_the_disk_and_what_the_switch_drops(router: Router, tmp_path: Path) -> None:
    router.guest("stranger").run("ping -c 1 -W 1 10.77.0.2", check=False)
    with Screen(command_line("top", "--system", router.name), tmp_path, 120, 40) as screen:
        screen.until(lambda text: " microkit " in text and "3 of 3 guests up" in text)
        screen.until(lambda text: re.search(r"QEMU USB HARDDRIVE +client, port", text) is not None)
        # The stranger's row: bytes in and out, how many frames were dropped, and why.
        row = re.compile(r"stranger +[\d.]+ \S+ +[\d.]+ \S+ +[1-9]\d* +[a-z-]+[a-z0-9] \d+")
        screen.until(lambda text: row.search(text) is not None)
        screen.send("q")
        assert screen.ended() == 0
