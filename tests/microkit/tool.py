# SPDX-License-Identifier: BSD-2-Clause
"""Build folders for the real `microkit` tool: programs that do nothing, and a small file for each image."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from router.microkit.sdk import Sdk, find_sdk
from router.microkit.system import render_system
from router.plan.models import SystemPlan
from tests.support.patience import PATIENCE

COMPILER = "aarch64-linux-gnu-gcc"
FLAGS = "-nostdlib -ffreestanding -mstrict-align -fno-pic -fno-stack-protector -mno-outline-atomics -O1"
SOURCE = """
#include <microkit.h>
void init(void) {}
void notified(microkit_channel ch) { (void)ch; }
microkit_msginfo protected(microkit_channel ch, microkit_msginfo info) { (void)ch; return info; }
seL4_Bool fault(microkit_child child, microkit_msginfo info, microkit_msginfo *reply)
{
    (void)child; (void)info; (void)reply;
    return seL4_False;
}
"""
PAYLOAD = b"payload\n" * 512


def sdk_or_skip(version: str, sdk_board: str, config: str) -> Sdk:
    """The SDK of that version, whatever MICROKIT_SDK names; without it or the compiler the test is skipped."""
    sdk = find_sdk(version, sdk_board, config, {"HOME": str(Path.home())})
    if sdk is None:
        pytest.skip(f"no Microkit SDK {version} with {sdk_board} {config} is installed")
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no {COMPILER} is installed (Debian package gcc-aarch64-linux-gnu)")
    return sdk


def prepare(text: str, name: str, sdk: Sdk, sdk_board: str, config: str, folder: Path) -> None:
    """Write a system description as NAME.system, with an empty program for each domain and a file for each image."""
    board_dir, system = sdk.board_dir(sdk_board, config), ElementTree.fromstring(text)
    (folder / f"{name}.system").write_text(text)
    (folder / "objects").mkdir(exist_ok=True)
    (folder / "programs").mkdir(exist_ok=True)
    (folder / "program.c").write_text(SOURCE)
    command = [COMPILER, *FLAGS.split(), f"-I{board_dir}/include", "program.c", f"-L{board_dir}/lib", "-lmicrokit"]
    command += ["-Tmicrokit.ld", "-Wl,--build-id=none", "-o", "program.elf"]
    subprocess.run(command, check=True, timeout=PATIENCE, cwd=folder)
    for image in system.iter("program_image"):
        shutil.copyfile(folder / "program.elf", folder / "programs" / image.attrib["path"])
    for region in system.findall("memory_region[@prefill_path]"):
        payload = folder / region.attrib["prefill_path"]
        payload.parent.mkdir(parents=True, exist_ok=True)
        payload.write_bytes(PAYLOAD)


def prepare_plan(plan: SystemPlan, sdk: Sdk, folder: Path) -> None:
    """The same for a plan, whose payloads must be planned with the size of `PAYLOAD`."""
    prepare(render_system(plan), plan.name, sdk, plan.board.microkit, plan.config, folder)
