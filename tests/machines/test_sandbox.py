# SPDX-License-Identifier: BSD-2-Clause
"""QEMU runs with no more rights and devices than it needs, and what it complains about is shown."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.microkit import MicrokitRun, SystemSockets, system_command
from router.machines.qemu.session import sandboxed
from router.machines.qemu.tool import SANDBOX, Qemu, find_qemu, sandbox
from tests.support.systems import plan_of, shipped


def program(folder: Path, script: str) -> Qemu:
    """A QEMU that is a shell script."""
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Qemu(str(path), (11, 1, 3))


@pytest.mark.skipif(shutil.which("qemu-system-aarch64") is None, reason="qemu-system-aarch64 is not installed")
def test_an_installed_qemu_takes_its_sandbox(capsys: pytest.CaptureFixture[str]) -> None:
    words = sandboxed(find_qemu())
    assert words == SANDBOX or "runs without its sandbox" in capsys.readouterr().err
    for denied in ("obsolete", "elevateprivileges", "spawn", "resourcecontrol"):
        assert f"{denied}=deny" in SANDBOX[1]


def test_a_qemu_without_a_sandbox_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qemu = program(tmp_path, 'case "$*" in *-sandbox*) echo "seccomp support is disabled" >&2; exit 1;; esac')
    assert sandbox(qemu.path) == sandboxed(qemu) == ()
    assert f"note: {qemu.path} runs without its sandbox" in capsys.readouterr().err


def test_a_machine_has_no_default_devices_and_reads_no_configuration_of_the_user() -> None:
    words = system_command(
        "qemu", plan_of(shipped("qemu")), Path("img"), SystemSockets(Path("s"), Path("m"), Path("f"))
    )
    assert {"-nodefaults", "-no-user-config"} <= set(words)
    assert words[words.index("-nic") + 1] == "none"
    assert not [word for word in words if word.startswith(("usb-", "virtio-", "nec-usb", "qemu-xhci"))]


def test_what_qemu_printed_is_in_the_error_when_it_does_not_start(tmp_path: Path) -> None:
    qemu = program(tmp_path, "echo 'cannot set up guest memory' >&2; echo 'giving \033[2J up' >&2; exit 1")
    run = MicrokitRun(plan_of(shipped("qemu")), tmp_path / "img", qemu, tmp_path / "logs", Timeline(), seeds=False)
    with pytest.raises(MachineError, match="did not start: giving") as caught, run:
        pass
    assert "    cannot set up guest memory\n" in str(caught.value)
    assert "\033" not in str(caught.value)


def test_what_qemu_prints_while_it_runs_is_an_event(tmp_path: Path) -> None:
    from tests.support import fake_qemu

    command = f'echo "virtio: zero sized buffers are not allowed" >&2; exec {sys.executable} {fake_qemu.__file__} "$@"'
    qemu = program(tmp_path, f"export FAKE_QEMU_LINES={tmp_path}/lines\n{command}")
    (tmp_path / "lines").write_text("server| [    0.000000] Linux version 6.1.0 (builder)\n")
    timeline = Timeline()
    plan, logs = plan_of(shipped("qemu")), tmp_path / "logs"
    with MicrokitRun(plan, tmp_path / "img", qemu, logs, timeline, seeds=False) as system:
        while not timeline.seen("QEMU", "qemu"):
            system.poll(0.1)
    (event,) = timeline.seen("QEMU", "qemu")
    assert event.text == "QEMU: virtio: zero sized buffers are not allowed"
