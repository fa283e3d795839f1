# SPDX-License-Identifier: BSD-2-Clause
"""Two guests that need the same hardware: which, and by which chain each of them came to need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from router.devicetree.closure import Closure


@dataclass(frozen=True)
class Conflict:
    """`what` is a node's path, or the pages or the interrupt that two nodes share. Chains are texts, from a chosen
    device on.
    """

    what: str
    first_guest: str
    first_chain: str
    second_guest: str
    second_chain: str

    @property
    def message(self) -> str:
        return f"guests '{self.first_guest}' and '{self.second_guest}' both need {self.what}"

    @property
    def hint(self) -> str:
        return (
            f"{self.first_guest}: {self.first_chain}\n{self.second_guest}: {self.second_chain}\n"
            "give the devices of both chains to one guest"
        )


def conflicts(closures: Sequence[Closure]) -> tuple[Conflict, ...]:
    """Every node, page and interrupt that two of the guests would both own.

    Nodes without registers and interrupts (fixed clocks and regulators, buses) may be in both trees: nothing behind
    them is shared.
    Only the first finding of a kind that says something new is kept: a page of a node that is itself shared is not
    reported again.
    """
    found: list[Conflict] = []
    for first, second in combinations(closures, 2):
        theirs = {member.path for member in second.members if member.kind == "device"}
        shared = [member.path for member in first.members if member.kind == "device" and member.path in theirs]
        for path in shared:
            found.append(_conflict(path, first, path, second, path))
        reported = set(shared)
        for mine in first.regions:
            for other in second.regions:
                if mine.base < other.end and other.base < mine.end and not reported & {*mine.nodes, *other.nodes}:
                    base, end = max(mine.base, other.base), min(mine.end, other.end)
                    found.append(
                        _conflict(f"the pages {base:#x}–{end - 1:#x}", first, mine.nodes[0], second, other.nodes[0])
                    )
        lines = {irq.intid: irq for irq in second.irqs}
        for irq in first.irqs:
            other_irq = lines.get(irq.intid)
            if other_irq is not None and not reported & {*irq.nodes, *other_irq.nodes}:
                found.append(_conflict(f"interrupt {irq.intid}", first, irq.node, second, other_irq.node))
    return tuple(found)


def _conflict(what: str, first: Closure, mine: str, second: Closure, theirs: str) -> Conflict:
    return Conflict(what, first.guest, first.chain_text(mine), second.guest, second.chain_text(theirs))
