# SPDX-License-Identifier: BSD-2-Clause
"""Build a description into a folder: guest images, device trees, the .system file, a report and a manifest.

With a Microkit SDK installed the folder holds a bootable loader.img as well; without one everything else is built, and
a line says so.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from router.cli import _common, check

if TYPE_CHECKING:
    from router.pipeline.build import Built
    from router.pipeline.inputs import Planned

NAME = "build"
HELP = "build a description into a bootable system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _common.add_description(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument("--require-image", action="store_true", help="fail when loader.img cannot be made")
    parser.add_argument("--refresh", action="store_true", help="ask the package sources for newer versions")
    parser.add_argument("--json", action="store_true", help="what was built, as JSON")


def make(planned: Planned, folder: Path, progress: _common.Progress, *, refresh: bool = False) -> Built:
    """Build, and write what a deployment needs of the loader image."""
    from router import files
    from router.control.facts import facts_of
    from router.deploy.system import write_system
    from router.pipeline.build import build

    files.output_folder(folder)
    try:
        built = build(planned, folder, files.cache_folder(), progress, refresh=refresh)
    finally:
        progress.done()
    board, plan = planned.board, built.plan
    if built.loader_image is not None:
        write_system(
            folder,
            facts_of(plan),
            config=plan.config.removeprefix("smp-"),
            address=board.loader,
            start=board.start if board.boot_loader.go else "booti",
            prompt=board.boot_loader.prompt,
            baud=board.boot_loader.baud,
            identity=board.boot_loader.identity,
        )
    return built


def run(args: argparse.Namespace) -> int:
    start = time.monotonic()
    progress = _common.Progress(quiet=args.json)
    planned = _common.plan(args.file, progress)
    if args.require_image:
        _common.require_sdk(planned)
    built = make(planned, _common.build_folder(args, planned.plan.name), progress, refresh=args.refresh)
    if args.json:
        print((built.folder / "manifest.json").read_text(), end="")
        return 0
    check.summary(planned, closure=True)
    parts = [f"{name} {image.initramfs.stat().st_size / 1e6:.1f} MB" for name, image in built.images.items()]
    kernels = sorted({image.kernel_version for image in built.images.values()})
    _common.say("images", ", ".join([*parts, *(f"kernel {version} shared" for version in kernels)]))
    if built.loader_image is None:
        _common.say(
            "microkit", f"no SDK found: planned for {planned.plan.sdk}, loader.img is not made (router sdk install)"
        )
    else:
        _common.say("programs", built.loader_image.program_summary())
        _common.say("microkit", built.loader_image.summary())
        source = built.isolation.source if built.isolation else "from the .system text: SDKs before 2.3.0 tell no more"
        _common.say("isolation", f"derived {source}")
    _common.say("built", f"{built.folder}/ in {time.monotonic() - start:.1f} s; look at {built.folder}/report.html")
    return 0
