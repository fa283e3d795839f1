# SPDX-License-Identifier: BSD-2-Clause
"""What must be seen of each stage of a system (router.plan.stages), and what to look at when it is not.

All sentences for the person in front of a board that does not start are here. Pure: facts in, sentences out.
"""

from __future__ import annotations

from collections.abc import Sequence

from router.boards.model import Board, BoardDevice, TimerKind
from router.control import milestones
from router.deploy.plan import AwaitedMilestone
from router.plan.models import GuestPlan, SystemPlan
from router.plan.stages import CLIENT, SERIAL, TIMER, TITLES, WHOLE
from router.words import size_text

BOOT_TIMEOUT_S = {SERIAL: 30.0, TIMER: 60.0}
"""From the start command to the last milestone of the stages without guests, whose image has 3 MB."""
LADDER = "look at: what the stages show, one after the other: router deploy FILE --stage 1 (docs/guide/deploy.md)"
DRIVEN = r"bring-up: the serial port is driven"
HEARD = r"bring-up: heard [1-9]\d* bytes"
TICKS = r"bring-up: timer: 10 ticks in (?:0\.9|1\.[012]) s"
CLOCK = r"bring-up: timer: .* (\d{1,9}\.\d) s since the first"
"""The lines of drivers/bringup.c."""
NOTICE, DEFAULT_LOGLEVEL = 5, 7
LOGLEVELS = {"quiet": 4, "debug": 10}
"""Linux: the level of its version, and its console's."""


def place(device: BoardDevice) -> str:
    """A device in a few words."""
    at = f" at {device.registers.start:#x}" if device.registers is not None else ""
    return f"{device.kind}{at}, interrupt {device.irq}"


def look(*things: str) -> str:
    """The text of a milestone: what to look at, the likeliest first."""
    return "look at\n" + "\n".join(f"    {number}. {text}" for number, text in enumerate(things, 1))


def look_at_start(board: Board) -> tuple[str, ...]:
    """Why nothing at all may be heard."""
    return (
        f"the load address: the image runs at {board.loader:#x} only, started by '{board.start}' from U-Boot's prompt",
        f"the UART: this system speaks on the {place(board.uart)}; is that U-Boot's own console, on the same pins?",
        "the exception level: U-Boot must start the image in EL2, which its TF-A decides",
        f"the memory: seL4 uses RAM from {board.ram.start:#x} to {board.ram.end:#x}; 'bdinfo' shows what there is",
    )


def system_milestones(board: Board, config: str) -> list[AwaitedMilestone]:
    """The loader and the kernel, which speak in debug configurations only."""
    if config.removeprefix("smp-") != "debug":
        return []
    kernel = look(
        "the exception level: seL4 needs EL2, and U-Boot has what its TF-A gives it",
        f"the memory: seL4 uses RAM from {board.ram.start:#x} to {board.ram.end:#x}, and firmware must not be in it but"
        f" for {', '.join(name for name, _ in board.reserved)}",
        f"the interrupt controller: a GICv{board.gic.version} at {board.gic.distributor.start:#x}",
    )
    return [
        _of_system("loader", look(*look_at_start(board))),
        _of_system("seL4", kernel),
    ]


def serial_milestones(board: Board, config: str, stage: int) -> list[AwaitedMilestone]:
    """The stages without guests: what drivers/bringup.c prints."""
    silent = (
        () if config.removeprefix("smp-") == "debug" else ("write 'config: debug': the loader and seL4 then speak",)
    )
    if stage == SERIAL:
        driven = look(*look_at_start(board), *silent)
    else:
        driven = look(
            "stage 1: if it prints this line and stage 2 does not, the timer's domain, which runs first, hangs or"
            " faults as it touches its device",
            *look_at_timer(board),
            *silent,
        )
    heard = look(
        "the wire from this computer to the board: RX and TX are a wire each, and U-Boot's prompt needs both",
        f"the interrupt: the {place(board.uart)}; U-Boot needs none, so a wrong number shows here first",
    )
    awaited = [
        AwaitedMilestone(name="serial port speaks", pattern=DRIVEN, port="", look=driven),
        AwaitedMilestone(name="serial port hears", pattern=HEARD, port="", look=heard, keys="\r"),
    ]
    if stage == TIMER:
        ticks = look(
            "the line 'the counter has no frequency', if it was printed: the firmware (TF-A) has not written"
            " CNTFRQ_EL0, and no program can know what a second is",
            f"the timer's interrupt: {place(board.timer)}; without it no tick comes at all",
            "the alarm's frequency: ten ticks in another time than 1.0 s mean that the alarm counts at another speed"
            " than the system counter",
            *look_at_timer(board),
        )
        clock = look(
            "the counter's frequency: the firmware writes it into CNTFRQ_EL0, and the board's last line has it; the"
            " counter itself runs at another one (8.333 MHz on i.MX 8M)",
            "this computer's load, if the difference is a few percent",
        )
        awaited += [
            AwaitedMilestone(name="timer ticks", pattern=TICKS, port="", look=ticks),
            AwaitedMilestone(name="clock is right", pattern=CLOCK, port="", look=clock, clock=True),
        ]
    return awaited


