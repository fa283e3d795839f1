# SPDX-License-Identifier: BSD-2-Clause
"""Sizes, lists and guesses read the same wherever a message or a report has them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import router
from router.words import listing, nearest, quoted, rounded_size, size_text

PACKAGE = Path(router.__file__).parent


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1536, "1536 B"),
        (512 << 20, "512 MiB"),
        (1 << 30, "1 GiB"),
    ],
)
def test_a_size_is_said_in_the_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_sum_of_sizes_is_rounded_to_a_tenth_of_a_mebibyte() -> None:
    assert rounded_size((152 << 20) + (200 << 10)) == "152.2 MiB"
    assert rounded_size(3 << 20) == "3 MiB"
    assert rounded_size(4096) == "4 KiB"


def test_lists_of_any_length_read_as_a_person_writes_them() -> None:
    assert [listing(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "nothing",
        "a",
        "a or b",
        "a, b or c",
    ]
    assert [quoted(words) for words in ([], ["a"], ["a", "b", "c"])] == ["", "'a'", "'a', 'b' and 'c'"]


def test_a_word_that_is_like_no_known_one_gets_no_guess() -> None:
    assert nearest("zzz", ["server", "client"]) is None


def test_no_other_module_guesses_words_or_names_units_of_its_own() -> None:
    """One place decides how near a word must be and how a size is written."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "words.py" or PACKAGE / "usbip" in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if "difflib" in names or (isinstance(node, ast.FunctionDef) and node.name in ("size_text", "did_you_mean")):
                found.append(f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}")
    assert found == []
