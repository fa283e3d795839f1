# SPDX-License-Identifier: BSD-2-Clause
"""The manifest: what went into a build folder and what came out, with hashes, so that two builds can be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from router import __version__, files
from router.guests.image import GuestImage
from router.plan.models import SystemPlan

if TYPE_CHECKING:
    from router.pipeline.inputs import Planned


def manifest(planned: Planned, plan: SystemPlan, images: dict[str, GuestImage], folder: Path) -> str:
    """JSON text. It names no time and no path outside the folder: the same inputs give the same bytes."""
    outputs = [path for path in sorted(folder.rglob("*")) if path.is_file() and is_output(path.relative_to(folder))]
    if planned.sdk is None:  # an image that was copied in from elsewhere
        outputs = [path for path in outputs if path.relative_to(folder) not in (Path("loader.img"), Path("report.txt"))]
    data = {
        "router": __version__,
        "system": plan.name,
        "board": plan.board.name,
        "microkit": {"sdk": plan.sdk, "config": plan.config, "installed": planned.sdk is not None},
        "description": files.sha256(planned.loaded.path),
        **({"image files": [files.sha256(path) for path in named]} if (named := planned.loaded.image_files) else {}),
        "images": {name: json.loads(image.manifest.read_text()) for name, image in sorted(images.items())},
        "outputs": {
            str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": files.sha256(path)}
            for path in outputs
        },
    }
    return json.dumps(data, indent=2, sort_keys=True) + "\n"


def is_output(path: Path) -> bool:
    """False for logs of runs, intermediate objects, the manifest itself and what a deployment adds."""
    return path.parts[0] not in (
        "logs",
        "objects",
        "manifest.json",
        "deploy.json",
        "loader.booti",
    ) and not path.name.startswith(".")
