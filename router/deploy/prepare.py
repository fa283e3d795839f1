# SPDX-License-Identifier: BSD-2-Clause
"""A build folder that can be deployed: the build, and what a deployment needs to know of its loader image."""

from __future__ import annotations

from pathlib import Path

from router import files
from router.control.facts import facts_of
from router.deploy.stages import BOOT_TIMEOUT_S, stage_milestones
from router.deploy.system import write_system
from router.pipeline.build import Built, build
from router.pipeline.inputs import Planned, Progress
from router.plan.stages import WHOLE


def make(planned: Planned, folder: Path, progress: Progress, *, refresh: bool = False) -> Built:
    """Build, and write `deploy.json` where a loader image was made."""
    files.output_folder(folder)
    built = build(planned, folder, files.cache_folder(), progress, refresh=refresh)
    board, plan = planned.board, built.plan
    if built.loader_image is not None:
        stage = planned.stage
        write_system(
            folder,
            facts_of(plan),
            config=plan.config.removeprefix("smp-"),
            address=board.loader,
            start=board.start if board.boot_loader.go else "booti",
            prompt=board.boot_loader.prompt,
            baud=board.boot_loader.baud,
            identity=board.boot_loader.identity,
            awaited=stage_milestones(plan, stage) if stage != WHOLE else None,
            own={guest.name for guest in plan.guests if guest.own_image},
            boot_seconds=BOOT_TIMEOUT_S.get(stage, 120.0),
        )
    return built
