# SPDX-License-Identifier: BSD-2-Clause
"""The study of one disk for many guests: its loads run, its traces are read, its goals can be missed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bench.guest import storage_extents, storage_load
from bench.storage.loads import FLOOD, LOADS, PARTS, VICTIM, choose
from bench.storage.measure import Result, commits_of, neighbours
from bench.storage.report import Study, gain, percentile, rows
from bench.storage.run import turned
from bench.storage.system import DISK_BYTES, KINDS, MEMORY_MIB, description, names
from bench.storage.trace import OWN, Range, Window, parse, split_by_owner, window
from bench.systems import MiB, figures
from router.checks import check_plan
from router.description.load import load
from router.errors import DescriptionError, MachineError
from tests.support.systems import plan_of

TRACE = """\
# tracer: nop
     kworker/0:2-133     [000] .....    59.1: block_bio_queue: 8,0 WS 299176 + 16 [kworker/0:2]
     kworker/0:2-133     [000] .....    59.2: block_rq_issue: 8,0 WS 8192 () 299176 + 16 [kworker/0:2]
     usb-storage-214     [000] .....    59.3: block_rq_complete: 8,0 WS () 299176 + 16 [0]
      jbd2/sda-8-281     [000] .....    59.4: block_bio_queue: 8,0 FWFSM 524872 + 8 [jbd2/sda-8]
    kworker/0:2H-234     [000] .....    59.500: block_rq_issue: 8,0 FF 0 () 0 + 0 [kworker/0:2H]
     usb-storage-214     [000] .....    59.507: block_rq_complete: 8,0 FF () 18446744073709551615 + 0 [0]
    kworker/0:2H-234     [000] .....    59.6: block_rq_issue: 8,0 WSM 4096 () 524872 + 8 [kworker/0:2H]
    kworker/0:2H-234     [000] .....    60.2: block_bio_queue: 8,16 R 14902 + 2 [kworker/0:2H]
    kworker/0:2H-234     [000] .....    60.3: block_bio_queue: 8,16 FW 0 + 0 [kworker/0:2H]
"""
"""As Linux 6.1 gave it, times and sizes made simpler."""


def result(rate: float, syncs: tuple[float, ...] = (), commits: int = 0) -> Result:
    return Result({"g1": rate, "g2": rate}, {"g1": syncs, "g2": ()}, commits, 1000.0, 2500.0)


@pytest.mark.parametrize("name", LOADS)
def test_a_load_works_on_a_file_system_where_another_has_left_its_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With files a 64th of their size, and without what needs root or a block device."""
    monkeypatch.setattr(storage_load, "SEQUENTIAL", 2 * storage_load.RECORD)
    monkeypatch.setattr(storage_load, "RANDOM", 64 << 10)
    monkeypatch.setattr(storage_load, "PASS", 3)
    monkeypatch.setattr(storage_load, "drop_caches", lambda: None)
    monkeypatch.setattr(storage_load, "written", lambda device: 4096)
    monkeypatch.setattr(os, "sync", lambda: None)
    steps = iter(range(1000))
    # The clock moves by a second at each look, so that the load ends after a certain number of operations.
    monkeypatch.setattr(time, "monotonic", lambda: float(next(steps)))
    (tmp_path / "go").touch()
    (tmp_path / "load").mkdir()
    (tmp_path / "load/old").touch()
    storage_load.run(name, str(tmp_path), "sda", 60.0, 7, str(tmp_path / "go"), False)
    found = figures(capsys.readouterr().out.removeprefix("ready\n"), "g1")
    assert found["rate"][0] > 0 and found["written"] == [0.0]
    assert found["syncs"][0] == len(found.get("sync", ()))
    writes = name == "log" or name == "mail" or "write" in name
    assert (found["syncs"][0] > 0) == writes
    assert any((tmp_path / "load").iterdir()) and not (tmp_path / "load/old").exists()


def test_the_same_seed_gives_the_same_places() -> None:
    one, same, other = (storage_load.Load("", seed) for seed in (3, 3, 4))
    first = [one.pick(1000) for _ in range(50)]
    assert first == [same.pick(1000) for _ in range(50)] != [other.pick(1000) for _ in range(50)]
    assert all(0 <= place < 1000 for place in first) and len(set(first)) > 25


def test_loads_are_chosen_by_name_and_in_their_own_order() -> None:
    assert choose([]) == [*LOADS, *PARTS]
    assert choose(["trace", "web", "mail"]) == ["mail", "web", "trace"]
    with pytest.raises(DescriptionError, match="no load 'smtp'"):
        choose(["smtp"])
    assert neighbours(["g1", "g2", "g3"], "g2") == {"g1": FLOOD, "g2": VICTIM, "g3": FLOOD}


