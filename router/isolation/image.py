# SPDX-License-Identifier: BSD-2-Clause
"""Facts from the capabilities of an image: every capability of every table says one, so that none goes unjudged."""

from __future__ import annotations

from collections.abc import Iterator

from router.isolation import owners as ownership
from router.isolation.facts import (
    IMAGE,
    MONITOR,
    Fact,
    Kind,
    bound_text,
    irq_text,
    memory_text,
    message_text,
    object_text,
    own_text,
    runs,
    thread_text,
)
from router.isolation.owners import BUFFER, CSPACE, FAULTS, NOTIFICATION, SCHEDULING, UNOWNED, VCPU, VSPACE, Thread
from router.isolation.spaces import (
    Stretch,
    frame_rights,
    frame_size,
    mapped,
    overlaps,
    pages,
    region_of,
    stretches,
)
from router.microkit.capdl import Cap, KernelObject, Specification

SINGLE = {
    1: (Kind.INPUT, ""),
    2: (Kind.FAULTS, "(also as a capability)"),
    3: (Kind.SPACE, ""),
    4: (Kind.REPLY, ""),
    6: (Kind.THREAD_CAP, "of itself"),
    7: (Kind.SMC, ""),
}
"""What a protection domain's table has in its first slots (libmicrokit/include/microkit.h, capdl/builder.rs)."""
RANGES = (
    (10, Kind.NOTIFY, "channel {}"),
    (74, Kind.CALL, "channel {}"),
    (138, Kind.IRQ, "channel {}"),
    (202, Kind.THREAD_CAP, "of child {}"),
    (266, Kind.VCPU_THREAD, "{}"),
    (330, Kind.VCPU, "{}"),
)
"""Ranges of 64 slots behind them."""
MONITOR_SINGLE = {1: (Kind.INPUT, ""), 2: (Kind.REPLY, "")}
MONITOR_THREADS = range(10, 138)
"""Of the Monitor's table: the threads of protection domains and of virtual CPUs, 64 each."""
KNOWN_OBJECTS = {
    *("Frame", "PageTable", "CNode", "Tcb", "SchedContext", "Reply", "Notification", "ArmIrq", "Endpoint", "VCpu"),
    "ArmSmc",
}
KNOWN_FILLS = {"ElfContent", "BytesContent"}
TRIGGERS = (0, 1)
"""Level, edge (tool/microkit/src/sel4.rs)."""


def slot_meaning(slot: int) -> tuple[Kind, str]:
    """What a capability in that slot of a protection domain's table is for."""
    if slot in SINGLE:
        return SINGLE[slot]
    for base, kind, name in RANGES:
        if base <= slot < base + 64:
            return kind, name.format(slot - base)
    return Kind.OTHER, f"in slot {slot}"


