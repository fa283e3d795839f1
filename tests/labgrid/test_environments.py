# SPDX-License-Identifier: BSD-2-Clause
"""labgrid next to router: neither order of installation breaks one of them, and without it nothing is different."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from router.errors import HostError
from router.lab import probe
from router.lab.board import Board, Labgrid
from router.lab.labgrid.session import Session
from tests.labgrid.conftest import need_ser2net
from tests.labgrid.lab import OWNER, Lab
from tests.support.patience import PATIENCE

PLACE = Board(name="desk", kind="fake", serial="", labgrid=Labgrid(place="desk"), load="ymodem")


@pytest.mark.parametrize("order", ["router_then_labgrid", "labgrid_then_router"])
def test_both_plugins_of_pytest_work_together_in_either_order_of_installation(
    order: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    python = request.getfixturevalue(order)
    (tmp_path / "test_it.py").write_text(
        "import serial.rfc2217\n"
        "from labgrid.driver import SerialDriver\n"
        "from router.console.serial_port import SerialPort\n"
        "def test_it(router_setup):\n"
        "    assert router_setup.description.name == 'qemu.yaml'\n"
    )
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "--router", "qemu.yaml", "test_it.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (plugins,) = (line for line in done.stdout.splitlines() if line.startswith("plugins:"))
    assert "labgrid-26" in plugins and "sel4-usb-router-" in plugins


def test_a_board_comes_up_where_pyserial_was_installed_over_labgrids_fork_of_it(
    labgrid_then_router: Path, build: Path, tmp_path: Path
) -> None:
    need_ser2net()
    folder = tmp_path / "lab"
    folder.mkdir()
    with Lab(labgrid_then_router, folder, ["desk"]) as lab:
        done = lab.router("deploy", str(build), "--on", "desk")
        assert done.returncode == 0 and "● client up" in done.stdout
        assert lab.owners("desk") == [OWNER, "-"]


def test_without_labgrid_a_place_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(HostError, match="labgrid is not installed") as caught, Session("127.0.0.1"):
        pass
    assert caught.value.hint == "pip install 'sel4-usb-router[labgrid]'"
    (trouble,) = probe.probe(PLACE).troubles
    assert "labgrid is not installed" in trouble


def test_nothing_of_labgrid_is_imported_for_a_lab_without_a_place(tmp_path: Path) -> None:
    file = tmp_path / "boards.yaml"
    file.write_text("boards: {desk: {board: qemu, serial: /dev/null, load: ymodem}}\n")
    program = (
        "import sys; from router.cli import main\n"
        f"main(['boards', '--lab', {str(file)!r}])\n"
        "import router.pytest_plugin, router.testing, router.deploy.remote, router.deploy.several\n"
        "loaded = {name.partition('.')[0] for name in sys.modules} & {'labgrid', 'grpc'}\n"
        "ours = {name for name in sys.modules if name.startswith('router.') and 'labgrid' in name}\n"
        "assert not loaded and not ours, (loaded, ours)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