def look_at_timer(board: Board) -> tuple[str, ...]:
    """Why a timer may not work."""
    if board.timer.kind == TimerKind.ARM_PHYSICAL:
        return ("the firmware: it must let EL2 and EL1 use the physical timer (CNTHCTL_EL2, CNTP)",)
    return (
        f"the clock of the {place(board.timer)}: its gate must be open after U-Boot, or the first access to its"
        " registers never ends",
        "the firmware: a domain controller (RDC, CSU) may keep the timer for itself",
    )


def guest_milestones(plan: SystemPlan, guests: Sequence[GuestPlan], stage: int) -> list[AwaitedMilestone]:
    """Each guest's way to user space, and of servers the daemon; of an own image only that its VMM starts it."""
    found = []
    for guest in guests:
        name, ram = guest.name, f"{size_text(guest.ram.size)} at {guest.ram.start:#x}"
        before = "stages 1 and 2" if stage == CLIENT else "stage 3, which starts one guest alone"
        loading = look(
            f"{before}: what they show is needed here",
            f"the memory of the guest: {ram} must be RAM, and no firmware may live there (see 'bdinfo')",
            "the image: all of it must have arrived ('verify' above), and must not reach what U-Boot uses",
        )
        kernel = look(
            f"the memory of the guest: {ram}",
            "config: debug, which prints what a protection domain faults on",
        )
        up = look(
            "the console log: the last line of its kernel says what it waits for",
            "interrupt 27, the virtual timer, which the firmware must leave to EL1",
            f"the memory of the guest: {ram}; give it more if its kernel speaks of memory",
        )
        found.append(_of_guest(name, "loading", "loading", loading))
        if guest.own_image:
            starts = look("config: debug, which prints what a protection domain faults on", f"the memory: {ram}")
            found.append(_of_guest(name, "starts", "started", starts))
            continue
        if prints_notices(guest.bootargs):
            found.append(AwaitedMilestone(name=f"{name} kernel", pattern="Linux version", port=name, look=kernel))
        found.append(_of_guest(name, "up", "userspace", up))
        if guest.role == "server":
            listening = look("the console log: the daemon's own message; it needs no device to listen")
            found.append(_of_guest(name, "listening", "listening", listening))
    return found


def prints_notices(bootargs: str) -> bool:
    """Whether a kernel with this command line prints notices on its console, of which its version is one.

    The last of `quiet`, `debug` and `loglevel=` counts; a console prints what is below its level, a notice is 5, and
    `quiet` is 4 (Linux, init/main.c and CONFIG_CONSOLE_LOGLEVEL_QUIET).
    """
    level = DEFAULT_LOGLEVEL
    for word in bootargs.split():
        name, _, value = word.partition("=")
        if word in LOGLEVELS:
            level = LOGLEVELS[word]
        elif name == "loglevel" and value.isascii() and value.isdigit():
            level = int(value)
    return level > NOTICE


def stage_milestones(plan: SystemPlan, stage: int) -> tuple[AwaitedMilestone, ...]:
    """All that must be seen of a stage below WHOLE, in the order in which it comes."""
    spoken = system_milestones(plan.board, plan.config)
    if stage < CLIENT:
        return (*spoken, *serial_milestones(plan.board, plan.config, stage))
    return (*spoken, *guest_milestones(plan, plan.guests, stage))


def done(stage: int) -> str:
    """What a stage that was seen means, and which comes next."""
    following = f"; next: --stage {stage + 1}, {TITLES[stage + 1]}" if stage < WHOLE else ""
    return f"stage {stage} of {WHOLE} works: {TITLES[stage]}{following}"


def _of_system(name: str, text: str) -> AwaitedMilestone:
    return AwaitedMilestone(name=name, pattern=milestones.of_system(name), port="", look=text)


def _of_guest(guest: str, name: str, milestone: str, text: str) -> AwaitedMilestone:
    return AwaitedMilestone(
        name=f"{guest} {name}", pattern=milestones.of_guest(guest, milestone), port=guest, look=text
    )
