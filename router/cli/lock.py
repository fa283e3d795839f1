"""Write down the exact packages that guest images are made of, so that later builds use the same or say why not.

The lock file is guest-images/packages.lock; builds follow it as long as it is there. Remove it to follow the package
sources again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router.cli import _common

NAME = "lock"
HELP = "pin the versions of the guests' packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="the lock file (default: guest-images/packages.lock)")


def run(args: argparse.Namespace) -> int:
    from router import files
    from router.description.guest_image import SHIPPED
    from router.guests import record_lock

    progress = _common.Progress()
    path = Path(args.output) if args.output else SHIPPED / "packages.lock"
    try:
        locked = record_lock(path, cache=files.cache_folder(), progress=progress)
    finally:
        progress.done()
    _common.say("lock", f"{path}: {len(locked)} packages")
    return 0
