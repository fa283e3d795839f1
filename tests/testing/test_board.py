# SPDX-License-Identifier: BSD-2-Clause
"""Tests on a board: its deployment is waited for, its one line is shared, and the board is free afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router.deploy import state
from router.deploy.events import Reporter
from router.deploy.job import Job
from router.deploy.plan import read_plan
from router.errors import DescriptionError, HostError, MachineError
from router.lab.lock import holder_of
from router.testing import board as boards
from router.testing import pool
from router.testing.board import BoardMachine
from router.testing.setup import Setup
from tests.deploy.lab import FACTS, LabOfOne, write_build
from tests.deploy.running_board import RunningBoard
from tests.support.patience import wait_until
from tests.support.switch_counts import counts_of

TEST = """
import pytest
def test_command(router):
    assert router.mode == "board" and router.name == "desk"
    assert router.guest("client").run("seq 3; exit 0").stdout == "1\\n2\\n3\\n"
def test_again(router):
    assert router.guest("server").run("exit 4", check=False).code == 4
    assert router.milestones() == {"client up": 12.5}
@pytest.mark.router_needs("counters")
def test_counters(router):
    counters = router.counters()
    assert counters["client"].drops == {"not-allowed": 3} and counters["client"].rx_bytes == 1 << 63
    assert counters["server"].drops == {} and counters["server"].connected
@pytest.mark.router_needs("disk")
def test_disk(router): router.plug_disk()
def test_freeze(router):
    with router.freeze("client"): pass
"""


PLANNED: Any = SimpleNamespace(sdk="an SDK")
"""What `make` below is given, which looks at nothing of it."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime_folder: None) -> Iterator[LabOfOne]:
    """A lab with one board, on which what is deployed runs at once; the deployment itself is tests/deploy's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)

    def make(planned: object, folder: Path, progress: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "loader.img").write_bytes(bytes(512))
        write_build(folder, facts=FACTS)

    def bring_up(via: str | None, job: Job, reporter: Reporter, log: Path) -> None:
        assert via is None and job.plan.facts is not None and Path(job.files["loader.img"]).exists()
        log.write_text("U-Boot 2023.01\n")
        reporter.say("milestone", name="client up", seconds=12.5, line="")
        state.remember(job.board.name, read_plan(Path(job.files["loader.img"]).parent))

    monkeypatch.setattr(boards, "make", make)
    monkeypatch.setattr(boards, "bring_up", bring_up)
    counts = {0: counts_of(CONNECTED=1), 1: counts_of(CONNECTED=1, RX_BYTES=1 << 63, not_allowed=3)}
    with RunningBoard(counts=counts) as one:
        found = LabOfOne(tmp_path, one)
        monkeypatch.setenv("ROUTER_LAB", str(found.file))
        yield found
    assert wait_until(lambda: holder_of("desk") is None), "the process that served the board is still there"


def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: Any = PLANNED, **more: Any) -> BoardMachine:
    setup = Setup(description=tmp_path / "x.yaml", on="desk", build=tmp_path / "build", **more)
    return BoardMachine(setup, planned, tmp_path / "logs")


def test_the_tests_of_qemu_run_on_a_board_and_what_it_cannot_do_skips(
    pytester: pytest.Pytester, lab: LabOfOne, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pool, "plan", lambda setup: PLANNED)
    pytester.makeconftest(
        f"""
        import pytest
        from pathlib import Path
        from router.testing import Setup
        @pytest.fixture(scope="session")
        def router_setup():
            return Setup(description=Path("x.yaml"), on="desk", build=Path({str(tmp_path / "build")!r}))
        """
    )
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess("-rs")
    result.assert_outcomes(passed=3, skipped=2)
    result.stdout.fnmatch_lines(["*disk: disks with an image behind them exist in QEMU only (this system: board)"])
    board = lab.board
    assert isinstance(board, RunningBoard) and board.openings == 1


def test_the_board_is_ours_while_the_tests_run_and_consoles_are_kept(
    lab: LabOfOne, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = pool.Live(Setup(description=tmp_path / "x.yaml", on="desk"), machine(tmp_path, monkeypatch))
    try:
        holder = holder_of("desk")
        assert holder is not None and holder.doing == "serving demo"
        live.machine.check()
        with pytest.raises(MachineError, match="cannot be stopped from outside"):
            live.machine.freeze("client")
        assert "console-desk.log" in {path.name for path in live.machine.attachments}
    finally:
        live.close()


def test_several_workers_do_not_share_a_board(lab: LabOfOne, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "4")
    with pytest.raises(DescriptionError, match=r"a board runs one system, and 4 workers .* want one each"):
        machine(tmp_path, monkeypatch)


def test_a_repositorys_own_lab_file_is_not_used_before_the_user_agrees_and_nothing_is_built(
    lab: LabOfOne, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(boards, "make", lambda *_: pytest.fail("the build folder was touched"))
    monkeypatch.delenv("ROUTER_LAB")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "boards.yaml").write_bytes(lab.file.read_bytes())
    with pytest.raises(DescriptionError, match="not trusted yet"):
        machine(tmp_path, monkeypatch)


def test_without_an_sdk_nothing_is_built_and_no_build_from_elsewhere_is_deployed(
    lab: LabOfOne, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(boards, "make", lambda *_: pytest.fail("the build folder was touched"))
    with pytest.raises(HostError, match="making one needs a Microkit SDK"):
        machine(tmp_path, monkeypatch, SimpleNamespace(sdk=None))
