# SPDX-License-Identifier: BSD-2-Clause
"""`router deploy --on` with places of labgrid: side by side, behind one exporter."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.labgrid.lab import OWNER, Lab
from tests.labgrid.test_place import NEVER


def test_two_places_come_up_at_once_and_are_released(lab: Lab, build: Path) -> None:
    before = {name: len(lab.owners(name)) for name in lab.names}
    done = lab.router("deploy", str(build), "--on", "desk,rack")
    assert done.returncode == 0
    image = (build / "loader.img").read_bytes()
    for name, board in lab.boards.items():
        assert board.memory[0x50000000] == image
        assert lab.owners(name)[before[name] :] == [OWNER, "-"]
        assert any(line.startswith(f"{name:<16} ") and "● client up" in line for line in done.stdout.splitlines())


def test_one_interrupt_releases_all_places(lab: Lab, build: Path) -> None:
    for board in lab.boards.values():
        board.faults = NEVER
    with lab.running("deploy", str(build), "--on", "desk,rack") as job:
        assert all(job.says("● loader", name) for name in lab.names), job.said
        os.kill(job.process.pid, signal.SIGINT)
        assert job.ends() == 130, job.said
    assert [lab.owners(name)[-1] for name in lab.names] == ["-", "-"]
