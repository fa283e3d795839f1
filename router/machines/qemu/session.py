# SPDX-License-Identifier: BSD-2-Clause
"""One `router run`: bring the system up, run the commands or hand over the console, stop in order."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from router import display
from router.console import terminal
from router.control.place import Claim
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.errors import DescriptionError, HostError, MachineError
from router.machines.qemu.junit import Case, JunitReport
from router.machines.qemu.microkit import MicrokitRun
from router.machines.qemu.running import Run
from router.machines.qemu.spin_loops import yielding
from router.machines.qemu.split import SplitRun
from router.machines.qemu.tool import Qemu, find_qemu, sandbox
from router.machines.qemu.usb import UsbPlug
from router.overview.page import RunPage
from router.overview.picture import Step
from router.pipeline.build import Built
from router.vswitch import build_host_switch

SIZE_TIMEOUT_S = 120.0
"""For telling a guest the size of the terminal."""


@dataclass(frozen=True)
class GuestCommand:
    """A shell command for a guest."""

    guest: str
    text: str


@dataclass(frozen=True)
class RunOptions:
    """The user's options for a run. Times in seconds."""

    commands: tuple[GuestCommand, ...] = ()
    console: str | None = None
    timeout: float = 120.0
    command_timeout: float = 300.0
    as_json: bool = False
    capture: Path | None = None
    junit: Path | None = None
    report: Path | None = None

    def check(self, guests: Sequence[str]) -> None:
        """DescriptionError when a guest does not exist or the options contradict each other."""
        if self.junit is not None and not self.commands:
            raise DescriptionError("there are no commands to report on", hint="add --exec", where="--junit")
        if self.console is not None:
            check_guest(self.console, guests, "--console")
            if self.commands:
                raise DescriptionError("--console and --exec exclude each other", hint="leave one of them out")
            if not sys.stdin.isatty():
                raise DescriptionError("--console needs a terminal", hint="use --exec in scripts")


def check_guest(name: str, guests: Sequence[str], where: str) -> None:
    """DescriptionError when no guest is called that."""
    if name not in guests:
        raise DescriptionError(f"no guest '{name}'", hint=f"guests: {', '.join(guests)}", where=where)


def parse_command(text: str, guests: Sequence[str]) -> GuestCommand:
    """A GuestCommand from `client: sha256sum /dev/sda`."""
    match = re.fullmatch(r"\s*([\w-]+)\s*:\s*(.+)", text, re.DOTALL)
    if match is None:
        raise DescriptionError(f"not a command for a guest: {text!r}", hint="write 'GUEST: COMMAND'", where="--exec")
    check_guest(match[1], guests, "--exec")
    return GuestCommand(match[1], match[2])


def split_run(
    built: Built,
    plugs: tuple[UsbPlug, ...],
    logs: Path,
    timeline: Timeline,
    capture: Path | None = None,
    more: Sequence[str] = (),
) -> SplitRun:
    """The guests of a build folder, ready to be started as a context. more: further words for each guest's QEMU."""
    folder = built.folder / "objects"
    switch = build_host_switch(folder)
    qemu = find_qemu()
    words = (*sandboxed(qemu), *more)
    return SplitRun(built.plan, built.guests, qemu.path, switch, logs, timeline, plugs, capture, words)


def microkit_run(
    built: Built, plugs: tuple[UsbPlug, ...], logs: Path, timeline: Timeline, more: Sequence[str] = ()
) -> MicrokitRun:
    """The loader image of a build folder, ready to be started as a context. more: further words for QEMU."""
    assert built.loader_image is not None, "a build with a loader image"
    qemu = find_qemu()
    words = (*sandboxed(qemu), *on_several_cores(built, qemu), *more)
    return MicrokitRun(built.plan, built.loader_image.path, qemu, logs, timeline, plugs, words)


def sandboxed(qemu: Qemu) -> tuple[str, ...]:
    """QEMU's words for its sandbox; says so where it has none."""
    words = sandbox(qemu.path)
    if not words:
        display.styled(
            f"note: {qemu.path} runs without its sandbox, which it or this kernel lacks: a guest that exploits QEMU has"
            " all rights of this user",
            stream=sys.stderr,
        )
    return words


