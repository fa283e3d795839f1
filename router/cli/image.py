# SPDX-License-Identifier: BSD-2-Clause
"""Write a system as an SD card image: one FAT partition with a boot script and the system's files.

  router image maaxboard.yaml --sdcard card.img
  sudo dd if=card.img of=/dev/mmcblk0 bs=4M conv=fsync     (this overwrites the card)

A board whose boot loader is on the same card needs it in the image: --bootloader FILE puts it where i.MX 8M looks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router.cli import _common, _deployments

NAME = "image"
HELP = "write a system as an SD card image"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser)
    parser.add_argument("--sdcard", metavar="OUT", required=True, help="the image file to write")
    parser.add_argument("--bootloader", metavar="FILE", help="a raw boot loader for the card's start (at 33 KiB)")


def run(args: argparse.Namespace) -> int:
    from router.deploy.sdcard import card_names, write_card
    from router.errors import HostError

    folder, plan = _deployments.find_build(args, _common.Progress())
    out = Path(args.sdcard)
    try:
        size = write_card(plan, folder, out, Path(args.bootloader) if args.bootloader else None)
    except OSError as error:
        raise HostError(f"cannot write the image: {error.strerror}", where=error.filename or str(out)) from None
    _common.say("sdcard", f"{out}: {size / 1e6:.1f} MB, {', '.join(['boot.scr', *card_names(plan).values()])}")
    return 0
