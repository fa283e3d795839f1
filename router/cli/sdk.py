# SPDX-License-Identifier: BSD-2-Clause
"""Install Microkit's SDK, or list the SDKs of this computer.

  router sdk install                          the newest release that router knows, for this computer
  router sdk install 2.1.0                    that version
  router sdk install --from FILE              the same from an archive that was downloaded elsewhere
  router sdk install 9.0.0 --digest sha256:…  a version that router does not know

It goes to ~/.local/share/microkit-sdk-VERSION, where router finds it. The archive comes over https; nothing of it is
kept or runs unless its digest is right. A download that broke off goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import TYPE_CHECKING

from router import display
from router.cli import _common

if TYPE_CHECKING:
    from router.sdk.inventory import Installed

NAME = "sdk"
HELP = "install Microkit's SDK, or list what is installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    install = verbs.add_parser("install", help="fetch a release, verify it, and put it where router looks")
    install.add_argument("version", metavar="VERSION", nargs="?", help="default: the newest that router knows")
    install.add_argument(
        "--from",
        metavar="URL|FILE",
        dest="source",
        help="an https address or an archive on this computer (default: Microkit's release page)",
    )
    install.add_argument(
        "--digest",
        metavar="DIGEST",
        help="what it must hash to, in place of what router knows: sha256:HEX of the archive, or the base64 SHA-256 of "
        "the unpacked folder's NAR, with or without sha256- before it",
    )
    install.set_defaults(run_verb=run_install)
    show = verbs.add_parser("list", help="what is installed, whole or broken, and what can be installed")
    show.add_argument("--verify", action="store_true", help="also compare every file with the release (takes seconds)")
    show.add_argument("--json", action="store_true", help="the same as JSON")
    show.set_defaults(run_verb=run_list)


def run(args: argparse.Namespace) -> int:
    code: int = args.run_verb(args)
    return code


def run_install(args: argparse.Namespace) -> int:
    from router.cli._meter import Meter
    from router.description.sdk_versions import KNOWN
    from router.sdk import install

    wanted = install.request(args.version, args.source, args.digest)
    there = install.already_installed(wanted)
    if there is not None:
        _common.say("microkit", f"SDK {there.version} is installed already: {there.path}")
        return 0
    progress = _common.Progress()
    try:
        sdk = install.install(wanted, install.places(), Meter(progress))
    finally:
        progress.done()
    _common.say(
        "microkit", f"SDK {sdk.version} is in {sdk.path}, {len(sdk.boards)} board{'s' * (len(sdk.boards) != 1)}"
    )
    known = [each.version for each in KNOWN]
    if sdk.version not in known:
        _common.say("note", f"this router builds with {', '.join(known)} only")
    return 0


def run_list(args: argparse.Namespace) -> int:
    from router.sdk.inventory import available, installed
    from router.sdk.releases import this_platform

    progress = _common.Progress(quiet=args.json)
    try:
        found = installed(verify=args.verify, progress=progress)
    finally:
        progress.done()
    if args.json:
        print(json.dumps({"installed": [each.as_dict() for each in found], "available": available()}, indent=2))
        return 0
    for each in found:
        show(each)
    if not found:
        _common.say("installed", "none")
    versions = ", ".join(available())
    _common.say(
        "available", f"{versions}: router sdk install VERSION" if versions else f"none for {os.uname().machine}"
    )
    if versions:
        _common.say("platform", this_platform() or "")
    return 0


def show(sdk: Installed) -> None:
    """An SDK in a few lines."""
    if sdk.trouble is not None:
        display.styled((f"{'broken':<12}", "31"), f" {sdk.path}")
        print(f"{'':<12} {sdk.trouble}")
        return
    words = {True: ", the release byte for byte", False: ", NOT the release: files differ", None: ""}
    unusable = "" if sdk.usable else ", which this router does not build with"
    _common.say(sdk.version or "", f"{sdk.path}: whole{words[sdk.release]}{unusable}")
    for board, configurations in sdk.boards.items():
        print(f"{'':<12} {board}: {', '.join(configurations)}")
