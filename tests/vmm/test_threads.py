# SPDX-License-Identifier: BSD-2-Clause
"""The rings that domains on different cores share, with a thread on each side (tests/vmm/c/threads.c).

Built plainly, a processor lets a load pass an earlier store, so a missing full fence shows in the handshakes, in most
runs. Built with ThreadSanitizer, an access that no acquire and release order is reported, also one that this computer's
processor would have kept in order and a board's would not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vmm.cc import CASE, PROGRAMS, compile_cores, link_program

SOURCE = "threads.c"
BUILDS = {
    "plain": ("-O2", "-pthread"),
    "tsan": ("-O1", "-g", "-pthread", "-fsanitize=thread", "-Wno-tsan", "-DROUNDS=1000u"),
}


@pytest.fixture(scope="session")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The program in one of the builds, made when it is first asked for."""
    made: dict[str, Path] = {}

    def compiled(build: str) -> Path:
        if build not in made:
            folder = tmp_path_factory.mktemp(f"threads_{build}")
            objects = compile_cores(folder, *BUILDS[build])
            made[build] = link_program(folder / "threads", SOURCE, objects, *BUILDS[build])
        return made[build]

    return compiled


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("case", CASE.findall((PROGRAMS / SOURCE).read_text()))
def test_nothing_is_lost_between_threads(threads: Callable[[str], Path], build: str, case: str) -> None:
    run = subprocess.run([threads(build), case], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
