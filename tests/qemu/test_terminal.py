# SPDX-License-Identifier: BSD-2-Clause
"""Guests' consoles in a real terminal, while the system runs and as the run's own."""

from __future__ import annotations

from pathlib import Path

from router.testing import Router
from tests.support.end_to_end import BOOT, describe_two, own_place, processes_in
from tests.support.end_to_end import router as command_line
from tests.support.terminal_user import Terminal, use_a_shell


def test_a_guest_of_a_running_system_has_a_console_that_can_be_left(router: Router, tmp_path: Path) -> None:
    command = command_line("console", "--system", router.name, "--guest", "stranger")
    with Terminal(command, tmp_path) as terminal:
        terminal.expect("console of stranger; Ctrl-\\] leaves it")
        use_a_shell(terminal)
        terminal.send("\x1d")
        assert terminal.ended() == 0
    assert router.guest("stranger").run("echo still here").stdout == "still here\n"


def test_a_run_with_a_console_ends_when_it_is_left(tmp_path: Path) -> None:
    path = describe_two(tmp_path, "at-a-terminal")
    command = command_line("run", path, "--mode", "split", "--console", "client")
    with own_place(), Terminal(command, tmp_path) as terminal:
        terminal.expect("console of client; Ctrl-\\] ends the run", BOOT)
        terminal.expect("userspace up", BOOT)
        use_a_shell(terminal)
        terminal.send("\x1d")
        assert terminal.ended() == 0
    assert processes_in(tmp_path) == []
