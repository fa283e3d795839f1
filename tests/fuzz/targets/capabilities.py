# SPDX-License-Identifier: BSD-2-Clause
"""The capability specification of an image. Any change of it is refused, or changes what the image is said to give.

An input is JSON, or (first byte 0) changes of the specification of a small system: an image that gives other rights
than described must never pass for the one described.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from router.errors import HostError
from router.isolation.image import image_facts
from router.microkit.capdl import parse_specification
from tests.isolation.judged import Path_, judged
from tests.isolation.small import wanted, write

from ._reader import Reader

SPEC = write()
WANTED = wanted()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in it."""
    found = [path] if path else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += places(inner, (*path, key))
    return found


PLACES = places(SPEC)
VALUES: tuple[Any, ...] = (None, True, False, 0, 1, 2, -1, 1 << 63, 1 << 70, 0.5, "", "Tcb", [], {}, "frame_mr_ram_0")


def at(spec: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        spec = spec[step]
    return spec


def change(spec: Any, reader: Reader) -> Path_:
    """One change; its place."""
    path = PLACES[reader.number(2) % len(PLACES)]
    kind, argument = reader.number(1), reader.number(1)
    try:
        above = at(spec, path[:-1])
        before = above[path[-1]]
    except (LookupError, TypeError):
        return path
    if not isinstance(above, dict | list):
        return path
    match kind & 3:
        case 0:
            above[path[-1]] = VALUES[argument % len(VALUES)]
        case 1:
            above[path[-1]] = before + argument if type(before) is int else VALUES[argument % len(VALUES)]
        case 2:
            del above[path[-1]]
        case _:
            other = PLACES[(argument | kind << 6) % len(PLACES)]
            above[path[-1]] = copy.deepcopy(at(SPEC, other))
    return path


def one_input(data: bytes) -> None:
    if data[:1] != b"\0":
        try:
            image_facts(parse_specification(data))
        except HostError as error:
            assert error.message
        return
    reader, spec = Reader(data[1:]), copy.deepcopy(SPEC)
    changed: list[Path_] = []
    while reader and len(changed) < 4:
        changed.append(change(spec, reader))
    try:
        found = image_facts(parse_specification(json.dumps(spec)))
    except HostError as error:
        assert error.message
        return
    if len(changed) == 1 and spec != SPEC and not isinstance(at(SPEC, changed[0]), dict | list):
        assert found != WANTED or not judged(SPEC, changed[0]), f"a change of {changed[0]} gives nobody anything"


def seeds() -> list[bytes]:
    def edit(*path: Any, kind: int = 0, argument: int = 0) -> bytes:
        return PLACES.index(path).to_bytes(2, "little") + bytes([kind, argument])

    slots = next(path for path in PLACES if path[-1] == "rights" and path[0] == "objects")
    return [
        b"\0",
        b"\0" + edit(*slots, "write", kind=0, argument=1),
        b"\0" + edit("objects", 0, kind=2),
        b"\0" + edit("irqs", 0, "irq", kind=1, argument=1),
        b"\0" + edit("objects", 1, "object", kind=3, argument=9),
        b'{"objects": []}',
        b"[" * 2000,
    ]
