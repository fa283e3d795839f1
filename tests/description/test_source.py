# SPDX-License-Identifier: BSD-2-Clause
"""YAML as the description reads it: the core schema of YAML 1.2, and every value with its place."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from router.description import source as module
from router.description.diagnostics import Diagnostic, Span
from router.description.source import SourceText, parse, plain
from router.description.text import make_text


def read(content: str) -> SourceText:
    parsed = parse(make_text("file.yaml", content))
    assert parsed.problems == ()
    assert parsed.source is not None
    return parsed.source


def value(content: str) -> Any:
    return plain(read(f"it: {content}\n").root)["it"]


def problems(content: str) -> list[Diagnostic]:
    return list(parse(make_text("file.yaml", content)).problems)


@pytest.mark.parametrize(
    "text",
    ["046d:c31c", "1-1", "1-1.4", "52:54:00:12:34:56", "2.1.0", "a -> b icmp", "512 MiB", "1e", "0x", "None"],
)  # fmt: skip
def test_what_looks_almost_like_a_number_stays_text(text: str) -> None:
    assert value(text) == text


@pytest.mark.parametrize(
    ("text", "meant"), [("8", 8), ("-3", -3), ("0x1F", 31), ("true", True), ("False", False), ("1.5", 1.5), ("0", 0)]
)
def test_numbers_and_truth_values_are_those_of_yaml_1_2(text: str, meant: object) -> None:
    assert value(text) == meant
    assert type(value(text)) is type(meant)


@pytest.mark.parametrize(
    "text",
    ["0525", "012", "08", "12:34", "1:30:00", "1e3", "1_000", "0b11", "0o17", "no", "Yes", "on", "y", "2024-01-31"],
)  # fmt: skip
def test_what_yaml_readers_disagree_on_is_refused_and_accepted_between_quotes(text: str) -> None:
    (found,) = problems(f"it: {text}\n")
    assert f'"{text}"' in str(found.hint)
    assert value(f'"{text}"') == text
    assert value(f"'{text}'") == text


def test_each_value_and_key_has_its_span() -> None:
    tree = read("system: demo\nguests:\n  a: {image: usb-client}\n  b:\n    passthrough: [x, 'y z']\n")
    assert tree.where(("system",)) == Span(1, 9, 1, 13)
    assert tree.where(("guests", "a")) == Span(3, 6, 3, 25)
    assert tree.where(("guests", "a"), key=True) == Span(3, 3, 3, 4)
    assert tree.where(("guests", "b", "passthrough", 1)) == Span(5, 22, 5, 27)
    assert tree.place(("guests", "a", "image")) == "file.yaml:3:14"


def test_a_value_over_several_lines_is_pointed_at_by_its_key() -> None:
    tree = read("guests:\n  a:\n    image: x\nusb:\n  - path: 1-1\n    to: a\n")
    assert tree.where(("guests", "a")) == Span(2, 3, 2, 4)
    assert tree.where(("usb", 0)) == Span(5, 5, 5, 9)


def test_a_path_to_a_default_points_at_what_stands_above_it() -> None:
    tree = read("network: {mtu: 1500}\n")
    assert tree.where(("network", "queue", "depth")) == tree.where(("network",))
    assert tree.where(("usb", 3, "to")).line == 1


def test_the_models_names_of_renamed_fields_find_their_place() -> None:
    tree = read("usb:\n  - {class: hid, from: server, to: client}\n")
    assert tree.where(("usb", 0, "class_")) == tree.where(("usb", 0, "class"))
    assert tree.where(("usb", 0, "source")) == tree.where(("usb", 0, "from")) == Span(2, 24, 2, 30)


def test_a_byte_order_mark_and_windows_line_ends_shift_nothing(tmp_path: Any) -> None:
    from router.description.text import read_text

    file = tmp_path / "windows.yaml"
    file.write_bytes(b"\xef\xbb\xbfsystem: demo\r\nboard: qemu\r\n")
    parsed = parse(read_text(file))
    assert parsed.source is not None
    assert parsed.source.where(("board",)) == Span(2, 8, 2, 12)
    assert parsed.source.text.lines == ("system: demo", "board: qemu")


def test_an_alias_stands_for_the_whole_value() -> None:
    tree = read("a: &usb {version: 3}\nb: *usb\n")
    assert plain(tree.root) == {"a": {"version": 3}, "b": {"version": 3}}
    assert tree.where(("b", "version")).line == 1


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    (found,) = problems("a: &a [*a]\n")
    assert "undefined anchor" in found.message


def test_unfolding_aliases_is_bounded_and_quick() -> None:
    levels = "".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]\n" for n in range(12))
    (found,) = problems(f"l0: &l0 lol\n{levels}")
    assert "aliases are expanded" in found.message


def test_a_duplicate_key_shows_both_places_and_the_first_value_counts() -> None:
    parsed = parse(make_text("file.yaml", "a: 1\nb: 2\na: 3\n"))
    (found,) = parsed.problems
    assert [label.span.line for label in found.related] == [1]
    assert found.span.line == 3
    assert parsed.source is not None
    assert plain(parsed.source.root) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "content", ["a: [1\nb: 2\n", 'a: "x\n', "a: b: c\n", "\ta: 1\n", "a: @b\n", "- a\nb: 1\n", "a: %x\n"]
)
def test_both_yaml_parsers_lead_to_the_same_words(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_c = problems(content)
    monkeypatch.setattr(module, "FAST", yaml.SafeLoader)
    assert with_c == problems(content)
    assert len(with_c) == 1


@pytest.mark.parametrize(
    "content",
    ["system: demo\nguests: {a: {image: x, smc: [1, 0x2]}, b: &b [1, 'two']}\nusb: *b\n", "a: |\n  text\n  more\n"],
)
def test_both_yaml_parsers_lead_to_the_same_tree(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_c = parse(make_text("file.yaml", content))
    monkeypatch.setattr(module, "FAST", yaml.SafeLoader)
    assert with_c.source is not None
    assert with_c == parse(make_text("file.yaml", content))
