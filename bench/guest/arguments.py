# SPDX-License-Identifier: BSD-2-Clause
"""Calls an entry point with the `name=value` words of the command line."""

from collections.abc import Callable, Sequence


def call(function: Callable[..., None], words: Sequence[str]) -> None:
    """Convert each word to the type that the parameter is annotated with: bytes are hexadecimal, bool is 0 or 1."""
    arguments: dict[str, object] = {}
    for word in words:
        name, _, value = word.partition("=")
        kind = function.__annotations__[name]
        if kind is bytes:
            arguments[name] = bytes.fromhex(value)
        elif kind is bool:
            arguments[name] = value == "1"
        else:
            arguments[name] = kind(value)
    function(**arguments)
