# SPDX-License-Identifier: BSD-2-Clause
"""Which C files make each protection domain's program. Pure: names of files, and no look at their content but the list.

All sources are in the checkout beside this package: `vmm/`, `drivers/`, `vswitch/`, `common/`. One generated file for
each program (`router.microkit.configuration`) tells it its part of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass

from router import resources
from router.boards.model import Board, TimerKind, UartKind
from router.errors import HostError
from router.plan import names
from router.plan.models import SystemPlan

ROOT = resources.root()

UART_DRIVERS = {UartKind.PL011: "drivers/pl011.c", UartKind.IMX: "drivers/imx_uart.c"}
ALARMS = {TimerKind.ARM_PHYSICAL: "drivers/alarm_arm.c", TimerKind.IMX_GPT: "drivers/alarm_gpt.c"}
WRITER = ("drivers/mux.c", "drivers/mux_counts.c", "drivers/mux_frame.c")
MULTIPLEXER = (*WRITER, "drivers/mux_input.c")
VSOCK_HEADERS = "vswitch/core/vsock_init.c"
ACCOUNT = "common/account.c"
COUNTS = "common/counts.c"
STACK = "common/stack.c"
"""What the stack protector needs."""
MEMORY = "common/memory.c"
"""memcpy and its kin, which the compiler calls even in freestanding programs (gcc manual, 2.1)."""


@dataclass(frozen=True)
class Program:
    """One protection domain's program."""

    name: str
    """As in the plan; the generated source is `NAME.c`, the program `NAME.elf`."""
    includes: tuple[str, ...]
    """Folders of headers, relative to the checkout."""
    sources: tuple[str, ...]
    """Relative to the checkout, without the generated one."""


def vmm_sources(*, vsock: bool) -> tuple[str, ...]:
    """Everything in `vmm/`, with the vsock device or with no_vsock.c in its place.

    HostError when the package is installed without the sources.
    """
    device = ("virtio_vsock.c", "virtio_vsock_rx.c")
    without = ("no_vsock.c",) if vsock else device
    found = tuple(f"vmm/{path.name}" for path in sorted((ROOT / "vmm").glob("*.[cS]")) if path.name not in without)
    if not found:
        raise HostError(
            f"the VMM's sources are not at {ROOT / 'vmm'}", hint="install from a checkout: pip install --editable ."
        )
    return found


def program_of(name: str, board: Board, *, vsock: bool = False) -> Program:
    """The program of the protection domain of that name. vsock: the guests have vsock devices, not network devices."""
    drivers = ("drivers", "common")
    match name:
        case "timer":
            return Program(
                name,
                drivers,
                (
                    "drivers/timer_pd.c",
                    "drivers/deadlines.c",
                    ALARMS[TimerKind(board.timer.kind)],
                    COUNTS,
                    STACK,
                    MEMORY,
                ),
            )
        case "ticker":
            return Program(name, drivers, ("drivers/ticker.c", STACK))
        case "console":
            uart = UART_DRIVERS[UartKind(board.uart.kind)]
            sources = ("drivers/console.c", "drivers/watch.c", *MULTIPLEXER, uart, COUNTS, STACK, MEMORY)
            return Program(name, drivers, sources)
        case names.IDLE:
            return Program(name, ("vswitch/pd",), ("vswitch/pd/idle.c", STACK))
        case names.BRINGUP:
            uart = UART_DRIVERS[UartKind(board.uart.kind)]
            return Program(name, drivers, ("drivers/bringup.c", *WRITER, uart, STACK, MEMORY))
        case "images":
            return Program(name, drivers, ("drivers/images.c", STACK, MEMORY))
        case "vswitch":
            packets = ("vswitch/pd/packets.c", "vswitch/core/vsock.c", VSOCK_HEADERS)
            switch = (
                "vswitch/pd/main.c",
                "vswitch/pd/forward.c",
                "vswitch/pd/publish.c",
                *("vswitch/core/vswitch.c", "vswitch/core/init.c"),
                *(packets if vsock else ("vswitch/pd/no_packets.c",)),
                "common/netq.c",
                ACCOUNT,
                COUNTS,
                STACK,
                MEMORY,
            )
            return Program(name, ("vswitch/pd", "vswitch/core", "common"), switch)
        case _:
            headers = (VSOCK_HEADERS,) if vsock else ()
            monitor = (*vmm_sources(vsock=vsock), *headers, "common/netq.c", ACCOUNT, COUNTS, STACK, MEMORY)
            return Program(name, ("vmm", "vswitch/core", "common"), monitor)


def programs(plan: SystemPlan) -> tuple[Program, ...]:
    """All programs of a system, in the plan's order."""
    vsock = any(guest.cid is not None for guest in plan.guests)
    return tuple(program_of(pd.name, plan.board, vsock=vsock) for pd in plan.pds)
