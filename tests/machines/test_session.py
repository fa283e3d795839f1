# SPDX-License-Identifier: BSD-2-Clause
"""The commands of `router run --exec` are understood, or refused with what to write."""

from __future__ import annotations

import pytest

from router.cli.run import headline
from router.errors import DescriptionError
from router.machines.qemu.session import GuestCommand, RunOptions, parse_command

GUESTS = ("server", "client")


def test_a_command_names_its_guest_first() -> None:
    assert parse_command("client: sha256sum /dev/sda", GUESTS) == GuestCommand("client", "sha256sum /dev/sda")
    assert parse_command("client:a: b", GUESTS) == GuestCommand("client", "a: b")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sha256sum /dev/sda", "not a command for a guest: 'sha256sum /dev/sda'", "write 'GUEST: COMMAND'"),
        ("client:", "not a command for a guest: 'client:'", "write 'GUEST: COMMAND'"),
        ("cliend: true", "no guest 'cliend'", "guests: server, client"),
    ],
)
def test_a_wrong_command_says_what_to_write(text: str, message: str, hint: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_command(text, GUESTS)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_console_and_exec_exclude_each_other() -> None:
    options = RunOptions(commands=(GuestCommand("client", "true"),), console="client")
    with pytest.raises(DescriptionError, match="exclude each other"):
        options.check(GUESTS)


def test_a_console_needs_a_terminal() -> None:
    with pytest.raises(DescriptionError, match="needs a terminal"):
        RunOptions(console="client").check(GUESTS)


def test_a_run_says_how_it_runs_and_why_where_that_was_left_open() -> None:
    assert headline("desk", "auto", "split") == "desk: split run, since no Microkit SDK is installed (router doctor)"
    assert headline("desk", "split", "split") == "desk: split run"
    assert headline("desk", "auto", "microkit") == "desk: microkit run"