@pytest.mark.parametrize("count", MEMORY_MIB)
def test_the_measured_system_can_be_built(count: int, tmp_path: Path) -> None:
    path = tmp_path / "bench.yaml"
    # The tests' plans know the images without the tools; nothing else of the plan depends on that.
    path.write_text(description(names(count)).replace("usb-server-tools", "usb-server"))
    plan = plan_of(load(path).description)
    assert check_plan(plan) == ()
    assert [grant.size for grant in plan.grants] == [DISK_BYTES] * count
    assert DISK_BYTES % MiB == 0


def test_extents_of_a_file_cover_it(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"x" * 100_000)
    try:
        found = storage_extents.extents(str(file))
    except OSError as error:
        pytest.skip(f"this file system does not say where its files are: {error}")
    assert sum(length for _, length in found) >= 100_000


def test_a_trace_is_read_for_one_disk() -> None:
    events = parse(TRACE, "8:0")
    assert [(event.name, event.flags, event.sector, event.sectors) for event in events[:2]] == [
        ("block_bio_queue", "WS", 299176, 16),
        ("block_rq_issue", "WS", 299176, 16),
    ]
    assert len(events) == 7 and len(parse(TRACE, "8:16")) == 2


def test_writes_are_their_owners_and_flushes_are_timed() -> None:
    ranges = [Range("g1", 299176, 299184), Range("g2", 299184, 299300)]
    found = window(parse(TRACE, "8:0"), ranges)
    assert found.written == {"g1": 4096, "g2": 4096, OWN: 4096}
    assert (found.others("g1"), found.others("g3")) == (4096, 8192)
    assert [round(1000 * each, 3) for each in found.flushes] == [7.0]
    quiet = window(parse(TRACE, "8:16"), ranges)
    assert (quiet.written, quiet.flushes, quiet.others("g1")) == ({}, (), 0)


def test_a_write_across_owners_is_split() -> None:
    ranges = [Range("g1", 0, 10), Range("g2", 20, 30)]
    assert split_by_owner(5, 20, ranges) == {"g1": 5 * 512, "g2": 5 * 512, OWN: 10 * 512}
    assert split_by_owner(10, 10, ranges) == {OWN: 10 * 512}


def test_the_journals_commits_are_read() -> None:
    assert commits_of("7 transactions (7 requested), each up to 1024 blocks\naverage: \n") == 7
    with pytest.raises(MachineError, match="the server's journal says"):
        commits_of("cat: no such file")


def test_the_99th_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert (percentile(values, 0.99), percentile(values, 0.5), percentile([3.0], 0.99)) == (99.0, 50.0, 3.0)
    assert percentile([], 0.99) == 0.0


def test_each_kind_of_disk_is_first_in_turn() -> None:
    orders = [turned(KINDS, number) for number in range(3)]
    assert {order[0] for order in orders} == set(KINDS) and all(set(order) == set(KINDS) for order in orders)


def study(part: float, latency: float, hit: int) -> Study:
    """Partitions at that rate where files have 100, with that fsync where they have 0.1 s; `hit` bytes of others."""
    loads = {("log", kind): [result(part if kind == "part" else 100, (0.1,) * 4, 2)] for kind in KINDS}
    flooded = {("g1", kind): [result(1, (latency if kind == "part" else 0.1,) * 100)] for kind in KINDS}
    windows = {
        "allocated": [Window({"g1": 4096, "g2": 8192, OWN: 12288}, (0.01,))],
        "part": [Window({"g1": 4096, "g2": hit}, (0.01,))],
    }
    return Study(loads, flooded, windows, "g1")


def verdicts(one: Study) -> list[bool]:
    return [row.met for row in rows(one) if row.met is not None]


def test_goals_are_met_and_missed() -> None:
    assert verdicts(study(200, 0.04, 0)) == [True] * 5
    assert verdicts(study(110, 0.06, 4096)) == [False, False, False, False, True]
    assert gain(study(110, 0.06, 0), "log") == pytest.approx(10)


def test_few_syncs_do_not_meet_a_goal_of_their_99th_percentile() -> None:
    few = study(200, 0.04, 0)
    flooded = {key: [result(1, one.syncs["g1"][:5]) for one in each] for key, each in few.flooded.items()}
    assert verdicts(Study(few.loads, flooded, few.windows, "g1")) == [True, True, False, True, True]


def test_commits_and_bytes_are_ratios_over_all_rounds() -> None:
    found = {(row.name.strip(), row.of): row.value for row in rows(study(200, 0.04, 0))}
    assert found["server's journal commits for 1000 fsyncs", "sparse file:"] == 500
    assert found["bytes on the disk for a byte of the guests", "sparse file:"] == 2.5
    assert found["of them with writes of another guest's blocks", "sparse file, nodelalloc:"] == 1


def test_a_part_of_the_study_has_no_goals_of_the_rest() -> None:
    whole = study(200, 0.04, 0)
    assert verdicts(Study({}, {}, whole.windows, "g1")) == [True, True]
    assert verdicts(Study(whole.loads, {}, {}, "g1")) == [True, True]
