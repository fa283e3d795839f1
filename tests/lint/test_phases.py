# SPDX-License-Identifier: BSD-2-Clause
"""The phases of `make test`: every module has one, and what measures runs alone."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support.patience import PATIENCE, wait_until
from tests.support.tiers import FIRST, MEASURED, TESTS, Phase, Quiet, group, order, phase, stands_idle

SYSTEM = "deploy/test_lab_host.py"


def item(module: str) -> Any:
    """A test of that module."""
    return SimpleNamespace(path=TESTS / module)


def run(worker: Quiet, module: str) -> None:
    """What pytest does with a test."""
    protocol = worker.pytest_runtest_protocol(item(module))
    next(protocol)
    try:
        protocol.send(True)
    except StopIteration:
        return


def test_the_modules_that_are_named_exist() -> None:
    assert [name for name in (*MEASURED, *FIRST) if not (TESTS / name).is_file()] == []


def test_what_boots_comes_after_what_does_not_and_what_measures_is_last() -> None:
    items = [item(name) for name in (MEASURED[0], SYSTEM, "lint/test_phases.py", FIRST[0])]
    order(items)
    assert [each.path.name for each in items] == [
        Path(name).name for name in (FIRST[0], "lint/test_phases.py", SYSTEM, MEASURED[0])
    ]
    assert [phase(each.path) for each in items] == [Phase.HOST, Phase.HOST, Phase.SYSTEMS, Phase.MEASURED]


def test_all_that_measures_is_for_one_worker() -> None:
    assert {group(TESTS / name) for name in MEASURED} == {"measured"}


def test_a_test_that_measures_waits_until_no_other_worker_runs_tests(tmp_path: Path) -> None:
    one, other = (Quiet(tmp_path / "lock") for _ in range(2))
    run(one, SYSTEM)
    run(other, SYSTEM)
    done: list[str] = []

    def measure() -> None:
        for _ in range(2):
            run(one, MEASURED[0])
            done.append("measured")

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    assert not wait_until(lambda: done, 0.5)
    other.end()
    thread.join(PATIENCE)
    one.end()
    assert done == ["measured", "measured"]


def test_a_system_ends_with_its_module_unless_the_next_one_uses_it() -> None:
    route, top, run, watch = (
        item(f"{name}.py") for name in ("qemu/test_route", "qemu/test_top", "qemu/test_run", "sel4/test_watch")
    )
    for each in (route, top):
        each.fixturenames = ("router",)
    assert stands_idle(route, watch) and stands_idle(top, run)
    assert not any(stands_idle(route, later) for later in (route, top, None))


def test_modules_with_their_folders_system_are_one_group_and_others_are_not() -> None:
    shared = {group(TESTS / f"qemu/test_{name}.py") for name in ("route", "top", "switch")}
    others = [group(TESTS / f"qemu/test_{name}.py") for name in ("vsock", "encrypted_disks", "debian_root")]
    assert len(shared) == 1 and len({*shared, *others}) == 1 + len(others)
