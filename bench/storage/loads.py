# SPDX-License-Identifier: BSD-2-Clause
"""The loads by name, as bench/guest/storage_load.py has them."""

from __future__ import annotations

from collections.abc import Sequence

from router.errors import DescriptionError

LOADS = {
    "mail": "mail server",
    "files": "file server",
    "web": "web server",
    "log": "database log",
    "sequential-read": "sequential read",
    "sequential-write": "sequential write",
    "sequential-write-fsync": "sequential write, fsync",
    "sequential-rewrite": "sequential rewrite",
    "sequential-rewrite-fsync": "sequential rewrite, fsync",
    "random-read": "random read",
    "random-write": "random write",
    "random-write-fsync": "random write, fsync",
    "random-rewrite": "random rewrite",
    "random-rewrite-fsync": "random rewrite, fsync",
}
PARTS = {"flooded": "latency of fsync with flooding neighbours", "trace": "whose blocks a sync writes"}
"""What else the study has."""
VICTIM, FLOOD = "log", "sequential-write"
"""What a guest does whose latency is measured, and what its neighbours do meanwhile."""


def choose(names: Sequence[str]) -> list[str]:
    """The loads and parts of these names, all for none. DescriptionError for a name that none has."""
    every = (*LOADS, *PARTS)
    for name in names:
        if name not in every:
            raise DescriptionError(f"no load '{name}'", hint=f"loads: {', '.join(every)}", where="--only")
    return [name for name in every if name in names or not names]
