# SPDX-License-Identifier: BSD-2-Clause
"""Write down the exact packages that guest images are made of, so that later builds use the same or say why not.

The lock file is packages.lock in the folder of the description (of a shipped description: in the current folder).
Builds follow it as long as it is there. Remove it to follow the package sources again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router.cli import _common

NAME = "lock"
HELP = "pin the versions of the guests' packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _common.add_description(parser, optional=True)
    parser.add_argument("-o", "--output", metavar="FILE", help="the lock file (default: packages.lock next to FILE)")


def run(args: argparse.Namespace) -> int:
    from router import files
    from router.guests.lock import NAME as LOCK_NAME
    from router.guests.lock import record_lock
    from router.pipeline.inputs import image_definitions, lock_folder

    loaded = _common.load(args.file) if args.file else None
    folder = lock_folder(loaded) if loaded else Path()
    more = list(image_definitions(loaded).values()) if loaded else []
    path = Path(args.output) if args.output else folder / LOCK_NAME
    progress = _common.Progress()
    try:
        locked = record_lock(path, cache=files.cache_folder(), more=more, progress=progress)
    finally:
        progress.done()
    _common.say("lock", f"{path}: {len(locked)} packages")
    return 0
