# SPDX-License-Identifier: BSD-2-Clause
"""A system in QEMU for tests. It is this process's child, so it ends with it, however that ends."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from router import files
from router.control.client import Connection
from router.control.place import Claim, own_name, sweep
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.command import may_reboot
from router.machines.qemu.mode import check_mode
from router.machines.qemu.running import Run, RunningGuest
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.split import SplitRun
from router.machines.qemu.usb import plugs_of
from router.pipeline.build import Built, build
from router.pipeline.inputs import Planned
from router.testing.setup import MICROKIT, SPLIT, Setup
from router.vswitch.process import PortCounters, counters_of

CAPTURE = "switch.pcapng"


def make(planned: Planned, mode: str, folder: Path) -> Built:
    """Build what the mode needs. Several processes (workers of pytest-xdist, say) may ask for the same folder."""
    files.output_folder(folder)
    with files.locked(folder.parent / f".{folder.name}.lock"):
        return build(planned, folder, files.cache_folder(), lambda _: None, loader_image=mode == MICROKIT)


class QemuMachine:
    """The running system. setup: what was asked for; logs: a folder of its own for consoles and the capture."""

    def __init__(self, setup: Setup, planned: Planned, mode: str, logs: Path) -> None:
        """Build and boot. A RouterError when it does not come up, and then nothing of it is left."""
        check_mode(mode, planned)
        model = planned.board.emulated
        plugs = plugs_of(setup.usb, planned.plan)
        other = model is not None and not model.same_hardware
        folder = setup.build or Path("build") / (planned.plan.name + ("-emulated" if other else ""))
        built = make(planned, mode, folder.absolute())
        timeline = Timeline()
        timeline.mute()
        self.mode = mode
        self.logs = logs
        self.name = own_name(planned.plan.name)
        self._capture = logs / CAPTURE if setup.capture and mode == SPLIT else None
        if mode == MICROKIT:
            self.system: Run = microkit_run(built, plugs, logs, timeline, setup.qemu)
        else:
            logs.mkdir(parents=True, exist_ok=True)
            self.system = split_run(built, plugs, logs, timeline, self._capture, setup.qemu)
        self.guests = self.system.facts.names
        self._stack = ExitStack()
        try:
            sweep()
            claim = self._stack.enter_context(Claim(self.name))
            self._stack.enter_context(self.system)
            self._stack.enter_context(ControlServer(claim, self.system, mode))
            self.system.wait_ready(setup.boot_timeout)
        except BaseException:
            self._stack.close()
            raise
        self.boot = first_times(timeline)

    @property
    def attachments(self) -> tuple[Path, ...]:
        return (*self.system.log_files(), *([self._capture] if self._capture else ()))

    def connect(self) -> Connection:
        return Connection(self.name)

    def check(self) -> None:
        self.system.check()

    def freeze(self, guest: str) -> None:
        self._own_machine(guest).qmp.execute("stop")

    def thaw(self, guest: str) -> None:
        self._own_machine(guest).qmp.execute("cont")

    def _own_machine(self, guest: str) -> RunningGuest:
        if not isinstance(self.system, SplitRun):
            raise MachineError("all guests are in one QEMU, which stops as a whole", where=guest)
        return self.system.guests[guest]

    def reset(self, guest: str) -> None:
        machine = self._own_machine(guest)
        machine.qmp.execute("set-action", reboot="reset")
        machine.qmp.execute("system_reset")
        if not may_reboot(machine.plan):
            machine.qmp.execute("set-action", reboot="shutdown")

    def kill(self, guest: str) -> None:
        self._own_machine(guest).child.kill()

    def counters(self) -> Mapping[str, PortCounters]:
        return counters_of(self.system.switch_counters())

    def stop(self) -> None:
        self._stack.close()


def first_times(timeline: Timeline) -> tuple[tuple[str, float], ...]:
    """When each milestone of each guest was seen first: (`GUEST MILESTONE`, seconds), in that order."""
    found: dict[str, float] = {}
    for event in list(timeline.events):
        found.setdefault(f"{event.guest} {event.name}", event.seconds)
    return tuple(found.items())
