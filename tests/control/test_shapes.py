# SPDX-License-Identifier: BSD-2-Clause
"""An answer on the control socket is used only if it has the form that is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from router.control import shapes
from router.control.system import state
from tests.control.running import FakeSystem


def answered(change: Callable[[dict[str, Any]], object] = lambda answer: None) -> Any:
    """A system's answer to `state` as it comes over the socket, with a change."""
    answer = json.loads(json.dumps(state(FakeSystem(), "split", 1)))
    change(answer)
    return json.loads(json.dumps(answer))


def test_a_systems_state_has_its_form() -> None:
    assert shapes.fits(answered(), shapes.STATE)


@pytest.mark.parametrize("name", shapes.STATE)
def test_a_state_without_a_field_that_is_relied_on_is_refused(name: str) -> None:
    assert not shapes.fits(answered(lambda answer: answer.pop(name)), shapes.STATE)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "true"])
def test_a_number_that_is_none_or_has_no_measure_is_refused(number: str) -> None:
    seconds = json.loads(number)
    assert not shapes.fits(answered(lambda answer: answer.update(seconds=seconds)), shapes.STATE)


@pytest.mark.parametrize("grants", [None, {}, [1]])
def test_grants_are_a_list_of_rules(grants: Any) -> None:
    assert not shapes.fits(answered(lambda answer: answer.update(grants=grants)), shapes.STATE)
