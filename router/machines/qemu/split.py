# SPDX-License-Identifier: BSD-2-Clause
"""A split run: each guest in a QEMU of its own, joined by the host's build of the switch.

Everything that a run needs is in one temporary folder (unix sockets have short names) and one log folder; leaving the
context ends every process, closes every socket and removes the temporary folder.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from router import files
from router.control.timeline import Timeline
from router.display import last_line
from router.errors import MachineError
from router.machines.agent import AgentChannel
from router.machines.process import Child
from router.machines.qemu.command import GuestSockets, guest_command
from router.machines.qemu.hotplug import UsbPorts
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.running import Run, RunningGuest, accept, listen
from router.machines.qemu.seeds import with_seeds
from router.machines.qemu.stub import boot_stub
from router.machines.qemu.usb import UsbPlug
from router.pipeline.layout import GuestFiles
from router.plan.models import GuestPlan, SystemPlan
from router.vswitch import PortCounters, SwitchProcess, switch_config

DEAD_VSOCK = re.compile(r"vhost.*(fail|unable|error)|(fail|unable|error).*vhost", re.IGNORECASE)
"""As in "Failed initializing vhost-user memory map, consider using -object memory-backend-file share=on"."""


def rows_of(counters: Mapping[str, PortCounters]) -> dict[str, dict[str, Any]]:
    """Counters as plain values."""
    return {name: asdict(port) for name, port in counters.items()}


def dead_vsock(errors: str) -> str | None:
    """QEMU's line that says that its vhost-user device has failed: QEMU and the guest go on without a word."""
    return next((line for line in errors.splitlines() if DEAD_VSOCK.search(line)), None)


class SplitRun(Run):
    """The running system. boots: what each guest boots from. switch: the host's build of it. more: words for QEMU."""

    mode = "split"

    def __init__(
        self,
        plan: SystemPlan,
        boots: dict[str, GuestFiles],
        qemu: str,
        switch: Path,
        logs: Path,
        timeline: Timeline,
        plugs: tuple[UsbPlug, ...] = (),
        capture: Path | None = None,
        more: Sequence[str] = (),
    ) -> None:
        super().__init__(plan, logs, timeline, plugs)
        self._files = boots
        self._qemu = qemu
        self._program = switch
        self._capture = capture
        self._more = tuple(more)

    def _start(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="router-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if self._capture is not None:
            # The switch writes into the file that is there: only its owner may read what guests send.
            with files.naming(self._capture):
                files.open_private(self._capture).close()
        self.switch = SwitchProcess(self._program, switch_config(self.plan.vswitch), folder, capture=self._capture)
        self._stack.callback(self._stop_switch)
        self.switch.start()
        exporter = next((guest.name for guest in self.plan.guests if guest.passthrough.selected), None)
        for guest in self.plan.guests:
            plugs = self._plugs if guest.name == exporter else None
            self.guests[guest.name] = self._boot(guest, folder, plugs)
        if exporter is not None:
            self.usb = UsbPorts(self.guests[exporter].qmp, self._plugs)

    def switch_counters(self) -> dict[str, dict[str, Any]]:
        """The switch's counters by guest; MachineError when it has ended."""
        return rows_of(self.switch.counters())

    def _stop_switch(self) -> None:
        rows = rows_of(self.switch.stop())
        files.write(self._logs / "vswitch.json", json.dumps(rows, indent=2) + "\n", mode=files.PRIVATE)
        if self.switch.log.exists():
            files.write(self._logs / "vswitch.log", self.switch.log.read_bytes(), mode=files.PRIVATE)

    def _boot(self, guest: GuestPlan, folder: Path, plugs: tuple[UsbPlug, ...] | None) -> RunningGuest:
        booted = self._files[guest.name]
        booted = replace(booted, tree=with_seeds(booted.tree, folder / f"{guest.name}.dtb", 1))
        stub = folder / f"{guest.name}.stub"
        stub.write_bytes(boot_stub(booted.layout.kernel.start, booted.layout.tree.start))
        sockets = GuestSockets(
            net=self.switch.socket(guest.name) if guest.cid is None else self.switch.vsock_socket(guest.name),
            console=folder / f"{guest.name}.console",
            control=folder / f"{guest.name}.control",
            monitor=folder / f"{guest.name}.qmp",
            early=folder / f"{guest.name}.early",
        )
        paths = (sockets.monitor, sockets.early, sockets.console, sockets.control)
        servers = [self._stack.enter_context(listen(path)) for path in paths]
        command = [*guest_command(self._qemu, guest, booted, stub, sockets, plugs), *self._more]
        child = Child(f"QEMU of guest '{guest.name}'", command, self._logs / f"{guest.name}.qemu.log")
        self._stack.callback(child.stop)
        streams = [accept(server, child) for server in servers]
        monitor, early, console, control = (self._stack.enter_context(stream) for stream in streams)
        boot = self._read(guest.name, early, f"{guest.name}.early")
        reader = self._read(guest.name, console, f"{guest.name}.console")
        qmp = Qmp(monitor)
        self._stack.callback(qmp.close)
        agent = AgentChannel(control, guest.name)
        return RunningGuest(plan=guest, child=child, consoles=(boot, reader), agent=agent, qmp=qmp)

    def _check_alive(self) -> None:
        self._show_news()
        if (code := self.switch.ended()) is not None:
            raise MachineError(f"the switch ended with code {code}: {last_line(self.switch.last_words())}")
        for name, guest in self.guests.items():
            if guest.plan.cid is not None and (said := dead_vsock(guest.child.errors())):
                raise MachineError(
                    f"the vsock device of guest '{name}' does not work: {said}",
                    hint=f"QEMU shares the guest's memory with the switch for it: is /dev/shm or memory short? its log:"
                    f" {guest.child.log}",
                )
            if (code := guest.child.ended()) is not None:
                panics = self.timeline.seen(name, "panic")
                why = panics[-1].text if panics else last_line(guest.child.errors()) or f"QEMU ended with code {code}"
                raise MachineError(f"guest '{name}' is gone: {why}", hint=self._last_lines(guest))