class Reading:
    """One specification being read into facts."""

    def __init__(self, spec: Specification) -> None:
        self.spec = spec
        self.threads = ownership.threads(spec)
        self.owners = ownership.owners(spec)
        self.roots = {
            thread.tcb.slots[VSPACE].object: self.owners[thread.tcb.slots[VSPACE].object]
            for thread in self.threads
            if VSPACE in thread.tcb.slots
        }
        self.places = mapped(spec, self.roots)
        self.read: set[int] = set()
        """Objects whose slots have said their facts."""

    def owner(self, index: int) -> str:
        """Whose an object is; an object without an owner is named."""
        return self.owners.get(index) or f"{UNOWNED}, '{self.spec.objects[index].name}'"

    def facts(self) -> Iterator[Fact]:
        for thread in self.threads:
            yield from self.thread_facts(thread)
            yield from self.table_facts(thread)
        for root, holder in self.roots.items():
            yield from self.space_facts(root, holder)
        yield from self.image_facts()

    def thread_facts(self, thread: Thread) -> Iterator[Fact]:
        """What a thread is bound to."""
        tcb, holder, vcpu = thread.tcb, thread.holder, "" if thread.vcpu is None else f"vCPU {thread.vcpu}"
        self.read.add(tcb.id)
        scheduling = tcb.slots.get(SCHEDULING)
        context = self.spec.objects[scheduling.object] if scheduling is not None else None
        timed = context is not None and context.kind == "SchedContext"
        how = thread_text(
            (tcb.number("prio"), tcb.number("max_prio")),
            tcb.number("affinity"),
            context.number("budget") if context is not None and timed else 0,
            context.number("period") if context is not None and timed else 0,
            bool(tcb.extra["resume"]),
            not tcb.extra["fpu_disabled"],
            tcb.number("domain") if tcb.extra["domain"] is not None else 0,
        )
        if tcb.extra["master_fault_ep"] is not None:
            how += f", faults in slot {tcb.extra['master_fault_ep']}"
        yield Fact(holder, Kind.THREAD, vcpu, how)
        own = [slot for slot, cap in tcb.slots.items() if self.is_own(thread, slot, cap)]
        yield Fact(holder, Kind.BOUND, vcpu, bound_text(own))
        for slot, cap in tcb.slots.items():
            if slot not in own:
                yield self.bound_fact(thread, slot, cap, vcpu)

    def is_own(self, thread: Thread, slot: int, cap: Cap) -> bool:
        """Whether a thread is bound to an object of its own, of the kind that belongs there, as the tool does it."""
        kinds = {CSPACE: "CNode", VSPACE: "PageTable", SCHEDULING: "SchedContext", NOTIFICATION: "Notification"}
        if cap.kind != {**kinds, VCPU: "VCpu"}.get(slot) or cap.badge:
            return False
        whose = thread.holder if slot == VSPACE else thread.label
        return self.owner(cap.object) == whose and (slot != NOTIFICATION or cap.rights == ("read", "write"))

    def bound_fact(self, thread: Thread, slot: int, cap: Cap, vcpu: str) -> Fact:
        """What any other capability in a thread's slot says."""
        holder = thread.holder
        if slot == FAULTS:
            return Fact(holder, Kind.FAULTS, vcpu, self.describe(cap, thread.label))
        if slot == BUFFER and cap.kind == "Frame":
            return Fact(holder, Kind.OWN, f"message buffer {vcpu}".rstrip(), self.buffer(thread, cap))
        return Fact(holder, Kind.OTHER, f"bound in slot {slot} {vcpu}".rstrip(), self.describe(cap, thread.label))

    def buffer(self, thread: Thread, cap: Cap) -> str:
        """The frame of a thread's messages: a domain has it mapped, at one place and with the same rights."""
        frame, rights = self.spec.objects[cap.object], frame_rights(cap)
        where = self.places.get(frame.id, [])
        space = thread.tcb.slots.get(VSPACE)
        mine = [page for page in pages(self.spec, space.object) if page.frame is frame] if space is not None else []
        right = [(page.vaddr, page.rights, page.cached) for page in mine] == [
            (thread.tcb.number("ipc_buffer_addr"), rights, True)
        ]
        if where == [thread.holder] and right:
            place = "mapped by itself alone"
        elif where:
            place = f"mapped by {', '.join(where)}" + "".join(f", {page.rights} at {page.vaddr:#x}" for page in mine)
        else:
            place = "mapped nowhere"
        whose = self.owner(frame.id)
        return (
            f"{own_text(rights, frame_size(frame))}, {place}{'' if cap.cached else ', uncached'}"
            f"{'' if whose == thread.label else f', {whose}'}"
            f"{'' if frame.paddr is None else f', physical {frame.paddr:#x}'}"
        )

    def table_facts(self, thread: Thread) -> Iterator[Fact]:
        """Every capability that a thread can name."""
        root = ownership.table_of(self.spec, thread.tcb.slots.get(CSPACE))
        table = ownership.domain_table(self.spec, thread)
        for each in (root, table):
            if each is not None:
                self.read.add(each.id)
        if root is not None and root is not table:
            for slot, cap in root.slots.items():
                if table is None or slot != 0:
                    yield Fact(
                        thread.holder, Kind.OTHER, f"in slot {slot} of its root", self.describe(cap, thread.label)
                    )
        if table is None:
            return
        for slot, cap in table.slots.items():
            if thread.vcpu is not None:
                kind, name = Kind.OTHER, f"in slot {slot} of vCPU {thread.vcpu}"
            elif thread.holder != MONITOR:
                kind, name = slot_meaning(slot)
            elif slot in MONITOR_THREADS and cap.kind == "Tcb":
                kind, name = Kind.THREAD_CAP, f"of {self.owner(cap.object)}"
            else:
                kind, name = MONITOR_SINGLE.get(slot, (Kind.OTHER, f"in slot {slot}"))
            yield Fact(thread.holder, kind, name, self.describe(cap, thread.label))

    def describe(self, cap: Cap, holder: str) -> str:
        """What a capability gives its holder."""
        target = self.spec.objects[cap.object]
        if cap.kind in ("Endpoint", "Notification"):
            return message_text(cap.kind.lower(), self.owner(cap.object), holder, cap.badge, cap.rights)
        if cap.kind == "ArmIrqHandler" and target.kind == "ArmIrq":
            return self.irq(target, holder)
        if cap.kind == "Frame":
            return f"frame '{target.name}', {frame_rights(cap)}"
        if cap.kind == "ArmSmc":
            return "every call"
        names = {"Tcb": "thread", "VCpu": "vCPU", "PageTable": "address space", "Reply": "reply object"}
        return object_text(names.get(cap.kind, cap.kind), self.owner(cap.object), holder)

    def irq(self, target: KernelObject, holder: str) -> str:
        """An interrupt: its number, and whose notification it sets."""
        self.read.add(target.id)
        numbers = [irq for irq, handler in self.spec.irqs.items() if handler == target.id]
        bound = target.slots.get(0)
        if len(numbers) != 1 or bound is None or len(target.slots) != 1 or target.extra["trigger"] not in TRIGGERS:
            return f"'{target.name}', which is not bound as an interrupt is"
        how = irq_text(numbers[0], target.extra["trigger"] == 1, target.number("target"), bound.badge)
        own = bound.kind == "Notification" and self.owner(bound.object) == holder and bound.rights == ("read", "write")
        return how if own else f"{how}, delivered as {self.describe(bound, holder)}"

    def space_facts(self, root: int, holder: str) -> Iterator[Fact]:
        """What an address space shows."""
        found = list(pages(self.spec, root))
        self.note_tables(root)
        for each in stretches(found):
            how = memory_text(each.rights, each.cached, each.size, each.vaddr, each.paddr, each.first)
            yield Fact(holder, Kind.MEMORY, each.region, how)
        thread = next((each for each in self.threads if each.vcpu is None and each.holder == holder), None)
        buffer = thread.tcb.number("ipc_buffer_addr") if thread is not None else None
        top = thread.tcb.number("sp") if thread is not None else 0
        own: list[tuple[int, int, str]] = []
        for page in found:
            if region_of(page.frame) is not None:
                continue
            if len(self.places[page.frame.id]) > 1 or page.frame.paddr is not None or not page.cached:
                who = ", ".join(sorted(self.places[page.frame.id]))
                yield Fact(holder, Kind.OWN, f"'{page.frame.name}'", f"{page.rights}, mapped by {who}")
            elif page.vaddr != buffer:
                own.append((page.vaddr, page.size, page.rights))
        for vaddr, size, rights in runs(own):
            name = "stack" if vaddr + size == top else f"program at {vaddr:#x}"
            yield Fact(holder, Kind.OWN, name, own_text(rights, size))

    def note_tables(self, index: int) -> None:
        """The page tables of an address space are read."""
        self.read.add(index)
        for cap in self.spec.objects[index].slots.values():
            if cap.kind == "PageTable":
                self.note_tables(cap.object)

    def image_facts(self) -> Iterator[Fact]:
        """What should not be there at all."""
        for first, second in overlaps(self.spec):
            yield Fact(IMAGE, Kind.MEMORY, f"at {second.paddr:#x}", f"'{first.name}' and '{second.name}' share it")
        for each in self.spec.objects:
            if each.kind not in KNOWN_OBJECTS:
                yield Fact(IMAGE, Kind.OTHER, f"'{each.name}'", f"an object of the kind {each.kind}")
            elif each.slots and each.id not in self.read:
                held = ", ".join(f"'{self.spec.objects[cap.object].name}'" for cap in each.slots.values())
                yield Fact(IMAGE, Kind.OTHER, f"'{each.name}'", f"{each.kind} that no thread has, with {held}")
            elif not each.fills <= KNOWN_FILLS:
                yield Fact(IMAGE, Kind.MEMORY, f"'{each.name}'", f"holds {', '.join(sorted(each.fills))} at boot")
        handlers = set(self.spec.irqs.values())
        for irq, handler in self.spec.irqs.items():
            if self.spec.objects[handler].kind != "ArmIrq" or handler not in self.read:
                yield Fact(IMAGE, Kind.IRQ, str(irq), f"'{self.spec.objects[handler].name}', which no thread handles")
        for each in self.spec.objects:
            if each.kind == "ArmIrq" and each.id not in handlers:
                yield Fact(IMAGE, Kind.IRQ, f"'{each.name}'", "no number")
        for name, value in self.spec.others.items():
            yield Fact(IMAGE, Kind.OTHER, name, str(value))


def mappings(spec: Specification) -> tuple[tuple[str, Stretch], ...]:
    """What of the memory regions each holder maps."""
    reading = Reading(spec)
    return tuple(
        (holder, each) for root, holder in reading.roots.items() for each in stretches(list(pages(spec, root)))
    )


def image_facts(spec: Specification) -> tuple[Fact, ...]:
    """All facts of an image, sorted; HostError when its objects do not fit together."""
    return tuple(sorted(Reading(spec).facts()))
