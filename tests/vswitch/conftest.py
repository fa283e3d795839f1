# SPDX-License-Identifier: BSD-2-Clause
"""The switch's C programs, compiled once a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from router.vswitch import SwitchProcess, build_host_switch
from tests.vswitch.cc import CORE_UNITS, HOST, HOST_UNITS, PROGRAMS, SANITIZE, compile_c
from tests.vswitch.frames import CONFIG
from tests.vswitch.runner import Runner
from tests.vswitch.vsock_switch import VSOCK


@pytest.fixture(scope="session")
def runner_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The core behind a line protocol, with address and undefined-behaviour sanitizers."""
    units = [PROGRAMS / "runner.c", HOST / "config.c", *CORE_UNITS]
    return compile_c(tmp_path_factory.mktemp("runner") / "runner", units, *SANITIZE)


@pytest.fixture
def runner(runner_program: Path, tmp_path: Path) -> Iterator[Runner]:
    """The core, configured with the four guests of vswitch_frames."""
    with Runner(runner_program, tmp_path) as running:
        running.configure(CONFIG)
        yield running


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host process as users get it."""
    return build_host_switch(tmp_path_factory.mktemp("vswitch"))


@pytest.fixture(scope="session")
def checked_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The host process with the sanitizers."""
    return compile_c(tmp_path_factory.mktemp("checked") / "vswitch", HOST_UNITS, *SANITIZE)


@pytest.fixture
def vsock_switch(checked_program: Path, tmp_path: Path) -> SwitchProcess:
    """A switch for guests with vsock devices; not started yet, with the sanitizers, and without a limit on waiting."""
    return SwitchProcess(checked_program, VSOCK, tmp_path / "run", stall_ms=0)
