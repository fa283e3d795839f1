# SPDX-License-Identifier: BSD-2-Clause
"""Read a description, plan the system and prove the plan's invariants. Writes caches only, except with --from-image.

Exit code 0 when the system can be built, 2 when the description is wrong, 1 when an image gives other rights than its
description says.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from router.cli import _common

if TYPE_CHECKING:
    from router.pipeline.inputs import Planned
    from router.report.isolation import Isolation

NAME = "check"
HELP = "read, plan and check a description"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--isolation", action="store_true", help="show who can read, write and execute what")
    parser.add_argument(
        "--from-image",
        action="store_true",
        help="with --isolation: build the image and show it by its capabilities (Microkit SDK 2.3.0)",
    )
    parser.add_argument(
        "-o", "--output", metavar="DIR", help="the build folder of --from-image (default: build/SYSTEM)"
    )
    parser.add_argument("--closure", action="store_true", help="show what each guest owns of the board, and why")
    parser.add_argument("--picture", metavar="FILE", help="write a picture of the system (SVG)")
    parser.add_argument("--list", action="store_true", help="list the invariants that are checked")
    parser.add_argument("--json", action="store_true", help="the whole plan as JSON")
    _common.add_description(parser, optional=True)


def run(args: argparse.Namespace) -> int:
    from router.checks import INVARIANTS
    from router.errors import DescriptionError

    if args.list:
        if args.json:
            print(json.dumps([{"name": each.name, "promise": each.promise} for each in INVARIANTS], indent=2))
            return 0
        width = max(len(each.name) for each in INVARIANTS)
        for each in INVARIANTS:
            print(f"{each.name:<{width}}  {each.promise}")
        return 0
    if args.file is None:
        raise DescriptionError("no description is named", hint="router check FILE, or router check --list")
    for option in ("from_image", "output"):
        if getattr(args, option) and not (args.isolation and args.from_image):
            needed = "--isolation" if args.from_image else "--isolation --from-image"
            raise DescriptionError(
                f"--{option.replace('_', '-')} needs {needed}", hint="router check FILE --isolation --from-image"
            )
    progress = _common.Progress(quiet=args.json)
    planned = _common.plan(args.file, progress)
    if args.picture:
        from router import files
        from router.report import topology_svg

        files.write(Path(args.picture), topology_svg(planned.plan))
    if args.isolation:
        from router.microkit.system import render_system
        from router.report.isolation import isolation_json, isolation_text, parse_isolation

        if args.from_image:
            isolation = image_isolation(planned, _common.build_folder(args, planned.plan.name), progress)
        else:
            isolation = parse_isolation(render_system(planned.plan))
        print(isolation_json(isolation, planned.plan.notes) if args.json else isolation_text(isolation))
        for note in planned.plan.notes:
            if not args.json:
                _common.say("note", note)
        return 0
    if args.json:
        from router.report import plan_json

        print(plan_json(planned.plan), end="")
        return 0
    summary(planned, closure=args.closure)
    return 0


def image_isolation(planned: Planned, folder: Path, progress: _common.Progress) -> Isolation:
    """Who may do what in the image, which is built if it is not there or not this system's."""
    from router import files
    from router.microkit.capabilities import require_capabilities
    from router.pipeline.build import build
    from router.pipeline.inputs import require_sdk

    require_capabilities(planned.plan.sdk)
    require_sdk(planned)
    try:
        built = build(planned, folder, files.cache_folder(), progress)
    finally:
        progress.done()
    assert built.isolation is not None, "an SDK that tells the capabilities was required"
    return built.isolation


def summary(planned: object, closure: bool) -> None:
    """What was read and decided, a line each."""
    from router.checks import INVARIANTS
    from router.pipeline.inputs import Planned

    assert isinstance(planned, Planned)
    plan = planned.plan
    rules, disks = len(planned.loaded.description.usb), len(planned.loaded.description.disks)
    _common.say(
        "description",
        f"{planned.loaded.name}: {len(plan.guests)} guest{'s' * (len(plan.guests) != 1)}, "
        f"{rules} USB rule{'s' * (rules != 1)}" + (f", {disks} disk{'s' * (disks != 1)}" if disks else ""),
    )
    for name, owned in planned.closures.items():
        _common.say("closure", f"{name}: {owned.summary()}")
        if closure:
            for line in owned.tree_lines():
                print(f"{'':<12} {line}")
            for note in owned.notes:
                print(f"{'':<12} note: {note}")
    vms = sum(pd.vm is not None for pd in plan.pds)
    _common.say(
        "plan",
        f"{len(plan.pds)} PDs, {vms} VMs, {len(plan.regions)} regions, {len(plan.channels)} channels; "
        f"{len(INVARIANTS)} invariants hold",
    )
    for note in plan.notes:
        _common.say("note", note)
