# SPDX-License-Identifier: BSD-2-Clause
"""Where seL4's cores wait for each other, and the plugin that makes QEMU's threads yield there."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from router.cli.run import caveats
from router.errors import HostError
from router.machines.qemu.session import on_several_cores
from router.machines.qemu.spin_loops import VERSIONS, branch, build_plugin, loops, takes, wait_loops, yielding
from router.machines.qemu.tool import Qemu, find_qemu
from router.microkit.sdk import installed_sdks
from router.pipeline.build import Built
from router.pipeline.inputs import Planned
from tests.support.systems import plan_of, shipped

NOP, ACQUIRE, LOAD = 0xD503201F, 0xD50339BF, 0xB9400000
BACK_CBNZ, BACK_B, BACK_BCOND = 0x35FFFFA0, 0x17FFFFFD, 0x54FFFFA1
"""cbnz w0, .-12; b .-12; b.ne .-12"""
FORWARD_CBZ = 0x34000060


def elf(words: list[int], address: int = 0x8060000000) -> bytes:
    """A program of one segment, as far as it is looked at."""
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack("<HHIQQQIHHH", 2, 183, 1, 0, 64, 0, 0, 64, 56, 1)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 128, address, address, 4 * len(words), 4 * len(words), 4)
    return (header.ljust(64, b"\0") + segment).ljust(128, b"\0") + struct.pack(f"<{len(words)}I", *words)


@pytest.mark.parametrize(
    ("word", "distance"),
    [(BACK_CBNZ, -3), (BACK_B, -3), (BACK_BCOND, -3), (FORWARD_CBZ, 3), (0xB4000040, 2), (NOP, None), (LOAD, None)],
)
def test_the_distance_of_a_branch(word: int, distance: int | None) -> None:
    assert branch(word) == distance


@pytest.mark.parametrize("back", [BACK_CBNZ, BACK_B, BACK_BCOND])
def test_a_loop_around_an_acquire_fence_is_found(back: int) -> None:
    assert loops([NOP, LOAD, ACQUIRE, NOP, back, NOP]) == [(1, 5)]
    assert wait_loops(elf([NOP, LOAD, ACQUIRE, NOP, back])) == [range(0x8060000004, 0x8060000014)]


def test_what_is_no_such_loop_is_not_found() -> None:
    assert loops([LOAD, ACQUIRE, FORWARD_CBZ, NOP]) == []  # a fence that is passed once
    assert loops([LOAD, NOP, NOP, BACK_CBNZ]) == []  # a loop without a fence
    assert loops([ACQUIRE, NOP, LOAD, NOP, NOP, BACK_CBNZ]) == []  # a fence before the loop
    assert loops([LOAD, ACQUIRE, *[NOP] * 20, BACK_CBNZ]) == []


def test_loops_that_share_instructions_are_one() -> None:
    assert loops([LOAD, ACQUIRE, NOP, BACK_CBNZ, BACK_B, NOP, LOAD, ACQUIRE, NOP, BACK_B]) == [(0, 5), (6, 10)]


def test_kernels_for_several_cores_have_such_loops_and_those_for_one_have_none() -> None:
    seen = 0
    for sdk in installed_sdks():
        for board, configs in sdk.boards.items():
            for config in configs:
                found = wait_loops((sdk.board_dir(board, config) / "elf" / "sel4.elf").read_bytes())
                assert (len(found) >= 5) == config.startswith("smp-"), f"{sdk.path} {board} {config}: {found}"
                assert all(0 < len(each) < 100 for each in found)
                seen += config.startswith("smp-")
    if not seen:
        pytest.skip("no Microkit SDK with a kernel for several cores is installed")


def some_qemu() -> Qemu:
    """The installed one, or a skip."""
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    try:
        return find_qemu()
    except HostError as error:
        pytest.skip(error.message)


def test_this_qemu_loads_the_plugin_in_one_of_its_forms(tmp_path: Path) -> None:
    qemu = some_qemu()
    plugins = [build_plugin(tmp_path / "a,b", version) for version in VERSIONS]
    assert [build_plugin(tmp_path / "a,b", version) for version in VERSIONS] == plugins, "built once"
    kernel = tmp_path / "sel4.elf"
    kernel.write_bytes(elf([NOP, LOAD, ACQUIRE, NOP, BACK_B]))
    option, value = yielding(qemu, kernel, tmp_path / "a,b")
    assert option == "-plugin"
    assert value.endswith(",at=0x8060000004-0x8060000014")
    command = [qemu.path, "-nodefaults", "-display", "none", "-machine", "none", "-monitor", "stdio", option]
    assert subprocess.run([*command, value], input=b"quit\n", capture_output=True, timeout=30).returncode == 0
    assert subprocess.run([*command, f"{value},what"], input=b"quit\n", capture_output=True, timeout=30).returncode != 0


def test_a_program_that_takes_no_plugin_is_no_hang_and_says_so(tmp_path: Path) -> None:
    some_qemu()
    false = Qemu(shutil.which("false") or "/bin/false", (7, 2, 0))
    assert not takes(false, tmp_path / "none.so")
    kernel = tmp_path / "sel4.elf"
    kernel.write_bytes(elf([NOP]))
    with pytest.raises(HostError, match=r"QEMU 7\.2\.0 takes no plugin"):
        yielding(false, kernel, tmp_path)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "false fails at building the plugin for QEMU: exit code 1"),
        ("/none", "the plugin for QEMU cannot be built"),
    ],
)
def test_a_compiler_that_builds_no_plugin_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str
) -> None:
    monkeypatch.setenv("CC", command)
    with pytest.raises(HostError, match=message):
        build_plugin(tmp_path, 1)


def test_without_the_plugin_the_run_goes_on_and_says_what_to_expect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some_qemu()
    kernel = tmp_path / "sel4.elf"
    kernel.write_bytes(elf([NOP]))
    false = Qemu(shutil.which("false") or "/bin/false", (7, 2, 0))
    plan = plan_of(shipped("qemu"))
    for config, noted in (("release", False), ("smp-release", True)):
        fields = {"plan": replace(plan, config=config), "loader_image": SimpleNamespace(kernel=kernel)}
        built = cast(Built, SimpleNamespace(folder=tmp_path, **fields))
        assert on_several_cores(built, false) == []
        assert ("will hardly get anywhere" in capsys.readouterr().err) == noted


@pytest.mark.parametrize(
    ("config", "mode", "notes"), [("smp-debug", "microkit", 1), ("smp-debug", "split", 0), ("debug", "microkit", 0)]
)
def test_a_run_on_several_emulated_cores_says_what_to_expect_of_its_speed(config: str, mode: str, notes: int) -> None:
    plan = replace(plan_of(shipped("qemu")), config=config)
    said = caveats(cast(Planned, SimpleNamespace(plan=plan, board=plan.board)), mode)
    assert len(said) == notes
    assert all("emulated cores on the" in line for line in said)
