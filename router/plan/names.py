# SPDX-License-Identifier: BSD-2-Clause
"""The names of protection domains, programs and memory regions, in one place for the plan and the generated files."""

from __future__ import annotations

from router.description.semantics_guests import MONITOR

GIC_VCPU = "gic_vcpu"
"""Region: the GIC's CPU interface for virtual machines (GICV)."""
SWITCH_COUNTERS = "switch_counters"
"""Region: the switch's counters, which the console reads."""
UART = "uart"
TIMER = "timer"
"""Regions of our drivers' registers; the protection domain that drives the timer is called so too."""
CONSOLE = "console"
TIMERS = (TIMER, "ticker")
BRINGUP = "bringup"
IDLE = "idle"
"""Protection domains: the console, what keeps time, the console's stand-in while a board is brought up, and what runs
when nothing else does."""


def vmm(guest: str) -> str:
    """The protection domain of a guest's virtual machine monitor."""
    return f"{MONITOR}{guest}"


def program(pd: str) -> str:
    """The ELF file of a protection domain."""
    return f"{pd}.elf"


def source(pd: str) -> str:
    """The generated C file that holds a protection domain's part of the plan."""
    return f"{pd}.c"


def guest_ram(guest: str) -> str:
    """Region: a guest's RAM."""
    return f"{guest}_ram"


def net_rings(guest: str) -> str:
    """Region: the descriptors of a guest's port on the switch."""
    return f"{guest}_net_rings"


def net_frames(guest: str) -> str:
    """Region: the frames that a guest sends."""
    return f"{guest}_net_frames"


def console_rings(guest: str) -> str:
    """Region: both directions of a guest's console and control channel."""
    return f"{guest}_console"


def device(guest: str, part: str) -> str:
    """Region: a part of the board that a guest owns."""
    return f"{guest}_{part}"
