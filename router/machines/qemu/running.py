# SPDX-License-Identifier: BSD-2-Clause
"""What every run in QEMU adds to `router.machines.live`: processes, devices, readiness."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from router import files
from router.control.facts import facts_of
from router.control.milestones import MAX_DETAIL
from router.control.timeline import Timeline
from router.display import last_line
from router.errors import MachineError
from router.machines.live import LiveGuest, LiveSystem
from router.machines.process import Child
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.usb import UsbPlug, grant_of
from router.plan.models import Grant, GuestPlan, SystemPlan

START_TIMEOUT_S = 60.0
"""From starting QEMU to its connection: it is read from a disk that may be slow and busy."""
MIN_QUIET_TIMEOUT_S = 60.0
"""Silence after which a guest that is not up counts as hung; half of the start-up timeout, where that is longer."""
SETTLE = r"""
n=0
while [ $n -lt 60 ]; do
  disks=0
  for d in /sys/block/sd*; do
    [ -e "$d" ] || continue
    why=$(true 2>&1 <"/dev/${d##*/}") && why=
    case $why in '' | *medium*) disks=$((disks+1)) ;; esac
  done
  [ $disks -ge {disks} ] && exit 0
  n=$((n+1)); sleep 0.25
done
exit 1
"""
"""Waits until that many disks can be opened or have no medium; Linux lists a disk shortly before."""


@dataclass(kw_only=True)
class RunningGuest(LiveGuest):
    """One guest of a run. Guests of one QEMU share `child` and `qmp`."""

    plan: GuestPlan
    child: Child
    qmp: Qmp


def listen(path: Path) -> socket.socket:
    """A unix socket that QEMU will connect to."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    return server


def accept(server: socket.socket, child: Child) -> socket.socket:
    """The connection of a child to our socket; MachineError when it ends or is late (START_TIMEOUT_S)."""
    end = time.monotonic() + START_TIMEOUT_S
    server.settimeout(0.1)
    while True:
        try:
            stream, _ = server.accept()
            stream.settimeout(None)
            return stream
        except TimeoutError:
            if child.ended() is not None or time.monotonic() > end:
                said = child.errors()
                raise MachineError(
                    f"{child.name} did not start: {last_line(said) or 'it printed nothing'}",
                    hint=f"{quoted('it', said)}its log: {child.log}",
                ) from None


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def quoted(who: str, said: str) -> str:
    """Several lines of a program's output for a hint, with a line end behind; nothing for a single one."""
    lines = said.splitlines()
    return f"{who} printed:\n" + "".join(f"    {line}\n" for line in lines) + "  " if len(lines) > 1 else ""


