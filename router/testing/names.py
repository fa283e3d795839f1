# SPDX-License-Identifier: BSD-2-Clause
"""Names of files and folders that are made of what tests and systems are called."""

from __future__ import annotations

import re

from router import files

MAX_NAME = 100
"""Characters of an id in a folder's name."""
HASH_DIGITS = 12
"""Hexadecimal digits in a folder's name that tell ids apart which would be called the same."""


def folder_name(test: str) -> str:
    """A name for the folder or the file of a test's id, say: no two ids have the same."""
    name = re.sub(r"[^\w.-]+", "-", test).strip("-.")[-MAX_NAME:]
    return name if name == test else f"{name}-{files.sha256_of(test.encode())[:HASH_DIGITS]}"
