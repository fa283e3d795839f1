# SPDX-License-Identifier: BSD-2-Clause
"""The isolation matrix of the image that boots, from its capabilities, in the form of that of the `.system` text."""

from __future__ import annotations

from collections.abc import Iterator

from router.isolation.facts import MONITOR, Fact, Kind, guest_label
from router.isolation.proof import Proof
from router.report.isolation import Access, AddressSpace, Isolation, Region


def image_isolation(proof: Proof, described: Isolation) -> Isolation:
    """The matrix of an image.

    described: the matrix of its description, for the order of rows and columns; what it does not have comes last.
    """
    monitors = {
        fact.target.removeprefix(f"vCPU {fact.name} of guest "): fact.holder
        for fact in proof.facts
        if fact.kind is Kind.VCPU
    }
    guests = {guest_label(name): name for name in monitors}
    monitored = {monitor: name for name, monitor in monitors.items()}
    labels = dict.fromkeys([*(each.label for each in described.holders), *(fact.holder for fact in proof.facts)])
    holders = {
        label: AddressSpace(guests.get(label, label), label in guests, monitored.get(label))
        for label in labels
        if label != MONITOR
    }
    listed = {each.name: each for each in described.regions}
    access: dict[str, list[Access]] = {}
    sizes: dict[str, tuple[int, int | None]] = {}
    for label, each in proof.mappings:
        access.setdefault(each.region, []).append(Access(holders[label], each.rights, each.cached))
        sizes[each.region] = (each.size, each.paddr)
    order = list(holders.values())
    regions = tuple(
        Region(
            name=name,
            size=sizes[name][0],
            physical=sizes[name][1],
            file=listed[name].file if name in listed else None,
            access=tuple(sorted(access[name], key=lambda one: order.index(one.holder))),
        )
        for name in [*(name for name in listed if name in access), *(name for name in access if name not in listed)]
    )
    return Isolation(
        holders=tuple(order),
        regions=regions,
        source=f"from the capabilities of the image, Microkit {proof.sdk}",
        powers=tuple((label, words_of(label, proof.facts)) for label in (*holders, MONITOR)),
        findings=tuple(findings(proof.facts)),
        capabilities=tuple((fact.holder, fact.what, fact.how) for fact in proof.facts),
    )


def words_of(holder: str, facts: tuple[Fact, ...]) -> str:
    """What a holder may do apart from memory: a verb, and to whom."""
    found: dict[str, list[str]] = {}
    for fact in facts:
        power = power_of(fact) if fact.holder == holder else None
        if power is not None:
            found.setdefault(power[0], []).append(power[1])
    listed = [f"{verb} {', '.join(sorted(objects, key=natural))}" for verb, objects in found.items()]
    return "; ".join(listed) or "nothing: it holds no capability"


def natural(text: str) -> tuple[int, str]:
    """Numbers by their value."""
    return (int(text), "") if text.isdigit() else (0, text)


def power_of(fact: Fact) -> tuple[str, str] | None:
    """A capability in a few words; None for what every domain has of its own."""
    match fact.kind:
        case Kind.NOTIFY:
            return "notifies", fact.target
        case Kind.CALL:
            return "calls", fact.target
        case Kind.IRQ:
            return "handles interrupts", fact.how.split(", ")[0].removeprefix("interrupt ")
        case Kind.SMC:
            return "calls", "the firmware by SMC"
        case Kind.VCPU:
            return "has the registers of", fact.target
        case Kind.VCPU_THREAD:
            return "starts and stops", fact.target
        case Kind.THREAD_CAP:
            return "starts and stops", fact.name.removeprefix("of ")
        case Kind.OTHER:
            return "holds", f"{fact.what}: {fact.how}"
        case _:
            return None


def findings(facts: tuple[Fact, ...]) -> Iterator[str]:
    """What the capabilities mean beyond what a description says."""
    yield f"{len(facts)} facts follow from the capabilities, the same as from the .system text and from the plan"
    held = [fact.name.removeprefix("of ") for fact in facts if fact.holder == MONITOR and fact.kind is Kind.THREAD_CAP]
    if held:
        yield f"Microkit's Monitor holds the threads of all others, and maps none of their memory: {', '.join(held)}"
    receivers: dict[str, list[str]] = {}
    for fact in facts:
        if fact.kind is Kind.CALL and "read" in fact.how:
            receivers.setdefault(fact.target, []).append(fact.holder)
    for target, callers in receivers.items():
        if len(callers) > 1:
            yield (
                f"{', '.join(callers)} call {target}, and with Microkit's rights each could also take the others' calls"
            )
    if any(fact.kind is Kind.NOTIFY and "read" in fact.how for fact in facts):
        yield "with Microkit's rights a domain could also take the notifications of those that it may notify"
