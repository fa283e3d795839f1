# SPDX-License-Identifier: BSD-2-Clause
"""Build a description into a folder: guest images, device trees, the .system file, a report and a manifest.

With a Microkit SDK installed the folder holds a bootable loader.img as well; without one everything else is built, and
a line says so.
"""

from __future__ import annotations

import argparse
import time

from router.cli import _common, check

NAME = "build"
HELP = "build a description into a bootable system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _common.add_description(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument("--require-image", action="store_true", help="fail when loader.img cannot be made")
    parser.add_argument("--refresh", action="store_true", help="ask the package sources for newer versions")
    _common.add_stage(parser)
    parser.add_argument("--json", action="store_true", help="what was built, as JSON")


def run(args: argparse.Namespace) -> int:
    from router.deploy.prepare import make
    from router.pipeline.inputs import require_sdk

    start = time.monotonic()
    progress = _common.Progress(quiet=args.json)
    planned = _common.plan(args.file, progress, stage=args.stage)
    if args.require_image:
        require_sdk(planned)
    try:
        built = make(planned, _common.build_folder(args, planned.plan.name), progress, refresh=args.refresh)
    finally:
        progress.done()
    if args.json:
        print((built.folder / "manifest.json").read_text(), end="")
        return 0
    check.summary(planned, closure=True)
    parts = [f"{name} {image.initramfs.stat().st_size / 1e6:.1f} MB" for name, image in built.images.items()]
    kernels = sorted({image.kernel_version for image in built.images.values()})
    if parts:
        _common.say("images", ", ".join([*parts, *(f"kernel {version} shared" for version in kernels)]))
    if built.loader_image is None:
        _common.say(
            "microkit", f"no SDK found: planned for {planned.plan.sdk}, loader.img is not made (router sdk install)"
        )
        if (built.folder / "loader.img").exists():
            _common.say("note", "the loader.img in this folder is not of this build: it came from elsewhere, and stays")
    else:
        _common.say("programs", built.loader_image.program_summary())
        _common.say("microkit", built.loader_image.summary())
        source = built.isolation.source if built.isolation else "from the .system text: SDKs before 2.3.0 tell no more"
        _common.say("isolation", f"derived {source}")
    _common.say("built", f"{built.folder}/ in {time.monotonic() - start:.1f} s; look at {built.folder}/report.html")
    return 0
