# SPDX-License-Identifier: BSD-2-Clause
"""Which tests belong to which tier: `make check` runs the fast ones, `make test` all but the long ones.

DEVELOPING.md has the table of tiers.
"""

from __future__ import annotations

import enum
import fcntl
import functools
import re
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).resolve().parents[1]
SLOW = (
    *("install", "labgrid", "lint", "sdk", "vmm", "vswitch"),
    *(
        f"deploy/test_{name}.py"
        for name in ("console", "lab_host", "running_board", "scripted_uboot", "several", "tftp")
    ),
    *("boards/test_third_board.py", "description/test_fuzz.py", "fuzz/test_native.py", "guests/test_newer_tools.py"),
    "overview/test_screen.py",
    *("usbip/test_endurance.py", "usbip/test_fuzz.py", "usbip/test_hostile.py", "usbip/test_peers.py"),
    *(
        "usbip/test_trust.py",
        "usbip/test_untrusted_server.py",
        "machines/test_console_pair.py",
        *(
            "checks/test_properties.py",
            "isolation/test_capdl.py",
            "machines/test_multiplexer.py",
            "machines/test_process.py",
        ),
        *("guests/test_agent.py", "guests/test_apt.py"),
    ),
)
"""Folders and modules whose tests compile C, build packages, search inputs, or wait for the timeouts of others."""
FAST = "not (qemu or deploy or sel4 or packages or slow or long)"
"""The marker expression of `make check`."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark the tests of SLOW as slow."""
    for item in items:
        if any(item.path.is_relative_to(TESTS / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)


MEASURED = (
    *(f"sel4/test_{name}.py" for name in ("console", "control", "cores", "counts", "fairness", "guests")),
    *("sel4/test_hostile.py", "sel4/test_hostile_vsock.py"),
    *("qemu/test_device_streams.py", "qemu/test_floods.py", "qemu/test_ghosts.py", "qemu/test_vsock.py"),
    "deploy/test_uboot_qemu.py",
)
"""Modules that boot systems and hold seconds or shares of the processor against limits: these need a quiet computer."""
SHARED = tuple(TESTS / name for name in ("qemu", "sel4"))
"""Folders whose conftest.py has a system for all of their modules."""
FIRST = (
    *(
        "vswitch/test_core_proof.py",
        "vswitch/test_vsock_proof.py",
        "vmm/test_proofs.py",
        "devicetree/test_kernel_trees.py",
        "fuzz/test_native.py",
    ),
    *("qemu/test_encrypted_disks.py", "qemu/test_devices.py", "sel4/test_run.py", "testing/test_real_systems.py"),
    *("sel4/test_watch.py", "guests/test_boot.py", "install/test_installation.py"),
)
"""The longest modules: first in their phase, so that no worker is left with one of them at its end."""


class Phase(enum.IntEnum):
    """The parts of a run, in their order. DEVELOPING.md says how a module comes into one."""

    HOST = 0
    """Boots nothing: in parallel, by module."""
    SYSTEMS = 1
    """Boots systems: in parallel too, by module."""
    MEASURED = 2
    """One worker, while the others have ended or wait."""


@functools.cache
def phase(path: Path) -> Phase:
    """The phase of a module of tests."""
    if any(path == TESTS / name for name in MEASURED):
        return Phase.MEASURED
    by_folder = any(path.is_relative_to(TESTS / name) for name in ("qemu", "sel4"))
    boots = by_folder or re.search(r"\bmark\.(qemu|deploy)\b", path.read_text())
    return Phase.SYSTEMS if boots else Phase.HOST


@functools.cache
def group(path: Path) -> str:
    """The tests that one worker of pytest-xdist runs, one after the other.

    They are those of a module, those of the modules that use their folder's system, so that it boots once, or all that
    measure.
    """
    if phase(path) is Phase.MEASURED:
        return "measured"
    text = path.read_text()
    test = re.compile(r"^def test_\w+\([^)]*\b(router: Router|booted: Booted)\b", re.MULTILINE)
    uses = test.search(text) and "def router_setup(" not in text
    return str(path.parent if path.parent in SHARED and uses else path)


def order(items: list[pytest.Item]) -> None:
    """By phase, and the longest modules of each phase first; else as they are."""
    items.sort(key=lambda item: (phase(item.path), not any(item.path == TESTS / name for name in FIRST)))


def stands_idle(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Whether the system of `item` would run on while a worker does other modules' tests, which do not use it."""
    if nextitem is None or item.path == nextitem.path:
        return False
    return "router" not in getattr(nextitem, "fixturenames", ())


class Clock:
    """A plugin of pytest: at the end of a run, how long each phase took, by the reports of its tests."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._began = time.monotonic()
        self._last: dict[Phase, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._last[phase(self._root / report.location[0])] = time.monotonic()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("phases of this run")
        before = self._began
        for each, end in sorted(self._last.items()):
            minutes, seconds = divmod(round(max(0.0, end - before)), 60)
            terminalreporter.write_line(f"{each.name.lower():<9}{minutes:3d}:{seconds:02d}")
            before = max(before, end)


class Quiet:
    """A plugin of pytest in each worker: it keeps what measures apart from all else in a run.

    Every worker holds a lock with the others, and the one that measures needs it alone. A worker that ends, in whatever
    way, gives it up.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")
        self._alone = False
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def end(self) -> None:
        """What the end of the process does."""
        self._file.close()

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # before pytest-timeout starts its clock
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if not self._alone and phase(item.path) is Phase.MEASURED:
            # Given up first: a worker that waits while it holds it would wait for itself.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._alone = True
        return (yield)


def scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What hands the groups to the workers of pytest-xdist. Its own loadgroup does not see marks with pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(config.rootpath / nodeid.partition("::")[0])

    return Groups(config, log)


def without_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless the marker expression names them."""
    if "long" in config.option.markexpr.replace("not (", "").split():
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
