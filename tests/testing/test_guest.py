# SPDX-License-Identifier: BSD-2-Clause
"""Waiting in a guest, with this computer's shell in the guest's place: as long as was said, and no two waits share."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from router.control.server import MAX_COMMAND_TIMEOUT_S
from router.testing import Guest, GuestConsole, GuestFailure, Router, guest
from tests.support.patience import PATIENCE


class Shell:
    """A connection to a guest that is this computer."""

    def __init__(self) -> None:
        self.timeouts: list[float] = []

    def execute(self, name: str, command: str, timeout: float) -> tuple[int, bytes]:
        self.timeouts.append(timeout)
        done = subprocess.run(
            ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
        return done.returncode, done.stdout


class Here:
    """A system whose guests are this computer."""

    def __init__(self) -> None:
        self.shell = Shell()

    def connect(self) -> Any:
        return nullcontext(self.shell)


@pytest.fixture
def here() -> Here:
    return Here()


@pytest.fixture
def client(here: Here) -> Guest:
    return Guest(cast(Router, here), "client")


def test_a_wait_ends_with_what_the_last_try_said(client: Guest, tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    done = client.wait_for(f"echo x >>{tries}; echo $(wc -l <{tries}) tries; [ $(wc -l <{tries}) -ge 3 ] # enough")
    assert done.stdout == "3 tries\n"
    assert list(Path("/tmp").glob(".wait-*")) == []


@pytest.mark.parametrize("seconds", [0, 0.3, 1.2])
def test_a_wait_in_vain_takes_the_time_that_its_failure_says(client: Guest, seconds: float) -> None:
    start = time.monotonic()
    with pytest.raises(GuestFailure, match=rf"client: not within {seconds:g} s: echo no; false\n  no"):
        client.wait_for("echo no; false", seconds)
    took = time.monotonic() - start
    assert seconds <= took < seconds + PATIENCE / 2


def test_a_try_that_takes_long_counts(client: Guest) -> None:
    start = time.monotonic()
    with pytest.raises(GuestFailure):
        client.wait_for("sleep 1; false", 2)
    assert time.monotonic() - start < 2 + PATIENCE / 2


def test_a_long_wait_asks_for_no_more_time_than_a_command_may_have(
    here: Here, client: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guest.MAX_LOOP_S + guest.COMMAND_TIMEOUT_S <= MAX_COMMAND_TIMEOUT_S
    client.wait_for("true", 100_000)
    assert here.shell.timeouts == [guest.MAX_LOOP_S + guest.COMMAND_TIMEOUT_S]
    monkeypatch.setattr(guest, "MAX_LOOP_S", 1.0)
    with pytest.raises(GuestFailure, match=r"not within 2\.5 s"):
        client.wait_for("false", 2.5)
    assert len(here.shell.timeouts) > 3, "several loops, one after the other"


def test_two_waits_at_once_do_not_see_each_others_output(client: Guest) -> None:
    found: dict[str, str] = {}

    def wait(name: str) -> None:
        found[name] = client.wait_for(f"echo {name}; sleep 0.3").stdout

    threads = [threading.Thread(target=wait, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == {"one": "one\n", "two": "two\n"}


def test_a_character_that_comes_in_two_pieces_is_one() -> None:
    console = GuestConsole("client")
    for piece in (b"gr\xc3", b"\xbc\xc3\x9f", b"e \xe2", b"\x82", b"\xac\xff!"):
        console.take(piece)
    assert console.text == "grüße €\ufffd!"
