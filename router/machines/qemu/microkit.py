"""A Microkit run: seL4 with all guests in one QEMU, their consoles on its one serial line."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from router.boards.model import EmulatedBoard
from router.errors import HostError, MachineError
from router.guests.agent import AgentChannel
from router.machines.process import Child
from router.machines.qemu import usb
from router.machines.qemu.firmware import firmware
from router.machines.qemu.hotplug import UsbSockets
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.running import Run, RunningGuest, accept, listen
from router.machines.qemu.tool import Qemu
from router.machines.serial_line import SerialLine
from router.machines.timeline import Timeline
from router.plan.models import SystemPlan

SYSTEM = "seL4"
"""Who speaks in lines that are no guest's: the loader, the kernel, Microkit's monitor."""
STAGES = (
    ("loader", r"LDR\|INFO: +loader for seL4 starting", "the loader runs"),
    ("kernel", r"Bootstrapping kernel", "the kernel starts"),
    ("monitor", r"MON\|INFO: Microkit Monitor started", "the protection domains start"),
)
"""Name, pattern and text of what debug configurations say before the first guest speaks."""
FAILURES = re.compile(
    r"(LDR|MON)\|ERROR|seL4 (failed assertion|called fail)|KERNEL (DATA|PREFETCH) ABORT|Caught cap fault|halting\.\.\."
)
"""What the loader, the kernel and the monitor say in debug configurations when something of ours is wrong."""
REST_OF_FAULT = 0.5
"""Seconds in which a fault's further lines come."""


def control(guest: str) -> str:
    """The name of a guest's control channel on the serial line."""
    return f"{guest}.control"


def ports(plan: SystemPlan) -> list[str]:
    """The serial line's ports in the multiplexer's order: each guest's console, then its control channel."""
    return [name for guest in plan.guests for name in (guest.name, control(guest.name))]


@dataclass(frozen=True)
class Sockets:
    """Unix sockets that QEMU connects to, and the file with what stands in for the board's firmware."""

    serial: Path
    monitor: Path
    firmware: Path


def system_command(
    qemu: str, plan: SystemPlan, image: Path, sockets: Sockets, plugs: tuple[usb.UsbPlug, ...] | None = None
) -> list[str]:
    """The words that start the system on QEMU's model of the board.

    plugs: the devices on its USB controller; None: it has none beside the board's own.
    """
    model = emulated(plan)
    cores = str(plan.board.cores) if plan.config.startswith("smp-") else "1"
    out = [
        *(qemu, "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-name", plan.name),
        *("-machine", model.machine, "-cpu", model.cpu, "-m", f"{model.memory >> 20}M", "-smp", cores),
        *("-chardev", f"socket,id=line,path={usb.escape(sockets.serial)},server=off", "-serial", "chardev:line"),
        *("-chardev", f"socket,id=qmp,path={usb.escape(sockets.monitor)},server=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-device", f"loader,file={usb.escape(image)},addr={plan.board.loader:#x},force-raw=on"),
    ]
    start = plan.board.loader
    if model.firmware is not None:
        start = model.firmware.start
        out += ["-device", f"loader,file={usb.escape(sockets.firmware)},addr={start:#x},force-raw=on"]
    out += ["-device", f"loader,addr={start:#x},cpu-num=0"]
    return out + (usb.arguments(plugs) if plugs is not None else [])


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
    if qemu.version[:2] < model.oldest:
        machine, oldest = model.machine.split(",")[0], ".".join(map(str, model.oldest))
        raise HostError(
            f"QEMU {'.'.join(map(str, qemu.version))} cannot run the image of the board '{plan.board.name}':"
            f" it takes the machine {machine} of QEMU {oldest} or newer",
            hint="Debian 12 has QEMU 7.2, Debian 13 has 10.0; put a newer one first on PATH or let ROUTER_QEMU name it",
            where=qemu.path,
        )


class MicrokitRun(Run):
    """The running system. `image`: its `loader.img`."""

    how = "microkit"

    def __init__(
        self,
        plan: SystemPlan,
        image: Path,
        qemu: Qemu,
        logs: Path,
        timeline: Timeline,
        plugs: tuple[usb.UsbPlug, ...] = (),
    ) -> None:
        super().__init__(plan, logs, timeline, plugs)
        check_version(plan, qemu)
        self._image = image
        self._qemu = qemu.path
        self._fault: list[str] = []
        self._fault_seen = 0.0

    def _start(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="router-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        sockets = Sockets(folder / "serial", folder / "qmp", folder / "firmware")
        if emulated(self.plan).firmware is not None:
            sockets.firmware.write_bytes(firmware(self.plan.board.gic, self.plan.board.loader))
        servers = [self._stack.enter_context(listen(path)) for path in (sockets.serial, sockets.monitor)]
        # QEMU's virt machine has the PCIe bridge that an emulated controller needs; other models may not.
        owned = any(guest.passthrough.selected for guest in self.plan.guests)
        plugs = self._plugs if self._plugs or (owned and emulated(self.plan).same_hardware) else None
        command = system_command(self._qemu, self.plan, self._image, sockets, plugs)
        self._child = Child(f"QEMU of '{self.plan.name}'", command, self._logs / "qemu.log")
        self._stack.callback(self._child.stop)
        line, machine = (self._stack.enter_context(accept(server, self._child)) for server in servers)
        first = self.plan.guests[0].name
        self._line = SerialLine(line, ports(self.plan), control(first), self._logs / "serial.log")
        self._line.start()
        self._stack.callback(self._line.close)
        qmp = self._monitor(machine)
        self._stack.callback(qmp.close)
        self.usb = UsbSockets(qmp, plugs) if plugs is not None else None
        self._read(SYSTEM, self._line.port(None), "system")
        for guest in self.plan.guests:
            console = self._read(guest.name, self._line.port(guest.name), f"{guest.name}.console")
            agent = AgentChannel(self._line.port(control(guest.name)), guest.name)
            self.guests[guest.name] = RunningGuest(guest, self._child, (console,), agent, qmp)

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

    def give_keyboard(self, guest: str) -> None:
        self._line.give_keyboard(guest)

    def _other_line(self, source: str, line: str) -> None:
        for name, pattern, text in STAGES:
            if re.search(pattern, line) and not self.timeline.seen(SYSTEM, name):
                self.timeline.add(SYSTEM, name, "", text)
        if self._fault or FAILURES.search(line):
            self._fault_seen = self._fault_seen or time.monotonic()
            self._fault.append(line)

    def _check_alive(self) -> None:
        if (code := self._child.ended()) is not None:
            why = self._child.errors() or f"QEMU ended with code {code}"
            raise MachineError(f"the machine is gone: {why}", hint=f"logs: {self._logs}")
        if self._fault and time.monotonic() > self._fault_seen + REST_OF_FAULT:
            shown = "\n".join(f"    {line}" for line in self._fault[:16])
            raise MachineError(
                f"a protection domain or the kernel has failed: {self._fault[0].strip()}",
                hint=f"it said:\n{shown}\n  logs: {self._logs}",
            )
