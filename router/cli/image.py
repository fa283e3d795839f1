# SPDX-License-Identifier: BSD-2-Clause
"""Write a system as an SD card image, or a root file system for a guest as a disk image.

  router image maaxboard.yaml --sdcard card.img
  sudo dd if=card.img of=/dev/mmcblk0 bs=4M conv=fsync     (this overwrites the card)

An SD card image has one FAT partition with a boot script and the system's files. A board whose boot loader is on the
same card needs it in the image: --bootloader FILE puts it where i.MX 8M looks.

  router image rootfs openssh-server vim -o root.img --label DEBIAN

writes an ext4 file system with Debian for arm64: what it needs to boot, and the packages that are named. A guest with
`root: {label: DEBIAN}` in its description starts from the disk with it. Root is not needed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from router.cli import _common, _deployments

NAME = "image"
HELP = "write a system as an SD card image, or a root file system for a guest"
ROOTFS = "rootfs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser)
    parser.add_argument("packages", metavar="PACKAGE", nargs="*", help=f"with '{ROOTFS}' as FILE: Debian packages")
    parser.add_argument("--sdcard", metavar="OUT", help="the SD card image to write")
    parser.add_argument("--bootloader", metavar="FILE", help="a raw boot loader for the card's start (at 33 KiB)")
    parser.add_argument("--label", default="DEBIAN", help=f"{ROOTFS}: the file system's label (default: DEBIAN)")
    parser.add_argument("--force", action="store_true", help=f"{ROOTFS}: write over a file that is there")
    parser.add_argument("--size", help=f"{ROOTFS}: its size, such as '4 GiB' (default: a third more than is in it)")


def run(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError

    if args.file == ROOTFS:
        return rootfs(args)
    if args.packages:
        raise DescriptionError(
            f"'{args.packages[0]}' is one word too many", hint=f"packages follow the word '{ROOTFS}'"
        )
    if args.sdcard is None:
        raise DescriptionError("the image has no name", hint="name it by --sdcard OUT")
    return sdcard(args)


def sdcard(args: argparse.Namespace) -> int:
    """Write an SD card image."""
    from router.deploy.sdcard import card_names, write_card
    from router.errors import HostError

    folder, plan = _deployments.find_build(args, _common.Progress())
    out = Path(args.sdcard)
    try:
        size = write_card(plan, folder, out, Path(args.bootloader) if args.bootloader else None)
    except OSError as error:
        raise HostError(f"cannot write the image: {error.strerror}", where=error.filename or str(out)) from None
    _common.say("sdcard", f"{out}: {size / 1e6:.1f} MB, {', '.join(['boot.scr', *card_names(plan).values()])}")
    _common.say(
        "note",
        "a card is the same at each start, so guests that start from it get no random seeds: no KASLR, and about a"
        " second until their first random bytes; 'router deploy' sends fresh seeds",
    )
    return 0


def rootfs(args: argparse.Namespace) -> int:
    """Write a root file system."""
    from router.description.values import InvalidValue, check_label, parse_size
    from router.errors import DescriptionError, HostError
    from router.guests.rootfs.build import build_rootfs

    if args.sdcard is not None or args.bootloader is not None:
        raise DescriptionError("a root file system is no SD card image", hint="name it by -o FILE")
    try:
        label = check_label(args.label)
        size = parse_size(args.size) if args.size is not None else None
    except InvalidValue as error:
        raise DescriptionError(str(error), error.hint, f"image {ROOTFS}") from None
    out = Path(args.output or f"{label}.img")
    if os.path.lexists(out) and not args.force:
        raise DescriptionError("this is there already, and may be a guest's disk", "--force writes over it", str(out))
    progress = _common.Progress()
    try:
        made = build_rootfs(args.packages, out, label=label, size=size, progress=progress)
    except OSError as error:
        raise HostError(f"cannot write the image: {error.strerror}", where=error.filename or str(out)) from None
    finally:
        progress.done()
    _common.say(
        ROOTFS,
        f"{out}: {made.size / 1e6:.0f} MB, {made.content / 1e6:.0f} of them used, {len(made.packages)} packages;"
        " its first start configures them",
    )
    _common.say("", f"in the description of a client: root: {{label: {made.label}}}")
    return 0
