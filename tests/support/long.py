# SPDX-License-Identifier: BSD-2-Clause
"""`make long`: what takes hours. The result of each step is kept in tests/long.json, and `make test` prints it.

`make long STEPS="fuzzing kernel"` runs these steps only and leaves the other steps' results as they are.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from router.guests.sources import ENVIRONMENT, Source, machine_sources
from tests.support.newer import moved

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests/long.json"
NEXT_SUITE = "trixie"
"""Debian's release after the one whose kernel `make test` runs."""


@dataclass(frozen=True)
class Step:
    """One run of pytest: arguments, environment, and the seconds that it may take."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    limit_s: int


@dataclass(frozen=True)
class Result:
    """What a step gave. `date`: UTC; `commit`: of the tree, with `+` when it had changes."""

    date: str
    commit: str
    seconds: int
    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return f"{counts} in {self.seconds} s, {self.date}, {self.commit}"


STEPS = {
    "cycles": Step(
        (
            *("-m", "long", "--ignore=tests/microkit/test_contents.py", "--ignore=tests/qemu/test_floods.py"),
            *("--ignore=tests/qemu/test_debian_root.py", "--ignore=tests/qemu/test_disk_kills.py"),
            "--ignore=tests/qemu/test_cycles.py",
        ),
        {},
        3600,
    ),
    "fuzzing": Step(("tests/fuzz/test_native.py",), {"ROUTER_FUZZ_SECONDS": "900"}, 8000),
    "hostile": Step(
        ("tests/sel4/test_hostile.py", "tests/sel4/test_hostile_vsock.py", "tests/sel4/test_fairness.py"),
        {"ROUTER_HOSTILE_SECONDS": "120", "ROUTER_FAIRNESS_READS": "30"},
        5400,
    ),
    "kernel": Step(
        ("tests/qemu", "tests/usbip/test_guest.py", "tests/usbip/test_guest_failures.py", "tests/sel4/test_run.py"),
        {"KERNEL": NEXT_SUITE},
        4000,
    ),
    "contents": Step(("-m", "long", "tests/microkit/test_contents.py"), {}, 1200),
    "debian": Step(("tests/qemu/test_debian_root.py", "-m", "long"), {}, 8000),
    "disks": Step(("tests/qemu/test_disk_kills.py", "-m", "long"), {}, 3600),
    "floods": Step(("tests/qemu/test_floods.py", "-m", "long"), {"ROUTER_FLOOD_SECONDS": "600"}, 8000),
    "attach": Step(("tests/qemu/test_cycles.py", "-m", "long"), {"ROUTER_CYCLES": "200"}, 3600),
}


def sources_text(sources: list[Source]) -> str:
    """An apt sources file (deb822 format) for these sources."""
    return "\n".join(each.deb822() for each in sources)


def commit() -> str:
    """The commit that is checked out, abbreviated, with `+` when files differ from it."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def run(step: Step) -> Result:
    """Run a step; failures are in the result, and on the terminal."""
    with tempfile.TemporaryDirectory(prefix="router-long-") as scratch:
        environment = {**os.environ, **step.environment}
        if "KERNEL" in step.environment:
            file = Path(scratch) / "next.sources"
            file.write_text(sources_text(moved(machine_sources(), (step.environment["KERNEL"],))))
            environment[ENVIRONMENT] = str(file)
        report = Path(scratch) / "report.xml"
        tested = commit()
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *step.arguments]
        start = time.monotonic()
        try:
            subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=step.limit_s)
        except subprocess.TimeoutExpired:
            print(f"given up after {step.limit_s} s", file=sys.stderr)
        seconds = round(time.monotonic() - start)
        passed, failed, skipped = counts(report.read_text()) if report.is_file() else (0, 1, 0)
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    return Result(today, tested, seconds, passed, failed, skipped)


def counts(report: str) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of a JUnit report; errors count as failures."""
    suite = ElementTree.fromstring(report).find("testsuite")
    assert suite is not None
    tests, failures, errors, skipped = (
        int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
    )
    return tests - failures - errors - skipped, failures + errors, skipped


def read() -> dict[str, Result]:
    """The last result of each step that has been run."""
    if not RESULTS.is_file():
        return {}
    return {name: Result(**fields) for name, fields in json.loads(RESULTS.read_text()).items()}


def record(name: str, result: Result) -> None:
    """Keep a step's result. Other steps may run at the same time: what they have written meanwhile stays."""
    with RESULTS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = {**read(), name: result}
        text = json.dumps({key: asdict(value) for key, value in sorted(results.items())}, indent=2)
        aside = RESULTS.with_suffix(".new")
        aside.write_text(text + "\n")
        aside.replace(RESULTS)


def lines() -> list[str]:
    """The last result of each step, a line each."""
    results = read()
    return [f"{name:<8} {results.get(name, 'never run')}" for name in STEPS]


def main(names: list[str]) -> int:
    """Run the steps of these names, all without any; 1 when one failed."""
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"unknown step {unknown[0]!r}: choose from {', '.join(STEPS)}", file=sys.stderr)
        return 2
    failed = False
    for name in names or list(STEPS):
        result = run(STEPS[name])
        record(name, result)
        print(f"{name}: {result}", flush=True)
        failed = failed or result.failed > 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
