# SPDX-License-Identifier: BSD-2-Clause
"""The tool's JSON is read strictly: what is not known is refused, and no change of it goes unseen."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from router.errors import HostError
from router.isolation.image import image_facts
from router.microkit.capdl import parse_specification
from tests.isolation.judged import Path_, judged
from tests.isolation.planted import fields
from tests.isolation.small import wanted, write


def leaves(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every number, text, truth value and null of a JSON value."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for n, each in enumerate(value):
            yield from leaves(each, (*path, n))
    else:
        yield path, value


def other(value: Any) -> Any:
    """Another value of the same type; a number in place of null."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return 1 if value is None else value + 1


def changed(spec: dict[str, Any], path: Path_) -> dict[str, Any]:
    """A copy with another value at one place."""
    copied = copy.deepcopy(spec)
    place: Any = copied
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = other(place[path[-1]])
    return copied


def test_every_change_of_one_value_is_found_or_refused() -> None:
    spec, said = write(), wanted()
    unseen, tried = [], 0
    for path, _ in leaves(spec):
        try:
            same = image_facts(parse_specification(json.dumps(changed(spec, path)))) == said
        except HostError:
            same = False
        tried += 1
        if same and judged(spec, path):
            unseen.append(path)
    assert unseen == []
    assert tried > 800


def test_every_capability_taken_away_is_found_or_refused() -> None:
    spec, said = write(), wanted()
    for n, entry in enumerate(spec["objects"]):
        held = [] if isinstance(entry["object"], str) else fields(entry).get("slots", [])
        for slot in range(len(held)):
            copied = copy.deepcopy(spec)
            del fields(copied["objects"][n])["slots"][slot]
            with contextlib.suppress(HostError):
                assert image_facts(parse_specification(json.dumps(copied))) != said, entry["name"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("more",), [], "missing or unknown: more"),
        (("objects", 0, "name"), None, "object 0: it has no name"),
        (("objects", 0, "object", "Frame", "colour"), 1, "frame_mr_ram_000000000: missing or unknown: colour"),
        (("objects", 0, "object", "Frame", "size_bits"), "21", "a number is expected, not '21'"),
        (("objects", 0, "object", "Frame", "size_bits"), True, "a number is expected, not True"),
        (("objects", 0, "object", "Frame", "paddr"), -4096, "a number is expected, not -4096"),
        (("objects", 0, "object", "Frame", "init"), [], "an object is expected, not list"),
        (("objects", 0, "object", "Other"), {}, "one kind is expected"),
        (("objects", 1, "name"), "frame_mr_ram_000000000", "two objects have one name"),
        (("root_objects", "end"), 3, "of them at the root"),
        (("irqs", 0, "handler"), 10_000, "interrupt 40 is there twice, or without its object"),
        (("irqs", 0, "handler"), 2.5, "a number is expected, not 2.5"),
        (("objects",), {}, "a list is expected, not dict"),
    ],
)
def test_what_the_tool_does_not_write_is_refused(path: Path_, value: Any, message: str) -> None:
    spec = write()
    place: Any = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(HostError, match=r"is not as SDK 2\.3\.0 writes it") as caught:
        parse_specification(json.dumps(spec))
    assert message in caught.value.message


def test_a_file_that_was_cut_off_is_refused() -> None:
    with pytest.raises(HostError, match="the file: "):
        parse_specification(json.dumps(write())[:-40])
