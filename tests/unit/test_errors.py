# SPDX-License-Identifier: BSD-2-Clause
"""Errors say where, what and what to do, and each kind has its own exit code."""

from __future__ import annotations

import pytest

from router.errors import DescriptionError, HostError, MachineError, RouterError


def test_an_error_reads_where_what_and_what_to_do() -> None:
    error = DescriptionError("no board 'maxboard'", hint="did you mean 'maaxboard'?", where="a.yaml:2:8")
    assert str(error) == "a.yaml:2:8: error: no board 'maxboard'\n  did you mean 'maaxboard'?"


@pytest.mark.parametrize(("kind", "code"), [(DescriptionError, 2), (HostError, 3), (MachineError, 4)])
def test_each_kind_of_error_has_its_exit_code(kind: type[RouterError], code: int) -> None:
    assert kind("x").exit_code == code
