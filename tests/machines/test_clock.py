# SPDX-License-Identifier: BSD-2-Clause
"""The host sets the guests' clocks."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from router.errors import MachineError
from router.machines.clock import ClockSetter, clock_command
from tests.support.patience import PATIENCE, wait_until


@pytest.mark.parametrize(("least", "set_to"), [(1000, "@2000"), (3000, ""), (None, "@2000")])
def test_a_clock_is_never_set_to_before_the_date_of_the_image(tmp_path: Path, least: int | None, set_to: str) -> None:
    date = tmp_path / "date"
    if least is not None:
        date.write_text(f"{least}\n")
    command = clock_command(2000.2).replace("/etc/router/date", str(date))
    shown = subprocess.run(
        ["sh", "-c", f'date() {{ echo "$3"; }}; {command}'], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == set_to


def test_each_guest_that_is_up_gets_the_time_also_while_another_does_not_answer() -> None:
    begun, finished = threading.Event(), threading.Event()

    def set_clock(guest: str, over: Callable[[], bool]) -> None:
        if guest == "client":
            finished.set()
            return
        begun.set()
        while not over():
            threading.Event().wait(0.01)

    clocks = ClockSetter(["mute", "client"], set_clock)
    clocks.start()
    clocks.guest_is_up("mute")
    assert begun.wait(PATIENCE)
    clocks.guest_is_up("client")
    assert finished.wait(PATIENCE)
    clocks.close()


def test_a_guest_that_comes_up_again_gets_the_time_again_also_after_a_failure() -> None:
    done: list[str] = []

    def set_clock(guest: str, over: Callable[[], bool]) -> None:
        done.append(guest)
        if len(done) == 1:
            raise MachineError("no answer")

    clocks = ClockSetter(["client"], set_clock)
    clocks.start()
    clocks.guest_is_up("client")
    assert wait_until(lambda: len(done) == 1)
    clocks.guest_is_up("client")
    assert wait_until(lambda: len(done) == 2)
    clocks.close()
