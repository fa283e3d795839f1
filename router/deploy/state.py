# SPDX-License-Identifier: BSD-2-Clause
"""What this host remembers of a board: the system last brought up on it, and its latest console output.

One folder a board below `$XDG_STATE_HOME/router/boards`, by default `~/.local/state/router/boards`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path

from router import files
from router.deploy.plan import DeployPlan
from router.errors import DescriptionError, HostError
from router.lab.records import RecordError, from_json, to_json

PLAN = "plan.json"


def place_name(board: str) -> str:
    """What a board's system is called among running systems; no system of a description has such a name."""
    return f"@{board}"


def state_folder(board: str) -> Path:
    """The board's folder; it may not exist."""
    return files.state_folder() / "boards" / board


def remember(board: str, plan: DeployPlan) -> None:
    """The board runs this system now."""
    folder = state_folder(board)
    try:
        files.private_folder(folder)
        files.write(folder / PLAN, json.dumps(to_json(plan)) + "\n", mode=files.PRIVATE)
    except OSError as error:
        raise HostError(f"cannot note what the board runs: {error.strerror}", where=str(folder)) from None


def forget(board: str) -> None:
    """The board is about to run something else."""
    (state_folder(board) / PLAN).unlink(missing_ok=True)


def recall(board: str) -> DeployPlan:
    """What was brought up last; DescriptionError when that is not known."""
    with contextlib.suppress(FileNotFoundError, ValueError, RecordError, RecursionError):
        plan = from_json(DeployPlan, json.loads((state_folder(board) / PLAN).read_text()))
        if plan.facts is not None:
            return dataclasses.replace(plan, payloads=())
    raise DescriptionError(
        f"it is not known what runs on board '{board}'",
        hint=f"router deploy FILE --on {board} brings a system up; router console FILE --on {board} --guest NAME"
        " says which one is up already",
        where=board,
    )
