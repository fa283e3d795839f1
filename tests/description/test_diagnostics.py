# SPDX-License-Identifier: BSD-2-Clause
"""How an error looks: the line, the carets, the advice."""

from __future__ import annotations

import pytest

from router.description.diagnostics import (
    EXCERPT,
    DescriptionErrors,
    Diagnostic,
    Label,
    Span,
)
from router.errors import DescriptionError
from router.words import did_you_mean, listing, nearest


def one(line: str, span: Span, **more: object) -> Diagnostic:
    return Diagnostic("f.yaml", (line,), span, "wrong", **more)  # type: ignore[arg-type]


def caret_line(diagnostic: Diagnostic) -> str:
    return str(diagnostic).splitlines()[2]


def test_the_carets_stand_under_the_span() -> None:
    text = str(one("  memory: 512", Span(1, 11, 1, 14), hint="write '512 MiB'"))
    assert text == "f.yaml:1:11: error: wrong\n  1 |   memory: 512\n    |           ^^^\n  write '512 MiB'"


def test_a_tab_and_a_wide_character_keep_the_carets_in_place() -> None:
    assert caret_line(one("a\t# 鍵盤 x", Span(1, 8, 1, 9))) == "    |  \t       ^"
    assert caret_line(one("鍵盤", Span(1, 1, 1, 3))) == "    | ^^^^"


def test_a_span_over_several_lines_is_marked_to_the_end_of_its_first() -> None:
    assert caret_line(one("a: [1,", Span(1, 4, 3, 2))) == "    |    ^^^"


def test_a_span_behind_the_end_of_its_line_still_gets_a_caret() -> None:
    assert caret_line(one("a:", Span(1, 3, 1, 4))) == "    |   ^"


def test_a_long_line_is_cut_around_the_span() -> None:
    line = "x" * 5000 + "HERE" + "y" * 5000
    shown, carets = str(one(line, Span(1, 5001, 1, 5005))).splitlines()[1:]
    assert len(shown) < EXCERPT + 10
    at = carets.index("^")
    assert shown[at : at + 4] == "HERE"


def test_nothing_that_could_move_a_cursor_reaches_the_terminal() -> None:
    diagnostic = Diagnostic("f.yaml", ("a: \x1b[2J",), Span(1, 1, 1, 2), "unknown '\x1b[2J'", "write \x07 this")
    assert not [char for char in str(diagnostic) if not char.isprintable() and char != "\n"]


def test_two_places_in_one_line_show_the_line_once() -> None:
    diagnostic = one("a: 1, a: 2", Span(1, 7, 1, 8), related=(Label(Span(1, 1, 1, 2), "first here"),))
    assert str(diagnostic).count("a: 1, a: 2") == 1
    assert "^ first here" in str(diagnostic)


def test_errors_are_sorted_by_place_counted_and_each_told_once() -> None:
    late, early = one("abc", Span(1, 3, 1, 4)), one("abc", Span(1, 1, 1, 2))
    errors = DescriptionErrors([late, early, late])
    assert errors.diagnostics == (early, late)
    assert str(errors).splitlines()[-1] == "2 errors in f.yaml"
    assert isinstance(errors, DescriptionError)
    assert errors.exit_code == 2


def test_no_error_is_no_exception() -> None:
    with pytest.raises(ValueError, match="no error to report"):
        DescriptionErrors([])


def test_a_slip_of_the_pen_finds_its_word() -> None:
    assert did_you_mean("memroy", ["image", "memory"]) == "did you mean 'memory'?"
    assert did_you_mean("On-Exit", ["on_exit"]) == "did you mean 'on_exit'?"
    assert nearest("frobnicate", ["image", "memory"]) is None
    assert nearest("x", []) is None


def test_a_listing_reads_as_a_sentence() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b or c"
