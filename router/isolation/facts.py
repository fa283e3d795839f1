# SPDX-License-Identifier: BSD-2-Clause
"""One sentence of a system's isolation: who holds what, and how. Three sources say such facts, and they must agree.

The texts are made here and nowhere else, so that equal facts from different sources are equal texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from router.plan.models import PAGE
from router.words import size_text

MONITOR = "the Monitor"
"""Microkit's own protection domain, which takes the faults of all others."""
IMAGE = "the image"
"""Who holds what belongs to no protection domain: objects that should not be there."""
FAULT_BADGE, CALL_BADGE = 1 << 62, 1 << 63
"""How Microkit marks fault messages and protected procedure calls (seL4/microkit 2.3.0, capdl/builder.rs)."""


class Kind(StrEnum):
    """What a fact is about."""

    MEMORY = "memory"
    OWN = "own memory"
    NOTIFY = "notifies by"
    CALL = "calls by"
    IRQ = "interrupt on"
    SMC = "SMC"
    VCPU = "vCPU"
    VCPU_THREAD = "thread of vCPU"
    THREAD_CAP = "thread capability"
    THREAD = "runs as"
    BOUND = "is bound to"
    FAULTS = "faults go to"
    INPUT = "receives on"
    REPLY = "replies by"
    SPACE = "address space"
    OTHER = "capability"


@dataclass(frozen=True, order=True)
class Fact:
    """`holder` has `kind name`, in the form that `how` says."""

    holder: str
    kind: Kind
    name: str
    how: str

    @property
    def what(self) -> str:
        """What is held."""
        return f"{self.kind} {self.name}".rstrip()

    @property
    def target(self) -> str:
        """Whose object it is, for facts of `object_text` and `message_text`."""
        return self.how.split(", ")[1]


def guest_label(name: str) -> str:
    """The holder's name of a virtual machine."""
    return f"guest {name}"


def vcpu_label(guest: str, vcpu: str | int) -> str:
    """A virtual CPU of a guest."""
    return f"vCPU {vcpu} of {guest_label(guest)}"


def memory_text(rights: str, cached: bool, size: int, vaddr: int, paddr: int | None, first: int = 0) -> str:
    """A mapping. first: the first page of the region that is mapped, 0 for all well-formed mappings."""
    where = f", physical {paddr:#x}" if paddr is not None else ""
    part = f", from page {first} on" if first else ""
    return f"{rights}{'' if cached else ' uncached'}, {size_text(size)} at {vaddr:#x}{where}{part}"


def own_text(rights: str, size: int) -> str:
    """Memory that one address space alone has."""
    return f"{rights}, {size_text(size)}"


def owned(owner: str, holder: str) -> str:
    """Whose an object is, from its holder's view."""
    return "its own" if owner == holder else owner


def object_text(kind: str, owner: str, holder: str) -> str:
    """A capability that carries no rights of its own."""
    return f"{kind}, {owned(owner, holder)}"


def message_text(kind: str, owner: str, holder: str, badge: int, rights: tuple[str, ...]) -> str:
    """A capability to an endpoint or a notification."""
    marked = f", badge {badge:#x}" if badge else ""
    return f"{kind}, {owned(owner, holder)}{marked}, {' '.join(rights) or 'no right'}"


def irq_text(number: int, edge: bool, core: int, bits: int) -> str:
    """An interrupt, its trigger, and the bits of its holder's notification that it sets."""
    return f"interrupt {number}, {'edge' if edge else 'level'}, core {core}, badge {bits:#x}"


def thread_text(
    priorities: tuple[int, int], core: int, budget: int, period: int, starts: bool, fpu: bool, domain: int
) -> str:
    """A thread's parameters; times in microseconds; priorities: its own, and the highest that it may set."""
    own, most = priorities
    return (
        f"priority {own}{'' if own == most else f', may set {most}'}, core {core}, {budget} of {period} us, "
        f"{'starts at boot' if starts else 'starts when told'}{'' if fpu else ', no FPU'}"
        f"{f', domain {domain}' if domain else ''}"
    )


BOUND_OBJECTS = {0: "table", 1: "address space", 6: "scheduling context", 8: "notification", 9: "vCPU"}
"""What a thread is bound to besides its message buffer and the endpoint of its faults, by the slot."""


def bound_text(slots: Iterable[int]) -> str:
    """What of its own a thread is bound to."""
    return "its own " + ", ".join(BOUND_OBJECTS[slot] for slot in sorted(slots))


def runs(pages: list[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Neighbouring pages (address, size, rights) with the same rights as one."""
    found: list[tuple[int, int, str]] = []
    for vaddr, size, rights in sorted(pages):
        if found and found[-1][2] == rights and found[-1][0] + found[-1][1] == vaddr:
            found[-1] = (found[-1][0], found[-1][1] + size, rights)
        else:
            found.append((vaddr, size, rights))
    return found


def pages_of(start: int, size: int) -> range:
    """The pages that a span of bytes touches."""
    return range(start // PAGE * PAGE, start + size, PAGE)
