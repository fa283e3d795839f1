# SPDX-License-Identifier: BSD-2-Clause
"""A stage of a system in QEMU, watched like a deployment to a board: the same image, milestones and advice."""

from __future__ import annotations

import contextlib
import dataclasses
import select
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from router import files
from router.deploy.boot import Watcher
from router.deploy.events import Reporter
from router.deploy.plan import DeployPlan
from router.display import last_line
from router.errors import MachineError
from router.machines.process import Child
from router.machines.qemu.firmware import firmware
from router.machines.qemu.microkit import SystemSockets, check_version, emulated, system_command
from router.machines.qemu.running import accept, listen
from router.machines.qemu.seeds import with_seeds
from router.machines.qemu.tool import find_qemu, sandbox
from router.plan.models import SystemPlan

MAX_READ = 1 << 16


class SocketWire:
    """QEMU's serial line on a socket, kept in a log as it comes. MachineError when QEMU has ended."""

    def __init__(self, stream: socket.socket, child: Child, log: files.Log) -> None:
        self._stream, self._child, self._log = stream, child, log

    def read(self, seconds: float) -> bytes:
        """What has come in; waits at most `seconds` for the first byte."""
        if not select.select([self._stream], [], [], seconds)[0]:
            return b""
        try:
            data = self._stream.recv(MAX_READ)
        except OSError:  # a QEMU that was killed may leave a reset instead of an end
            data = b""
        if not data:
            raise MachineError(
                f"{self._child.name} has ended: {last_line(self._child.errors()) or 'it printed nothing'}"
            )
        self._log.write(data)
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        with contextlib.suppress(OSError):  # the next read says that it has ended
            self._stream.sendall(data)


@contextlib.contextmanager
def machine(plan: SystemPlan, image: Path, logs: Path) -> Iterator[SocketWire]:
    """QEMU's model of the board with the image started, as by U-Boot; no USB device is plugged in."""
    qemu = find_qemu()
    check_version(plan, qemu)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="router-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sockets = SystemSockets(folder / "serial", folder / "qmp", folder / "firmware")
        if emulated(plan).firmware is not None:
            sockets.firmware.write_bytes(firmware(plan.board.gic, plan.board.loader))
        line, monitor = (stack.enter_context(listen(path)) for path in (sockets.serial, sockets.monitor))
        seeded = with_seeds(image, folder / "image", len(plan.guests))
        command = system_command(qemu.path, plan, seeded, sockets, None, sandbox(qemu.path))
        child = Child(f"QEMU of '{plan.name}'", command, logs / "qemu.log")
        stack.callback(child.stop)
        stream = stack.enter_context(accept(line, child))
        stack.enter_context(accept(monitor, child))
        log = stack.enter_context(files.Log(logs / "console.log"))
        yield SocketWire(stream, child, log)


def run_stage(plan: SystemPlan, deployment: DeployPlan, image: Path, logs: Path, reporter: Reporter) -> None:
    """Start a stage and follow it until all of its milestones were seen; MachineError when one was not.

    deployment: the stage's plan for a board, whose milestones and times count here as well.
    """
    with machine(plan, image, logs) as wire, reporter.step("boot") as said:
        seen = Watcher(deployment, reporter).follow(wire)
        said.append(f"{len(seen)} milestones")


def patient(deployment: DeployPlan, seconds: float | None) -> DeployPlan:
    """The plan with another time for the boot, of which a quarter may pass in silence; None: as it is."""
    if seconds is None:
        return deployment
    return dataclasses.replace(
        deployment, boot_seconds=seconds, quiet_seconds=max(deployment.quiet_seconds, seconds / 4)
    )
