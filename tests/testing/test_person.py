# SPDX-License-Identifier: BSD-2-Clause
"""A person who plugs devices into a board: asked in words, waited for, and not for ever."""

from __future__ import annotations

import pytest

from router.errors import MachineError
from router.testing import person
from router.testing.person import Person


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "LOOK_S", 0.001)


def looks(*seen: set[str]) -> person.Busids:
    """What is plugged in, at one look after the other; the last one stays."""
    left = list(seen)
    return lambda: frozenset(left.pop(0) if len(left) > 1 else left[0])


def test_the_device_is_what_appears_after_the_person_was_asked() -> None:
    said: list[str] = []
    someone = Person(said.append)
    assert someone.plug("keyboard", looks({"1-1"}, {"1-1"}, {"1-1", "1-4"})) == "1-4"
    someone.unplug("keyboard", "1-4", looks({"1-1", "1-4"}, {"1-1"}))
    assert said == [
        "→ plug a keyboard into the board now (within 120 s)",
        "→ pull the keyboard (1-4) out of the board now (within 120 s)",
    ]


def test_a_person_who_does_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person, "PLUG_TIMEOUT_S", 0.01)
    someone = Person(lambda _: None)
    with pytest.raises(MachineError, match="no mouse was plugged in within 0 s"):
        someone.plug("mouse", looks({"1-1"}))
    with pytest.raises(MachineError, match="the mouse was not pulled out"):
        someone.unplug("mouse", "1-1", looks({"1-1"}))


def test_nobody_is_there_unless_the_command_line_says_so() -> None:
    assert not Person(None).present
    assert Person(print).present
