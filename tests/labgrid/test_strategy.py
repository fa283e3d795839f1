# SPDX-License-Identifier: BSD-2-Clause
"""labgrid's own pytest and environment file boot a system of router, and its CommandProtocol reaches the guests."""

from __future__ import annotations

from pathlib import Path

import yaml

from router.deploy import state
from router.deploy.plan import read_plan
from tests.deploy.lab import CLIENT, FACTS, SERVER, write_build
from tests.labgrid.lab import Lab
from tests.support.patience import free_port, wait_until


def environment_file(folder: Path, place: str, drivers: dict[str, object]) -> Path:
    """An environment of labgrid with one target, which is a place."""
    target = {"resources": {"RemotePlace": {"name": place}}, "drivers": drivers}
    path = folder / "env.yaml"
    path.write_text(yaml.safe_dump({"targets": {"main": target}, "imports": ["router.testing.labgrid"]}))
    return path


def check_passes(lab: Lab, env: Path, test: Path) -> None:
    """A labgrid user's test passes on the place whose board runs already."""
    assert lab.client("-p", lab.live, "acquire").returncode == 0
    done = lab.pytest("-v", "--lg-env", str(env), str(test))
    assert lab.client("-p", lab.live, "release").returncode == 0
    assert done.returncode == 0 and "1 passed" in done.stdout


def test_a_strategy_of_ours_boots_the_system_by_the_targets_drivers(lab: Lab, build: Path, tmp_path: Path) -> None:
    board = {"network": {"board": f"{CLIENT}/8", "server": SERVER}, "tftp": {"port": free_port()}}
    drivers = {
        "NetworkPowerDriver": {"delay": 0.1},
        "RouterDriver": {"build": str(build), "board": board},
        "RouterStrategy": {},
    }
    env = environment_file(tmp_path, "desk", drivers)
    (tmp_path / "test_it.py").write_text(
        "def test_it(strategy):\n"
        "    strategy.transition('up')\n"
        "    assert [name for name, _ in strategy.system.milestones][-1] == 'client up'\n"
        "    strategy.transition('off')\n"
        "    assert strategy.status.name == 'off'\n"
    )
    assert lab.client("-p", "desk", "acquire").returncode == 0
    done = lab.pytest("-v", "--lg-env", str(env), str(tmp_path / "test_it.py"))
    # The place is labgrid's: nothing of ours has released it.
    assert lab.client("-p", "desk", "release").returncode == 0
    assert done.returncode == 0 and "1 passed" in done.stdout
    assert lab.boards["desk"].memory[0x50000000] == (build / "loader.img").read_bytes()


def test_a_guest_is_a_command_protocol_for_labgrids_tests(lab: Lab, build: Path, tmp_path: Path) -> None:
    write_build(build, facts=FACTS)
    drivers = {
        "RouterDriver": {"build": str(build), "board": {"load": "ymodem"}},
        "RouterGuestDriver": {"guest": "client"},
        "RouterStrategy": {},
    }
    env = environment_file(tmp_path, lab.live, drivers)
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "from labgrid.driver import ExecutionError\n"
        "def test_it(target, strategy):\n"
        "    strategy.force('up')\n"
        "    guest = target.get_driver('CommandProtocol')\n"
        "    assert guest.run_check('echo one; echo two') == ['one', 'two']\n"
        "    assert guest.run('exit 7')[2] == 7\n"
        "    with pytest.raises(ExecutionError):\n"
        "        guest.run_check('false')\n"
    )
    check_passes(lab, env, tmp_path / "test_it.py")


def test_a_command_runs_in_a_guest_of_a_place_which_is_released_after_the_last_client(lab: Lab, build: Path) -> None:
    write_build(build, facts=FACTS)
    state.remember(lab.live, read_plan(build))
    done = lab.router("exec", "--on", lab.live, "client", "echo it $((40+2)) works")
    assert (done.returncode, done.stdout) == (0, "it 42 works\n")
    assert wait_until(lambda: lab.owners(lab.live)[-1] == "-")


def test_a_boot_after_a_command_waits_for_the_line_and_keeps_others_off_it(
    lab: Lab, build: Path, tmp_path: Path
) -> None:
    write_build(build, facts=FACTS)
    drivers: dict[str, object] = {"RouterDriver": {"build": str(build), "board": {"load": "ymodem"}}}
    env = environment_file(tmp_path, lab.live, drivers)
    (tmp_path / "test_it.py").write_text(
        "from router.deploy import runner\n"
        "from router.lab.lock import holder_of\n"
        "def test_it(target, monkeypatch):\n"
        "    held = []\n"
        "    # The board cannot boot: whose the line is at that time is what counts.\n"
        "    monkeypatch.setattr(runner, 'bring_up', lambda *_: held.append(holder_of(target.name).doing))\n"
        "    system = target.get_driver('RouterDriver')\n"
        "    assert system.execute('client', 'echo it') == (0, b'it\\n')\n"
        "    assert holder_of(target.name).leaves\n"
        "    system.boot()\n"
        "    assert held == ['booting demo']\n"
        "    assert holder_of(target.name) is None\n"
    )
    check_passes(lab, env, tmp_path / "test_it.py")
