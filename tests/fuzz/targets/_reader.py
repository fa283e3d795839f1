# SPDX-License-Identifier: BSD-2-Clause
"""Takes values off a fuzz input, so that a few bytes of it make a whole structure. An input that ends gives zeros."""

from __future__ import annotations


class Reader:
    """The input, from its start."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """That many bytes, or what is left."""
        part = self._data[self._at : self._at + size]
        self._at += size
        return part

    def number(self, size: int, signed: bool = False) -> int:
        """A little-endian number of that many bytes."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data))
