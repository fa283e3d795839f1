# SPDX-License-Identifier: BSD-2-Clause
"""The same tests about a real system in both modes of QEMU, and what a killed pytest leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.control.place import Claim, running
from router.starter import write_project
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, processes_in
from tests.support.patience import PATIENCE, wait_until

pytestmark = [pytest.mark.packages, pytest.mark.timeout(4 * BOOT)]

TESTS = """
import os, time
from pathlib import Path
import pytest
from router.testing import GuestFailure, Router

def test_keyboard(router: Router) -> None:
    keyboard = router.plug("keyboard")
    client = router.guest("client")
    assert client.wait_for_device("0627:0001", 300).name == "QEMU QEMU USB Keyboard"
    router.unplug(keyboard)
    client.wait_for_no_device("usb keyboard", 300)

def test_disk(router: Router) -> None:
    disk = router.plug_disk()
    client = router.guest("client")
    client.wait_for("true </dev/sda", 300)
    assert [each.size for each in client.disks()] == [4 << 20]
    assert client.sha256("/dev/sda") == disk.sha256()
    client.run("yes | head -c 65536 | dd of=/dev/sda conv=fsync 2>/dev/null")
    assert disk.image.read_bytes()[:65536] == b"y\\n" * 32768

def test_files_and_console(router: Router, tmp_path: Path) -> None:
    client, data = router.guest("client"), os.urandom(30000)
    (tmp_path / "data").write_bytes(data)
    client.copy(tmp_path / "data", "/tmp/a name")
    assert client.fetch("/tmp/a name", tmp_path / "again").read_bytes() == data
    with client.console() as console:
        console.send("echo $((6 * 7)) is it\\n")
        console.expect("^42 is it", 300)

def test_what_is_missing_is_explained(router: Router) -> None:
    with pytest.raises(GuestFailure, match="no USB device '1234:5678' within 1 s: no server has it"):
        router.guest("client").wait_for_device("1234:5678", 1)

@pytest.mark.router_needs("freeze", "counters")
def test_freeze(router: Router) -> None:
    before = router.counters()["client"].rx_frames
    with router.freeze("client"):
        router.guest("server").run("true")
    router.guest("client").run("true")
    assert router.counters()["client"].rx_frames >= before > 0

@pytest.mark.router_needs("restart_guest")
def test_restart(router: Router) -> None:
    router.guest("client").restart(600)
"""
FIRST = (
    "every_guest_is_up",
    "a_keyboard_that_is_plugged_in_reaches_the_client",
    "the_client_reads_the_disk_that_is_in_the_server",
)
"""The tests that `router init` writes."""
DEADLY = """
def test_panic(router):
    router.guest("client").run("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    time.sleep(20)

def test_after_it(router):
    assert router.guest("client").run("hostname").stdout == "client\\n"

def test_hang(router):
    Path("hangs").write_text(router.name)
    time.sleep(3600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an inner run, a new project; temporary files and control sockets are in a folder of their own."""
    write_project(tmp_path)
    with tempfile.TemporaryDirectory(prefix="run") as folder:
        for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
            monkeypatch.setenv(name, folder)
        yield tmp_path


def inner(*words: str) -> list[str]:
    """The command line of an inner run."""
    wait = ("--router-boot-timeout", f"{BOOT:g}")
    return [sys.executable, "-m", "pytest", "-v", "-rs", "--router", "system.yaml", *wait, *words]


def verdicts(output: str) -> dict[str, str]:
    """Test name → PASSED, FAILED, SKIPPED, of the lines that have come so far."""
    rows = (line.split() for line in output.splitlines() if line.startswith("test_"))
    return {row[0].partition("::")[2]: row[1] for row in rows if len(row) > 1}


@pytest.mark.qemu
def test_a_split_system_is_tested_survives_a_panic_and_a_killed_pytest_leaves_nothing(place: Path) -> None:
    if shutil.which("qemu-system-aarch64") is None:
        pytest.skip("qemu-system-aarch64 is not installed")
    (place / "test_it.py").write_text(TESTS + DEADLY)
    log = place / "output"
    with log.open("w") as output:
        kept = ("--router-logs", "kept", "--router-capture")
        words = ("--router-on", "split", *kept, "test_system.py", "test_it.py")
        run = subprocess.Popen(inner(*words), cwd=place, stdout=output, stderr=output)
    try:
        assert wait_until(lambda: (place / "hangs").exists() or run.poll() is not None, 3 * BOOT), log.read_text()
        assert run.poll() is None, log.read_text()
        assert len(processes_in(place)) > 2
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait(PATIENCE)
    assert wait_until(lambda: processes_in(place) == [])
    assert running() == []
    with Claim((place / "hangs").read_text()):
        pass
    good = ("keyboard", "disk", "files_and_console", "what_is_missing_is_explained", "freeze", "restart", "after_it")
    wanted = {**{f"test_{name}": "PASSED" for name in good}, "test_panic": "FAILED"}
    wanted |= {f"test_{name}": "PASSED" for name in FIRST}
    assert verdicts(log.read_text()) == wanted, log.read_text()
    # What is kept of the failed test, in a folder of the worker if there is one: two consoles, the time line, and what
    # crossed the switch (pcapng's first block).
    (capture,) = (place / "kept").rglob("*test_panic*/switch.pcapng")
    assert capture.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a" and capture.stat().st_size > 10_000
    files = {path.name for path in capture.parent.iterdir()}
    assert {"client.console.log", "server.console.log", "timeline.json"} <= files


@pytest.mark.sel4
def test_the_same_tests_are_about_a_system_on_sel4(place: Path) -> None:
    need_sdk()
    need_qemu()
    (place / "test_it.py").write_text(TESTS)
    few = "keyboard or restart or freeze"  # a guest on seL4 in QEMU takes its time for each
    command = inner("--router-on", "microkit", "test_it.py", "--junitxml", "report.xml", "-k", few)
    run = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=3 * BOOT, check=False)
    assert run.returncode == 0, run.stdout
    seen = verdicts(run.stdout)
    assert seen.pop("test_freeze") == "SKIPPED"
    assert seen == {"test_keyboard": "PASSED", "test_restart": "PASSED"}, run.stdout
    assert 'name="router.boot.client.userspace"' in (place / "report.xml").read_text()
    assert processes_in(place) == [] and running() == []
