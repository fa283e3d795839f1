# SPDX-License-Identifier: BSD-2-Clause
"""Environments with labgrid, and labs in them. Without pip's packages or ser2net these tests skip and say so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.requirements import look_for
from tests.deploy.fakeboard import Faults
from tests.deploy.lab import write_build
from tests.deploy.running_board import RunningBoard
from tests.labgrid.lab import Lab

ROOT = Path(__file__).parents[2]
LABGRID = "labgrid==26.*"
TIMEOUT_S = 600


def environment(folder: Path, *steps: str) -> Path:
    """An environment of its own, and what pip installs into it one after the other; its python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=TIMEOUT_S)
    for step in steps:
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", step]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if done.returncode != 0:
            pytest.skip(f"pip cannot install {step}: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "bin/python"


@pytest.fixture(scope="session")
def router_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    (found,) = out.iterdir()
    return found


@pytest.fixture(scope="session")
def router_then_labgrid(router_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """router first, then its extra: labgrid's fork of pyserial has the last word. The python of the environment."""
    return environment(tmp_path_factory.mktemp("labgrid") / "a", str(router_wheel), f"{router_wheel}[labgrid]", LABGRID)


@pytest.fixture(scope="session")
def labgrid_then_router(router_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labgrid first, then router: pyserial has the last word."""
    return environment(tmp_path_factory.mktemp("labgrid") / "b", LABGRID, str(router_wheel))


def need_ser2net() -> None:
    if look_for("ser2net") is None:
        pytest.skip("ser2net is not installed: labgrid's exporter opens serial ports with it")


@pytest.fixture(scope="module")
def shared_lab(router_then_labgrid: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_ser2net()
    folder = tmp_path_factory.mktemp("lab")
    with RunningBoard() as live, Lab(router_then_labgrid, folder, ["desk", "rack"], live) as lab:
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Lab:
    """The lab with two boards that come up, at its lab file as it was."""
    for board in shared_lab.boards.values():
        board.faults = Faults()
    shared_lab.write_lab_file()
    return shared_lab


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """A build folder with a loader image and its plan."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "loader.img").write_bytes(bytes(range(256)) * 400)
    write_build(folder, boot_seconds=120.0, quiet_seconds=60.0)
    return folder
