# SPDX-License-Identifier: BSD-2-Clause
"""The real `microkit` tool accepts every golden .system file, with programs that do nothing, and large systems too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from router.checks import check_plan
from router.microkit.sdk import Sdk
from router.microkit.system import render_system
from tests.microkit.tool import prepare, sdk_or_skip
from tests.support.patience import PATIENCE
from tests.support.systems import described, many, plan_of, shipped

pytestmark = pytest.mark.sel4
GOLDEN = Path(__file__).parent.parent / "golden" / "system"


def run_tool(text: str, sdk: Sdk, sdk_board: str, config: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the tool on a system description, with an empty program for each domain and a small file for each image."""
    prepare(text, "it", sdk, sdk_board, config, folder)
    command = [str(sdk.tool), "it.system", "--board", sdk_board, "--config", config]
    return subprocess.run(
        [*command, "-o", "loader.img", "-r", "report.txt", "--search-path", ".", "programs"],
        cwd=folder,
        env={"MICROKIT_SDK": str(sdk.path)},
        capture_output=True,
        text=True,
        timeout=9 * PATIENCE,
    )


@pytest.mark.parametrize("name", sorted(file.stem for file in GOLDEN.glob("*.system")))
def test_the_tool_makes_an_image_of_the_golden_system_file(name: str, tmp_path: Path) -> None:
    description, version = name.rsplit("-", 1)
    config = plan_of(shipped(description)).config
    sdk_board = plan_of(shipped(description)).board.microkit
    sdk = sdk_or_skip(version, sdk_board, config)
    done = run_tool((GOLDEN / f"{name}.system").read_text(), sdk, sdk_board, config, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert (tmp_path / "loader.img").stat().st_size > 100_000


@pytest.mark.parametrize(
    ("version", "guests", "memory"),
    [
        ("2.0.1", 24, "32 MiB"),
        ("2.0.1", 25, "32 MiB"),
        ("2.0.1", 28, "2 MiB"),
        ("2.0.1", 29, "2 MiB"),
        ("2.3.0", 30, "32 MiB"),
    ],
)
def test_the_tool_takes_a_large_system_exactly_when_the_checks_do(
    version: str, guests: int, memory: str, tmp_path: Path
) -> None:
    plan = plan_of(many(guests, memory=memory), version)
    sdk = sdk_or_skip(version, plan.board.microkit, "debug")
    done = run_tool(render_system(plan), sdk, plan.board.microkit, "debug", tmp_path)
    assert (done.returncode == 0) == (check_plan(plan) == ()), done.stdout + done.stderr


@pytest.mark.parametrize("where", ["qemu", "maaxboard"])
def test_the_tool_takes_cores_budgets_smc_calls_and_several_vcpus(where: str, tmp_path: Path) -> None:
    guest = {"image": "usb-client", "vcpus": 4, "cpu": 3, "budget": "2 ms", "period": "8 ms", "smc": [0xC2000000]}
    fields = {
        "system": "features",
        "board": where,
        "microkit": {"sdk": "2.3.0", "config": "smp-debug"},
        "guests": {"one": guest, "two": {"image": "usb-client", "priority": 7}},
    }
    plan = plan_of(described(fields))
    sdk = sdk_or_skip("2.3.0", plan.board.microkit, "smp-debug")
    assert check_plan(plan) == ()
    done = run_tool(render_system(plan), sdk, plan.board.microkit, "smp-debug", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
