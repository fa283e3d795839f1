# SPDX-License-Identifier: BSD-2-Clause
"""A Microkit run: seL4 with all guests in one QEMU, their consoles on its one serial line."""

from __future__ import annotations

import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.boards.model import EmulatedBoard
from router.control.timeline import Timeline
from router.display import last_line
from router.errors import HostError, MachineError
from router.machines.process import Child
from router.machines.qemu import usb
from router.machines.qemu.firmware import firmware
from router.machines.qemu.hotplug import UsbPorts
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.running import Run, RunningGuest, accept, listen, quoted
from router.machines.qemu.seeds import with_seeds
from router.machines.qemu.tool import Qemu
from router.plan.models import SystemPlan


@dataclass(frozen=True)
class SystemSockets:
    """Unix sockets that QEMU connects to, and the file with what stands in for the board's firmware."""

    serial: Path
    monitor: Path
    firmware: Path


def system_command(
    qemu: str,
    plan: SystemPlan,
    image: Path,
    sockets: SystemSockets,
    plugs: tuple[usb.UsbPlug, ...] | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """The words that start the system on QEMU's model of the board.

    plugs: the devices on its USB controllers; None: no USB at all, not even sockets. more: further words.
    """
    model = emulated(plan)
    cores = str(plan.board.cores) if plan.config.startswith("smp-") else "1"
    out = [
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-name", plan.name),
        *("-machine", model.machine, "-cpu", model.cpu, "-m", f"{model.memory >> 20}M", "-smp", cores),
        *("-chardev", f"socket,id=line,path={usb.escape(sockets.serial)},server=off"),
        *(("-serial", "none") * model.serial),
        *("-serial", "chardev:line"),
        *("-chardev", f"socket,id=qmp,path={usb.escape(sockets.monitor)},server=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-device", f"loader,file={usb.escape(image)},addr={plan.board.loader:#x},force-raw=on"),
    ]
    start = plan.board.loader
    if model.firmware is not None:
        start = model.firmware.start
        out += ["-device", f"loader,file={usb.escape(sockets.firmware)},addr={start:#x},force-raw=on"]
    out += ["-device", f"loader,addr={start:#x},cpu-num=0"]
    return [*out, *more, *(usb.arguments(plugs, usb.owned_buses(plan)) if plugs is not None else [])]


def emulated(plan: SystemPlan) -> EmulatedBoard:
    """QEMU's model of the board; HostError when it has none."""
    if plan.board.emulated is None:
        raise HostError(
            f"QEMU has no model of the board '{plan.board.name}'",
            hint="router run qemu.yaml runs the same software on the board 'qemu'",
        )
    return plan.board.emulated


def check_version(plan: SystemPlan, qemu: Qemu) -> None:
    """HostError when this QEMU's model of the board cannot run the system."""
    model = emulated(plan)
    if model.firmware is not None and plan.config.startswith("smp-"):
        raise HostError(
            f"in QEMU, what stands in for the firmware of the board '{plan.board.name}' starts no other core, and"
            f" '{plan.config}' is for several",
            hint=f"write 'config: {plan.config.removeprefix('smp-')}' for this run; qemu.yaml runs on several cores",
        )
    if qemu.version[:2] < model.oldest:
        machine, oldest = model.machine.split(",")[0], ".".join(map(str, model.oldest))
        raise HostError(
            f"QEMU {'.'.join(map(str, qemu.version))} cannot run the image of the board '{plan.board.name}':"
            f" it takes the machine {machine} of QEMU {oldest} or newer",
            hint="Debian 12 has QEMU 7.2, Debian 13 has 10.0; put a newer one first on PATH or let ROUTER_QEMU name it",
            where=qemu.path,
        )


class MicrokitRun(Run):
    """The running system.

    image: its `loader.img`. more: further words for QEMU. seeds: the guests get fresh randomness; without it each start
    is like the other, for counts of instructions.
    """

    mode = "microkit"

    def __init__(
        self,
        plan: SystemPlan,
        image: Path,
        qemu: Qemu,
        logs: Path,
        timeline: Timeline,
        plugs: tuple[usb.UsbPlug, ...] = (),
        more: Sequence[str] = (),
        *,
        seeds: bool = True,
    ) -> None:
        super().__init__(plan, logs, timeline, plugs)
        check_version(plan, qemu)
        self._more = tuple(more)
        self._image = image
        self._seeds = seeds
        self._qemu = qemu.path

    def _start(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="router-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sockets = SystemSockets(folder / "serial", folder / "qmp", folder / "firmware")
        if emulated(self.plan).firmware is not None:
            sockets.firmware.write_bytes(firmware(self.plan.board.gic, self.plan.board.loader))
        servers = [self._stack.enter_context(listen(path)) for path in (sockets.serial, sockets.monitor)]
        # A machine without USB controllers of its own has the PCIe bridge that an emulated one needs.
        buses = usb.owned_buses(self.plan)
        on_pci = not emulated(self.plan).usb_buses
        owned = any(guest.passthrough.selected for guest in self.plan.guests)
        plugs = self._plugs if self._plugs or buses or (owned and on_pci) else None
        image = self._image
        if self._seeds:
            image = with_seeds(image, folder / "image", len(self.plan.guests))
        command = system_command(self._qemu, self.plan, image, sockets, plugs, self._more)
        self._child = Child(f"QEMU of '{self.plan.name}'", command, self._logs / "qemu.log")
        self._stack.callback(self._child.stop)
        line, machine = (self._stack.enter_context(accept(server, self._child)) for server in servers)
        self._share(line, self.facts.names)
        qmp = self._monitor(machine)
        self._stack.callback(qmp.close)
        self.usb = UsbPorts(qmp, plugs, buses) if plugs is not None else None
        for guest in self.plan.guests:
            console, agent = self._on_line(guest.name)
            self.guests[guest.name] = RunningGuest(
                plan=guest, child=self._child, consoles=(console,), agent=agent, qmp=qmp
            )

    def _monitor(self, machine: socket.socket) -> Qmp:
        """QEMU's monitor; when QEMU ends before it answers, the error says why it ended."""
        try:
            return Qmp(machine)
        except MachineError:
            end = time.monotonic() + 1.0
            while self._child.ended() is None and time.monotonic() < end:
                time.sleep(0.01)
            self._check_alive()
            raise

    @property
    def pid(self) -> int:
        """QEMU's process."""
        return self._child.pid

    def _check_alive(self) -> None:
        self._show_news()
        if (code := self._child.ended()) is not None:
            said = self._child.errors()
            why = last_line(said) or f"QEMU ended with code {code}"
            raise MachineError(f"the machine is gone: {why}", hint=f"{quoted('QEMU', said)}logs: {self._logs}")
        self._check_fault()
