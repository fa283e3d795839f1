# SPDX-License-Identifier: BSD-2-Clause
"""What Pydantic found, in our words: the field, what is wrong with its value, and what to write instead."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from router.description import fields
from router.description.diagnostics import Diagnostic
from router.description.models import IMAGE_FORMS
from router.description.source import Scalar, SourceText
from router.description.values import InvalidValue, shown
from router.words import listing, nearest

Path = tuple[str | int, ...]

EXAMPLES = {
    "system": "system: my-system",
    "board": "board: qemu",
    "guests": "guests: {server: {image: usb-server}, client: {image: usb-client}}",
    "image": "image: usb-client",
    "kernel": "kernel: Image",
    "initramfs": "initramfs: initramfs.cpio.gz",
    "to": "to: client",
    "microkit": "microkit: {sdk: auto, config: release}",
    "usb": "usb:\n  - {class: hid, to: client}",
    "disks": "disks:\n  - {name: data, to: client, on: {class: mass-storage}, size: 2 GiB}",
    "on": "on: {class: mass-storage}",
    "size": "size: 2 GiB",
    "network": "network: {mtu: 1500}",
    "queue": "queue: {depth: 512, buffer: 2 KiB}",
}
"""A line to copy, by field."""


def translate(source: SourceText, error: ValidationError, bad: set[Path]) -> list[Diagnostic]:
    """Diagnostics for everything that Pydantic found, but for what lies at or below a path reported already."""
    found = []
    for detail in error.errors(include_url=False):
        path: Path = tuple(step for step in detail["loc"] if step not in (*IMAGE_FORMS, "[key]"))
        if not any(path[: len(known)] == known for known in bad):
            found.append(word(source, detail, path))
    return found


def word(source: SourceText, detail: ErrorDetails, path: Path) -> Diagnostic:
    """One of Pydantic's findings as a diagnostic."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return source.diagnostic(
            path[:-1], f"'{path[-1]}' is missing", f"write {EXAMPLES.get(str(path[-1]), path[-1])}"
        )
    if kind == "extra_forbidden":
        return unknown(source, path)
    is_key = "[key]" in detail["loc"]
    if kind == "value_error" and isinstance(context.get("error"), InvalidValue):
        unfit: InvalidValue = context["error"]
        return source.diagnostic(path, str(unfit), unfit.hint, key=is_key)
    message, hint = of_value(source, kind, context, path, detail["input"])
    return source.diagnostic(path, message, hint, key=is_key)


def of_value(
    source: SourceText, kind: str, context: dict[str, Any], path: Path, value: object
) -> tuple[str, str | None]:
    """Message and hint for a value of the wrong type or out of its range."""
    name = field_name(path)
    match kind:
        case "string_type" | "path_type":
            return text_wanted(source, path, name, value)
        case "int_type":
            low, high = fields.bounds(path)
            span = f" from {low} to {high}" if low is not None and high is not None else ""
            quotes = " without quotes" if isinstance(value, str) else ""
            return f"{name} must be a whole number, not {kind_of(value)}", f"write a number{span}{quotes}"
        case "greater_than_equal" | "less_than_equal":
            low, high = fields.bounds(path)
            return f"{shown(value)} is out of range", f"{name} must be a number from {low} to {high}"
        case "literal_error" | "enum":
            known = fields.choices(path)
            near = nearest(str(value), known)
            if near and (near == str(value) or (near[0].isdigit() and not near.startswith(str(value)))):
                near = None  # one version number is as near as the next
            hint = f"did you mean '{near}'?" if near else f"write {listing(known)}"
            return f"invalid value {shown(value)} for {name}", hint
        case "model_type" | "dict_type":
            if not path:
                return (
                    "a description is a mapping",
                    "write `name: value` on each line, starting with `system: my-system`",
                )
            sample = example(path)
            return (
                f"{name} must be a mapping (name: value), not {kind_of(value)}",
                f"write {sample}" if sample else None,
            )
        case "tuple_type":
            if isinstance(value, str | int | float):
                return f"{name} must be a list, not {kind_of(value)}", f"write {path[-1]}: [{value}]"
            return f"{name} must be a list, not {kind_of(value)}", "start each item with '- '"
        case "string_too_long":
            return (
                f"{shown(value)} is {len(str(value))} characters long",
                f"the maximum is {context['max_length']}",
            )
        case "string_too_short":
            return f"{name} is empty", "write a value, or remove the field"
        case "too_short":
            return f"{name} is empty", f"write {EXAMPLES['guests']}"
        case _:
            return f"invalid value {shown(value)} for {name}", None


def example(path: Path) -> str | None:
    """What the mapping at a path can look like."""
    match path:
        case ("guests", str(name)):
            return f"{name}: {{image: usb-client}}"
        case ("guests", _, "usb"):
            return "usb: {version: 3, ports: 8}"
        case ("usb", int()):
            return "{class: hid, to: client}"
        case ("disks", int()):
            return "{name: data, to: client, on: {class: mass-storage}, size: 2 GiB}"
    return EXAMPLES.get(str(path[-1]))


def field_name(path: Path) -> str:
    """A field as a message names it: `'ports'`, or `an item of 'passthrough'`."""
    named = next((step for step in reversed(path) if isinstance(step, str)), "description")
    return f"an item of '{named}'" if path and isinstance(path[-1], int) else f"'{named}'"


def text_wanted(source: SourceText, path: Path, name: str, value: object) -> tuple[str, str | None]:
    """A number or truth value where a text belongs was probably meant as one."""
    node = source.node(path)
    if isinstance(node, Scalar) and isinstance(value, int | float):
        kind = "boolean" if isinstance(value, bool) else "number"
        return f"{name} must be a string, but YAML reads {node.text} as a {kind}", f'quote it: "{node.text}"'
    return f"{name} must be a string, not {kind_of(value)}", None


def kind_of(value: object) -> str:
    """What a value is, in a user's words."""
    match value:
        case bool() | int() | float():
            return shown(value)
        case str():
            return f"the string {shown(value)}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
    return "nothing"


def unknown(source: SourceText, path: Path) -> Diagnostic:
    """A field that its mapping does not have: a slip of the pen, another tool's word, or the wrong place."""
    name = str(path[-1])
    known = fields.known(path[:-1])
    other = fields.OTHER_WORDS.get(name.lower())
    near = nearest(name, known) or (other if other in known else None)
    place = fields.home(name) or (fields.home(other) if other else None)
    if near:
        hint = f"did you mean '{near}'?"
    elif place:
        hint = f"'{name}' belongs to {place}" if fields.home(name) else f"did you mean '{other}' of {place}?"
    else:
        hint = f"known fields: {', '.join(known)}"
    return source.diagnostic(path, f"unknown field '{name}'", hint, key=True)
