# SPDX-License-Identifier: BSD-2-Clause
"""The stages of a first start, each as the board's own image on QEMU's model of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from router.machines.qemu.tool import VARIABLE
from tests.sel4.needs import need_sdk
from tests.sel4.test_run import describe
from tests.support.end_to_end import BOOT, processes_in, router
from tests.support.skips import need_newer

SERIAL = ("serial port speaks", "serial port hears")
CLIENT = ("client loading", "client kernel", "client up")
SEEN = {
    1: SERIAL,
    2: (*SERIAL, "timer ticks", "clock is right"),
    3: CLIENT,
    4: ("server loading", "server kernel", "server up", "server listening", *CLIENT),
}
LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("board", "stage"),
    [
        ("maaxboard", 1),
        ("maaxboard", 2),
        ("maaxboard", 3),
        pytest.param("maaxboard", 4, marks=LONG),
        pytest.param("imx8mp_evk", 1, marks=LONG),
        ("imx8mp_evk", 2),
        pytest.param("imx8mp_evk", 3, marks=LONG),
        pytest.param("imx8mp_evk", 4, marks=LONG),
        pytest.param("qemu", 2, marks=LONG),
    ],
)
def test_a_stage_shows_all_that_it_must_and_says_what_comes_next(
    board: str, stage: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_sdk(board=board, config="release")
    monkeypatch.setenv(VARIABLE, need_newer("qemu-system-aarch64"))
    path = describe(tmp_path, "ladder", board=board, config="release")
    run = subprocess.run(
        [*router("run", path), "--stage", str(stage), "--timeout", f"{BOOT:g}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = {line.partition("●")[2].rpartition("+")[0].strip() for line in run.stdout.splitlines() if "●" in line}
    assert seen == set(SEEN[stage])
    assert f"stage {stage} of 5 works" in run.stdout and f"next: --stage {stage + 1}" in run.stdout
    assert processes_in(tmp_path) == []
