# SPDX-License-Identifier: BSD-2-Clause
"""docs/guide/adding-a-board.md holds: one file in router/boards is a board, and the board tests pick it up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

ROOT = Path(__file__).parent.parent.parent
PARTS = ("router", "dts", "guest-images", "system-descriptions", "common", "drivers", "vmm", "vswitch")
"""What a board's tests need of the tree, beside tests/."""
DESCRIPTION = """
system: on-third
board: third
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
usb:
  - {class: hid, to: client}
"""


def third_board(text: str) -> str:
    """Step 1 of the guide: a copy of another board's file with other numbers."""
    for before, after in (
        ('name="qemu"', 'name="third"'),
        ('title="QEMU virt (AArch64)"', 'title="A third board"'),
        ('microkit="qemu_virt_aarch64"', 'microkit="third"'),
        ("guest_ram=Range(0x7800_0000, 0xBF00_0000 - 0x7800_0000)", "guest_ram=Range(0x8000_0000, 0x3000_0000)"),
        ('tree="qemu_virt_aarch64.dts"', 'tree="third.dts"'),
        ("irq=48)", "irq=100)"),
    ):
        assert before in text, f"router/boards/qemu.py no longer says {before}"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with a third board, made as the guide says."""
    copy = tmp_path_factory.mktemp("third") / "tree"
    ignore = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info")
    for part in (*PARTS, "tests"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", copy)
    board = third_board((ROOT / "router/boards/qemu.py").read_text())
    (copy / "router/boards/third.py").write_text(board)
    shutil.copy(copy / "dts/qemu_virt_aarch64.dts", copy / "dts/third.dts")
    (copy / "third.yaml").write_text(DESCRIPTION)
    return copy


def python(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python on the copy, whose package comes before the installed one."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=10 * PATIENCE,
    )


def test_a_description_may_name_the_board_and_its_nodes_are_listed(tree: Path) -> None:
    if shutil.which("dtc") is None:
        pytest.skip("dtc is missing (package device-tree-compiler)")
    checked = python(tree, "-m", "router", "check", "third.yaml")
    assert checked.returncode == 0, checked.stderr
    assert "invariants hold" in checked.stdout
    listed = python(tree, "-m", "router", "board", "third")
    assert listed.returncode == 0, listed.stderr
    assert "A third board" in listed.stdout
    assert "pcie@3f000000" in listed.stdout


def test_the_board_tests_pick_it_up_and_pass(tree: Path) -> None:
    properties = "tests/checks/test_properties.py::test_no_invariant_is_broken_by_a_valid_system"
    tests = ("tests/boards/test_boards.py", properties)
    run = python(tree, "-m", "pytest", "-p", "no:cacheprovider", "-v", "--timeout=500", *tests)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert len(re.findall(r"\[(?:[\d.]+-)?third\S*\] PASSED", run.stdout)) >= 10


def test_a_mistake_in_the_boards_numbers_fails_the_board_tests(tree: Path) -> None:
    """So that the test above cannot pass by not looking: guests' RAM over the loader's image."""
    file = tree / "router/boards/third.py"
    right = file.read_text()
    file.write_text(right.replace("guest_ram=Range(0x8000_0000", "guest_ram=Range(0x7000_0000"))
    try:
        run = python(tree, "-m", "pytest", "-p", "no:cacheprovider", "-q", "tests/boards/test_boards.py", "-k", "third")
    finally:
        file.write_text(right)
    assert run.returncode == 1
    assert "test_every_part_of_the_ram_has_one_use_and_guests_get_what_is_left[third]" in run.stdout
