# SPDX-License-Identifier: BSD-2-Clause
"""Boards that are places of labgrid: a real coordinator and exporter, and a scripted U-Boot behind ser2net."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.deploy.fakeboard import Faults
from tests.labgrid.conftest import need_ser2net
from tests.labgrid.lab import ALICE, OWNER, Command, Lab
from tests.support.patience import wait_until

NEVER = Faults(gate="/nonexistent", boot=("LDR|INFO: altloader",))
"""A board that begins to boot and goes no further."""


def begin(lab: Lab, command: Command) -> None:
    """Wait until a deployment watches a board that never comes up."""
    assert command.says("● loader"), command.said
    assert lab.owners("desk")[-1] == OWNER


def test_a_board_comes_up_by_the_places_serial_port_and_power_switch_and_is_released(lab: Lab, build: Path) -> None:
    before = len(lab.owners("desk"))
    done = lab.router("deploy", str(build), "--on", "desk")
    assert done.returncode == 0
    assert "after a power cycle" in done.stdout and "● client up" in done.stdout
    assert lab.boards["desk"].memory[0x50000000] == (build / "loader.img").read_bytes()
    assert lab.owners("desk")[before:] == [OWNER, "-"]
    assert lab.owners("rack") == []
    # Nothing of gRPC or of labgrid's log lines reaches the terminal.
    assert done.stderr == ""


def test_a_place_of_another_is_named_and_can_be_stolen(lab: Lab, build: Path) -> None:
    assert lab.client("-p", "desk", "acquire", **ALICE).returncode == 0
    shown = lab.router("boards", "--json")
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert rows["desk"]["held"].startswith("alice@elsewhere, acquired ")
    assert rows["rack"]["held"] is None and rows["rack"]["power"] == ["on", "off", "cycle"]
    refused = lab.router("deploy", str(build), "--on", "desk")
    assert refused.returncode == 4
    assert "board 'desk' (place 'desk') is held by alice@elsewhere, acquired " in refused.stderr
    assert "--wait" in refused.stderr and lab.owners("desk")[-1] == "elsewhere/alice"
    assert lab.router("power", "cycle", "--on", "desk", "--steal").returncode == 0
    assert lab.owners("desk")[-3:] == ["-", OWNER, "-"]


def test_a_place_of_another_is_waited_for(lab: Lab) -> None:
    assert lab.client("-p", "desk", "acquire", **ALICE).returncode == 0
    with lab.running("power", "cycle", "--on", "desk", "--wait", "300") as waiting:
        assert not wait_until(lambda: waiting.process.poll() is not None, 2.0)
        assert lab.client("-p", "desk", "release", **ALICE).returncode == 0
        assert waiting.ends() == 0, waiting.said


def test_what_this_user_has_acquired_by_other_means_is_used_and_left_acquired(lab: Lab) -> None:
    assert lab.client("-p", "desk", "acquire").returncode == 0
    before = len(lab.owners("desk"))
    assert lab.router("power", "cycle", "--on", "desk").returncode == 0
    assert lab.owners("desk")[before:] == []
    assert lab.client("-p", "desk", "release").returncode == 0


def test_a_place_of_a_job_that_died_is_named_with_owner_and_age_and_the_next_job_takes_it(
    lab: Lab, build: Path
) -> None:
    lab.boards["desk"].faults = NEVER
    with lab.running("deploy", str(build), "--on", "desk") as job:
        begin(lab, job)
        os.kill(job.process.pid, signal.SIGKILL)
        job.ends()
        number = job.process.pid
    assert lab.owners("desk")[-1] == OWNER
    host, user = OWNER.split("/")
    shown = lab.router("boards")
    assert f"held by a job that died: {user}@{host} (process {number}, deploying demo), acquired " in shown.stdout
    lab.boards["desk"].faults = Faults()
    done = lab.router("deploy", str(build), "--on", "desk")
    assert done.returncode == 0
    assert f"a job that died: {user}@{host} (process {number}, deploying demo)" in done.stdout
    assert lab.owners("desk")[-3:] == ["-", OWNER, "-"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_that_is_stopped_releases_its_place_also_for_the_impatient(number: int, lab: Lab, build: Path) -> None:
    lab.boards["desk"].faults = NEVER
    with lab.running("deploy", str(build), "--on", "desk") as job:
        begin(lab, job)
        os.kill(job.process.pid, number)
        time.sleep(0.3)
        os.kill(job.process.pid, number)
        assert job.ends() == 130, job.said
    assert lab.owners("desk")[-1] == "-"


def test_a_job_whose_time_is_up_releases_its_place(lab: Lab, build: Path) -> None:
    lab.boards["desk"].faults = NEVER
    done = lab.router("deploy", str(build), "--on", "desk", "--timeout", "1")
    assert done.returncode == 4 and "the board was not up within 1 s" in done.stderr
    assert lab.owners("desk")[-1] == "-"


def test_a_job_whose_place_is_given_to_another_leaves_the_line_at_once(lab: Lab, build: Path) -> None:
    lab.boards["desk"].faults = NEVER
    with lab.running("deploy", str(build), "--on", "desk") as job:
        begin(lab, job)
        assert lab.client("-p", "desk", "release", "--kick", **ALICE).returncode == 0
        assert job.ends() == 4
        assert "place 'desk' was released under us" in job.said or "the serial line went away" in job.said
    assert lab.owners("desk")[-1] == "-"


def test_what_is_wrong_with_the_entry_of_a_place_is_said(lab: Lab) -> None:
    entries = json.loads(lab.file.read_text())
    entries["boards"]["desk"]["labgrid"]["place"] = "dask"
    lab.file.write_text(json.dumps(entries))
    shown = lab.router("boards")
    assert shown.returncode == 4 and "labgrid has no place 'dask' (did you mean 'desk'?)" in shown.stdout


def test_a_coordinator_that_goes_away_ends_the_job_and_one_that_is_not_there_is_named(
    router_then_labgrid: Path, build: Path, tmp_path: Path
) -> None:
    need_ser2net()
    folder = tmp_path / "lab"
    folder.mkdir()
    with Lab(router_then_labgrid, folder, ["desk"]) as lab:
        lab.boards["desk"].faults = dataclasses.replace(NEVER)
        with lab.running("deploy", str(build), "--on", "desk") as job:
            begin(lab, job)
            lab.kill_coordinator()
            assert job.ends() == 4
            assert f"the labgrid coordinator {lab.coordinator} went away" in job.said
        done = lab.router("deploy", str(build), "--on", "desk")
        assert done.returncode == 3
        assert f"no labgrid coordinator answers at {lab.coordinator}" in done.stderr
        assert "LG_COORDINATOR" in done.stderr
