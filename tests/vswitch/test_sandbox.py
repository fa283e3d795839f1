# SPDX-License-Identifier: BSD-2-Clause
"""The host switch's program is hardened, and what it may do once it serves is limited.

The attempts are made by tests/vswitch/c/sandbox_probe.c, behind the same sandbox_enter() as the switch calls. That the
switch works in its sandbox is shown by every other test that starts it.
"""

from __future__ import annotations

import errno
import signal
import subprocess
from pathlib import Path

import pytest

from router.vswitch.process import SwitchProcess
from tests.support.skips import need
from tests.vswitch.cc import HOST, PROGRAMS, compile_c
from tests.vswitch.frames import CONFIG

NO_LANDLOCK = "no Landlock"
NO_SECCOMP = "no seccomp"


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that makes the attempts, built without a sanitizer."""
    units = [PROGRAMS / "sandbox_probe.c", HOST / "sandbox.c"]
    return compile_c(tmp_path_factory.mktemp("probe") / "probe", units, "-O2")


class Sandboxed:
    """A folder with places that the sandbox allows and places that it does not."""

    def __init__(self, probe: Path, folder: Path) -> None:
        self.probe = probe
        self.sockets = folder / "sockets"
        self.counters = folder / "counters" / "counters.json"
        self.elsewhere = folder / "elsewhere"
        for place in (self.sockets, self.counters.parent, self.elsewhere):
            place.mkdir()
            (place / "file").write_text("here before")

    def attempt(self, what: str, path: Path = Path("-")) -> subprocess.CompletedProcess[str]:
        command = [str(each) for each in (self.probe, self.counters, self.sockets, what, path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def sandboxed(probe: Path, tmp_path: Path) -> Sandboxed:
    return Sandboxed(probe, tmp_path)


def test_a_process_in_the_sandbox_goes_on(sandboxed: Sandboxed) -> None:
    run = sandboxed.attempt("nothing")
    assert run.returncode == 0, run.stderr
    # What the kernel lacks is said once.
    assert run.stderr.count(NO_LANDLOCK) <= 1
    assert len(run.stderr.splitlines()) == run.stderr.count(NO_LANDLOCK) + run.stderr.count(NO_SECCOMP)


@pytest.mark.parametrize("what", ["socket", "execute", "fork", "trace", "kill", "code"])
def test_a_system_call_that_the_switch_never_makes_kills_it(sandboxed: Sandboxed, what: str) -> None:
    run = sandboxed.attempt(what)
    if NO_SECCOMP in run.stderr:
        pytest.skip("this kernel has no seccomp")
    assert run.returncode == -signal.SIGSYS, run


def test_it_cannot_take_more_memory_than_it_needs(sandboxed: Sandboxed) -> None:
    assert sandboxed.attempt("memory").returncode == 3


def test_it_writes_its_counters_and_removes_its_sockets_and_touches_no_other_file(sandboxed: Sandboxed) -> None:
    if NO_LANDLOCK in sandboxed.attempt("nothing").stderr:
        pytest.skip("this kernel has no Landlock")
    assert sandboxed.attempt("write", sandboxed.counters).returncode == 0
    assert sandboxed.attempt("remove", sandboxed.sockets / "file").returncode == 0
    for what, path in (
        ("read", sandboxed.elsewhere / "file"),
        ("read", sandboxed.counters.parent / "file"),
        ("read", Path("/etc/passwd")),
        ("write", sandboxed.elsewhere / "file"),
        ("write", sandboxed.elsewhere / "new"),
        ("write", sandboxed.sockets / "new"),
        ("remove", sandboxed.elsewhere / "file"),
    ):
        assert sandboxed.attempt(what, path).returncode == errno.EACCES, (what, path)
    assert (sandboxed.elsewhere / "file").read_text() == "here before"


def test_the_switch_serves_in_its_sandbox(host_program: Path, tmp_path: Path) -> None:
    with SwitchProcess(host_program, CONFIG, tmp_path) as switch:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{switch.pid}/status").read_text().splitlines())
        limits = Path(f"/proc/{switch.pid}/limits").read_text()
        said = switch.log.read_text()
        assert set(switch.counters()) == {"server", "client", "other", "lonely"}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2" or NO_SECCOMP in said
    assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max open files")] == [
        ["256", "256"]
    ]
    assert not list(tmp_path.glob("*.sock")), "it may remove its sockets"


def sections(program: Path, *words: str) -> str:
    run = subprocess.run([need("readelf"), *words, program], capture_output=True, text=True, check=True)
    return run.stdout


def test_the_switch_is_built_hardened(host_program: Path) -> None:
    """Position-independent, relocations read-only from the start, no executable stack, checked stack and buffers."""
    header = sections(host_program, "-h")
    dynamic = sections(host_program, "-d")
    segments = sections(host_program, "-lW")
    symbols = sections(host_program, "--dyn-syms", "-W")
    assert "DYN (Position-Independent Executable file)" in header or "DYN (Shared object file)" in header
    assert "PIE" in dynamic
    assert "BIND_NOW" in dynamic
    assert "GNU_RELRO" in segments
    assert [line.split()[-2] for line in segments.splitlines() if "GNU_STACK" in line] == ["RW"]
    assert not [line for line in segments.splitlines() if " RWE " in line]
    assert "__stack_chk_fail" in symbols
    assert "_chk@" in symbols.replace("__stack_chk_fail@", "")
