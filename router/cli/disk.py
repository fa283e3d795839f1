# SPDX-License-Identifier: BSD-2-Clause
"""Prepare a physical disk whose parts go to several guests, as `disks` in the description says.

  router disk prepare shared-disk.yaml /dev/sdb      a disk of this computer, as root
  router disk prepare shared-disk.yaml disk.img      an image; root is not needed

It writes a GPT with one partition for each disk of the description, named like it. Partitions that match stay with
their data, new ones are zeroed. What is on the disk and does not match is not overwritten: it is said, and --erase lets
it go. A disk that is mounted or in use is never touched.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router.cli import _common

NAME = "disk"
HELP = "prepare a disk whose parts go to several guests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verb = verbs.add_parser("prepare", help="write the partitions that the description's disks need")
    _common.add_description(verb)
    verb.add_argument("disk", metavar="DEVICE|IMAGE", type=Path, help="the whole disk, or a file that is one")
    verb.add_argument("--erase", action="store_true", help="what does not match may be lost")
    verb.add_argument(
        "--disk", metavar="NAME", dest="on", help="where several physical disks are described: a disk on it"
    )
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    verb.set_defaults(run_verb=run_prepare)


def run(args: argparse.Namespace) -> int:
    code: int = args.run_verb(args)
    return code


def run_prepare(args: argparse.Namespace) -> int:
    """Prepare a disk."""
    from router.disk.layout import wanted_on
    from router.disk.prepare import prepare
    from router.words import size_text

    description = _common.load(args.file).description
    wanted = wanted_on(description, args.on)
    progress = _common.Progress()
    try:
        layout = prepare(
            args.disk, wanted, list(description.guests), erase=args.erase, dry=args.dry_run, progress=progress
        )
    finally:
        progress.done()
    kept = {one.name for one in layout.kept}
    for lost in layout.lost:
        _common.say("lost", lost)
    for one in wanted:
        state = "kept, with its data" if one.part in kept else "new, and empty"
        _common.say(one.name, f"{size_text(one.size)} for '{one.guest}': {state}")
    if args.dry_run:
        _common.say("", "nothing was written (--dry-run)")
    return 0
