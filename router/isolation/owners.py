# SPDX-License-Identifier: BSD-2-Clause
"""Whose a kernel object is: derived from what threads are bound to, and from the capabilities that receive on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.errors import HostError
from router.isolation.facts import MONITOR, guest_label, vcpu_label
from router.microkit.capdl import Cap, KernelObject, Specification

# Slots of a thread that the initialiser binds (sel4-capdl-initializer-types, cap_table.rs).
CSPACE, VSPACE, BUFFER, FAULTS, SCHEDULING, NOTIFICATION, VCPU = 0, 1, 4, 5, 6, 8, 9
INPUT_SLOT, REPLY_SLOT, MONITOR_REPLY_SLOT = 1, 4, 2
"""Slots of a protection domain's table where it receives, and of the reply object (capdl/builder.rs)."""
UNOWNED = "no thread"


@dataclass(frozen=True)
class Thread:
    """A thread with the holder that it belongs to."""

    tcb: KernelObject
    holder: str
    """The protection domain, the guest, or the Monitor."""
    vcpu: str | None
    """The number of the virtual CPU, for a guest's."""

    @property
    def label(self) -> str:
        """The thread's own name: a guest has several."""
        return self.holder if self.vcpu is None else vcpu_label(self.holder.removeprefix("guest "), self.vcpu)


def threads(spec: Specification) -> tuple[Thread, ...]:
    """Every thread of the image; HostError for one whose name is not of the tool's form."""
    found = []
    for each in spec.objects:
        if each.kind != "Tcb":
            continue
        if not each.name.startswith("tcb_"):
            raise HostError(f"a thread of the image has the name '{each.name}', which Microkit does not give")
        name = each.name.removeprefix("tcb_")
        if VCPU in each.slots:
            guest, _, number = name.rpartition("_")
            found.append(Thread(each, guest_label(guest), number))
        else:
            found.append(Thread(each, MONITOR if name == "monitor" else name, None))
    return tuple(found)


def domain_table(spec: Specification, thread: Thread) -> KernelObject | None:
    """The table that a thread's program addresses: in slot 0 of a protection domain's root, else the root itself."""
    root = table_of(spec, thread.tcb.slots.get(CSPACE))
    if root is None or thread.vcpu is not None or thread.holder == MONITOR:
        return root
    return table_of(spec, root.slots.get(0))


def table_of(spec: Specification, cap: Cap | None) -> KernelObject | None:
    """The table of capabilities that `cap` names, if it names one."""
    return spec.objects[cap.object] if cap is not None and cap.kind == "CNode" else None


def claims(spec: Specification, thread: Thread) -> Iterator[tuple[int, str]]:
    """The objects that a thread makes somebody's by being bound to them."""
    slots = thread.tcb.slots
    yield thread.tcb.id, thread.label
    for slot in (SCHEDULING, NOTIFICATION, VCPU, BUFFER):
        if slot in slots:
            yield slots[slot].object, thread.label
    if VSPACE in slots:
        yield slots[VSPACE].object, thread.holder
    table = domain_table(spec, thread)
    for each in (table_of(spec, slots.get(CSPACE)), table):
        if each is not None:
            yield each.id, thread.label
    if table is None or thread.vcpu is not None:
        return
    reply = table.slots.get(MONITOR_REPLY_SLOT if thread.holder == MONITOR else REPLY_SLOT)
    for cap in (table.slots.get(INPUT_SLOT), reply):
        if cap is not None:
            yield cap.object, thread.label


def owners(spec: Specification) -> Mapping[int, str]:
    """The owner of each object by its index; several that claim it are all named."""
    found: dict[int, set[str]] = {}
    for thread in threads(spec):
        for index, label in claims(spec, thread):
            found.setdefault(index, set()).add(label)
    return {index: " and ".join(sorted(labels)) for index, labels in found.items()}