class Run(LiveSystem[RunningGuest]):
    """A system that runs in QEMU; leaving its context also ends every process and removes temporary files."""

    mode: ClassVar[str]
    """`split` or `microkit`."""

    def __init__(self, plan: SystemPlan, logs: Path, timeline: Timeline, plugs: tuple[UsbPlug, ...] = ()) -> None:
        super().__init__(facts_of(plan), logs, timeline)
        self.plan = plan
        self._plugs = plugs

    def expected(self) -> Counter[str]:
        """How many devices each client will get by USB/IP of those that are plugged in."""
        return Counter(grant.to for _, grant in self.routed() if not grant.blocks)

    def routed(self) -> list[tuple[UsbPlug, Grant]]:
        """The devices that reach a client, each with its rule: granted, and of a speed that its controller has.

        A disk of which several guests have parts is there once for each part.
        """
        grants = self.plan.grants
        chosen = ((plug, grant_of(plug, grants)) for plug in self._plugs)
        pairs = [
            (plug, each)
            for plug, grant in chosen
            if grant is not None
            for each in (grant.parts_in(grants) if grant.size else [grant])
        ]
        return [
            (plug, grant)
            for plug, grant in pairs
            if (grant.blocks or not (plug.facts.superspeed and self.plan.guest(grant.to).usb_version < 3))
        ]

    def log_files(self) -> list[Path]:
        """The logs that have something in them, by name."""
        return [path for path in sorted(self._logs.glob("*.log")) if files.has_content(path)]

    def _last_lines(self, guest: RunningGuest) -> str:
        shown = _indented("\n".join(guest.tail())) or "    (nothing)"
        said = guest.child.errors()
        qemu = f"  QEMU printed:\n{_indented(said)}\n" if said else ""
        return f"its console ended with:\n{shown}\n{qemu}  logs: {self._logs}"

    def _show_news(self) -> None:
        """Show what a QEMU has printed: it does so when a device of its own stops working."""
        shown = set()
        for name, guest in tuple(self.guests.items()):
            if guest.child.pid not in shown:
                shown.add(guest.child.pid)
                who = name if len({one.child.pid for one in self.guests.values()}) > 1 else "QEMU"
                for line in guest.child.news():
                    self.timeline.add(who, "qemu", line[:MAX_DETAIL], f"QEMU: {line[:MAX_DETAIL]}")

    def ready(self) -> list[str]:
        """What is still missing, as sentences; empty when every guest is up and every routed device is attached."""
        missing = []
        wanted = self.expected()
        blocks = Counter(grant.to for _, grant in self.routed() if grant.blocks)
        for guest in self.plan.guests:
            if not self.timeline.seen(guest.name, "userspace"):
                missing.append(f"guest '{guest.name}' is not up")
            if guest.role == "server" and not self.timeline.seen(guest.name, "listening"):
                missing.append(f"the USB/IP daemon of '{guest.name}' does not listen")
            attached = len({event.detail for event in self.timeline.seen(guest.name, "attached")})
            if attached < wanted[guest.name]:
                missing.append(f"guest '{guest.name}' has {attached} of {wanted[guest.name]} devices")
            disks = len({event.detail.split()[0] for event in self.timeline.seen(guest.name, "disk-ready")})
            if disks < blocks[guest.name]:
                missing.append(f"guest '{guest.name}' has {disks} of {blocks[guest.name]} disks")
        return missing

    def wait_ready(self, timeout: float) -> None:
        """Until `ready()` is empty and the disks are block devices; MachineError after `timeout` seconds or silence."""
        end = time.monotonic() + timeout
        quiet_timeout = max(MIN_QUIET_TIMEOUT_S, timeout / 2)
        while missing := self.ready():
            self.poll(0.2)
            now = time.monotonic()
            quiet = [g for g in self.guests.values() if now - g.heard > quiet_timeout]
            if quiet and self.timeline.seen(quiet[0].plan.name, "userspace"):
                quiet = []
            gone = [g for g in self.guests.values() if self._stays_down(g)]
            self._check_settings()
            if now > end or quiet or gone:
                guest = (gone or quiet or [self._suspect(missing)])[0]
                name = guest.plan.name
                silence = f"no sign of life from guest '{name}' for {quiet_timeout:.0f} s"
                what = silence if quiet else f"not up after {timeout:.0f} s"
                what = f"guest '{name}' is down" if gone else what
                hint = f"{self.stage(name)}; {self._last_lines(guest)}"
                raise MachineError(f"{what}: {'; '.join(missing)}", hint=hint)
        disks: dict[str, int] = {}
        for plug, grant in self.routed():
            if 8 in plug.facts.classes and not grant.blocks:
                disks[grant.to] = disks.get(grant.to, 0) + 1
        for name, count in disks.items():
            code, _ = self.execute(name, SETTLE.replace("{disks}", str(count)), max(5.0, end - time.monotonic()))
            if code:
                raise MachineError(
                    f"guest '{name}': {count} disks are attached, but not all became block devices",
                    hint=self._last_lines(self.guests[name]),
                )
            self.timeline.add(name, "disk", str(count), f"{count} disk{'s' if count > 1 else ''} ready")

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """As LiveSystem has it; an error also says what QEMU printed, since a device of it may be dead."""
        try:
            return super().execute(guest, command, timeout, on_output, cancelled)
        except MachineError as error:
            said = last_line(self.guests[guest].child.errors())
            if said and said not in f"{error.message} {error.hint}":
                raise MachineError(error.message, f"{error.hint or 'see its logs'}; QEMU printed: {said}") from error
            raise

    def _check_settings(self) -> None:
        """MachineError when a guest's Linux did not unpack the archive with its settings behind its initramfs."""
        for name in self.guests:
            if self.timeline.seen(name, "unset"):
                raise MachineError(
                    f"guest '{name}' came up without its settings",
                    hint="its kernel did not unpack the archive behind its initramfs: was this kernel built with"
                    " CONFIG_RD_GZIP, and does the initramfs end where its compressed data end?",
                )

    def _stays_down(self, guest: RunningGuest) -> bool:
        """Whether a guest has stopped and its monitor leaves it so."""
        return bool(self.timeline.seen(guest.plan.name, "stopped")) and guest.plan.on_exit != "restart"

    def _suspect(self, missing: list[str]) -> RunningGuest:
        return next((g for n, g in self.guests.items() if f"'{n}'" in missing[0]), next(iter(self.guests.values())))