def on_several_cores(built: Built, qemu: Qemu) -> list[str]:
    """QEMU's words for a kernel of several cores, whose emulated cores wait for each other in loops."""
    assert built.loader_image is not None, "a build with a loader image"
    if not built.plan.config.startswith("smp-"):
        return []
    try:
        return yielding(qemu, built.loader_image.kernel, built.folder / "objects")
    except HostError as error:
        display.styled(
            f"note: {error.message}: emulated cores that wait for each other use up each other's time, and guests on"
            f" different cores will hardly get anywhere unless this computer has {built.plan.board.cores} free cores",
            stream=sys.stderr,
        )
        return []


def run(running: Run, options: RunOptions) -> int:
    """Start a run and carry out its options; the exit code of the first command that failed, or 0.

    MachineError when the machine or a guest fails.
    """
    report = JunitReport(options.junit, running.plan.name)
    page = RunPage(options.report, running.plan.name, running.mode, running.timeline)
    with (
        page.writing(lambda: steps(report, running.timeline)),
        report.writing(running.timeline, running.log_files),
        ExitStack() as stack,
    ):
        with report.case("boot"):
            claim = stack.enter_context(Claim(running.plan.name))
            system = stack.enter_context(running)
            stack.enter_context(ControlServer(claim, system, running.mode))
            stack.enter_context(page.watching())
            if options.console is None:
                system.wait_ready(options.timeout)
        if options.console is not None:
            return converse(system, options.console)
        if options.commands:
            return run_commands(system, options, report)
        print("up; Ctrl-C stops it", file=sys.stderr)
        while True:
            system.poll(0.5)


def steps(report: JunitReport, timeline: Timeline) -> list[Step]:
    """The cases of a run as steps of its time line."""
    start = time.monotonic() - timeline.elapsed()
    return [
        Step(case.name, case.begun - start, case.seconds, (case.error or case.failure or "").partition("\n")[0])
        for case in report.cases
    ]


def run_commands(system: Run, options: RunOptions, report: JunitReport) -> int:
    """Each command in turn, also after one failed."""
    first = 0
    for command in options.commands:
        start = time.monotonic()
        if not options.as_json:
            display.styled(
                f"{system.timeline.elapsed():7.2f} s  {command.guest:<10} $ {command.text}", stream=sys.stderr
            )
        with report.case(f"{command.guest}: {command.text}") as case:

            def hear(data: bytes, case: Case = case) -> None:
                case.hear(data)
                terminal.show(data)

            code, output = system.execute(
                command.guest, command.text, options.command_timeout, None if options.as_json else hear
            )
            case.hear(output)
            if code:
                case.failure = f"exit code {code}\n{case.output}"
        if options.as_json:
            row = {
                "event": "command",
                "guest": command.guest,
                "command": command.text,
                "code": code,
                "output": output.decode(errors="replace"),
                "seconds": round(time.monotonic() - start, 2),
            }
            display.styled(json.dumps(row))
        first = first or code
    return first


def converse(system: Run, guest: str) -> int:
    """Connect the terminal to a guest's console until Ctrl-] or until the guest ends."""
    display.styled(f"console of {guest}; Ctrl-] ends the run", stream=sys.stderr)
    system.listen(guest, terminal.show_raw)
    system.give_keyboard(guest)
    system.timeline.mute()

    def ended() -> bool:
        system.check()
        return False

    def resize(columns: int, lines: int) -> None:
        # A guest without an agent, or that is just ending, has a console of no particular size.
        with contextlib.suppress(MachineError):
            system.execute(guest, terminal.size_command(columns, lines), SIZE_TIMEOUT_S)

    try:
        with terminal.sized(resize):
            terminal.converse(
                lambda data: system.type_in(guest, data),
                ended,
                lambda: system.guests[guest].heard,
                lambda: system.unlisten(guest, terminal.show_raw),
            )
        return 0
    except MachineError:
        return 0 if system.guests[guest].child.ended() == 0 else 4
    finally:
        print(file=sys.stderr)
