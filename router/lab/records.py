# SPDX-License-Identifier: BSD-2-Clause
"""Frozen dataclasses to JSON and back, strictly: unknown fields, missing fields and wrong types are errors.

Pydantic would do it better, but the runner on a lab host has the standard library only.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


class RecordError(ValueError):
    """The JSON does not fit the record; the message names the field."""


def to_json(record: Any) -> Any:
    """Dicts, lists and scalars for a dataclass instance; tuples become lists."""
    if dataclasses.is_dataclass(record):
        return {field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)}
    if isinstance(record, tuple | list):
        return [to_json(item) for item in record]
    if isinstance(record, dict):
        return {key: to_json(value) for key, value in record.items()}
    return record


def from_json(kind: type[T], raw: Any, field: str = "") -> T:
    """The dataclass `kind` that `raw` (decoded JSON) stands for; RecordError otherwise."""
    if not isinstance(raw, dict):
        raise RecordError(f"{field or 'the record'}: an object is needed, not {raw!r:.60}")
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    unknown = sorted(set(raw) - {item.name for item in fields})
    if unknown:
        raise RecordError(f"{_join(field, unknown[0])}: unknown field")
    values: dict[str, Any] = {}
    for item in fields:
        if item.name in raw:
            values[item.name] = _convert(hints[item.name], raw[item.name], _join(field, item.name))
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise RecordError(f"{_join(field, item.name)}: missing")
    return kind(**values)


def _join(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _convert(hint: Any, raw: Any, field: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        if raw is None and type(None) in typing.get_args(hint):
            return None
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
        return _convert(hint, raw, field)
    if origin is tuple:
        if not isinstance(raw, list):
            raise RecordError(f"{field}: a list is needed, not {raw!r:.60}")
        return tuple(_convert(typing.get_args(hint)[0], item, f"{field}[{n}]") for n, item in enumerate(raw))
    if origin is dict:
        if not isinstance(raw, dict):
            raise RecordError(f"{field}: an object is needed, not {raw!r:.60}")
        return {
            str(key): _convert(typing.get_args(hint)[1], value, _join(field, str(key))) for key, value in raw.items()
        }
    if dataclasses.is_dataclass(hint):
        return from_json(typing.cast(type, hint), raw, field)
    if hint is float and type(raw) is int:
        return float(raw)
    if hint is not Any and type(raw) is not hint:
        raise RecordError(f"{field}: {getattr(hint, '__name__', hint)} is needed, not {raw!r:.60}")
    return raw
