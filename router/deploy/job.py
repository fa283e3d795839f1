# SPDX-License-Identifier: BSD-2-Clause
"""A deployment job: the plan, the board it goes to and how to go about it. It travels to lab hosts as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from router.deploy.plan import DeployPlan, Payload, check_guest_names
from router.errors import DescriptionError
from router.lab.board import Board
from router.lab.records import RecordError, from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployOptions:
    """How to go about it. wait: seconds for the board's lock. power: use the hook. save: keep settings (saveenv).

    served: the folder with this board's copies of the files, where our TFTP server for it is in another process.
    """

    wait: float = 0.0
    steal: bool = False
    power: bool = True
    save: bool = False
    served: str | None = None
    catch_seconds: float = 30.0
    boot_seconds: float | None = None
    quiet_seconds: float | None = None
    log: str | None = None
    owner: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything the runner needs. files: path on this host of each payload's `file`."""

    plan: DeployPlan
    board: Board
    files: dict[str, str]
    options: DeployOptions = DeployOptions()

    def path(self, item: Payload) -> Path:
        """Where the payload is on this host."""
        return Path(self.files[item.file])


def to_text(job: Job) -> str:
    """The job as JSON."""
    return json.dumps(to_json(job))


def from_text(text: str) -> Job:
    """The job of its JSON; DescriptionError when it does not fit this version of the program."""
    try:
        job = from_json(Job, json.loads(text))
    except (RecordError, ValueError, RecursionError) as error:
        raise DescriptionError(f"not a job of this version: {error}") from None
    check_guest_names(job.plan.facts, job.board.name)
    return job
