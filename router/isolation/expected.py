# SPDX-License-Identifier: BSD-2-Clause
"""The facts that follow from what a system says about itself: what Microkit 2.3.0 should give, and nothing more.

Source: seL4/microkit 2.3.0, tool/microkit/src/capdl/builder.rs. Every capability that the tool makes stands here once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from router.elf import Segment
from router.isolation.declared import Declared
from router.isolation.facts import (
    CALL_BADGE,
    FAULT_BADGE,
    MONITOR,
    Fact,
    Kind,
    bound_text,
    guest_label,
    irq_text,
    memory_text,
    message_text,
    object_text,
    own_text,
    pages_of,
    runs,
    thread_text,
    vcpu_label,
)
from router.isolation.owners import CSPACE, NOTIFICATION, SCHEDULING, VCPU, VSPACE
from router.plan.models import PAGE, End, Map, ProtectionDomain, VirtualMachine

BUDGET_US = 1000
"""Budget and period where a description says none (Microkit manual, protection_domain)."""
MONITOR_PRIORITY = 255
MONITOR_STACK = PAGE
SIGNAL_RIGHTS = ("read", "write")
MESSAGE_RIGHTS = ("read", "write", "grant")
"""The tool gives every endpoint and notification capability all rights, whichever way the messages go."""


def expected_facts(declared: Declared, programs: Mapping[str, Sequence[Segment]], benchmark: bool) -> tuple[Fact, ...]:
    """All facts of a system that is as it says, sorted.

    programs: the segments of each domain's program by the domain's name, and of the Monitor's by `MONITOR`.
    benchmark: whether domains hold their own threads, as they do with the configuration of that name.
    """
    found = list(monitor_facts(declared, programs[MONITOR]))
    called = {end.pd for each in declared.channels for end, caller in both_ways(each.ends) if caller.pp}
    for number, pd in enumerate(declared.pds):
        found += domain_facts(pd, number, pd.vm is not None or pd.name in called, programs[pd.name], benchmark)
        found += region_facts(declared, pd.name, pd.maps)
        if pd.vm is not None:
            found += guest_facts(pd, pd.vm)
            found += region_facts(declared, guest_label(pd.vm.name), pd.vm.maps)
    for channel in declared.channels:
        for there, here in both_ways(channel.ends):
            found += end_facts(here, there)
    return tuple(sorted(found))


def both_ways(ends: tuple[End, End]) -> Iterator[tuple[End, End]]:
    """Each end of a channel with the other one."""
    a, b = ends
    yield a, b
    yield b, a


def monitor_facts(declared: Declared, program: Sequence[Segment]) -> Iterator[Fact]:
    """Microkit's Monitor: it takes faults, and holds the threads of all, in debug kernels to name them."""
    yield Fact(
        MONITOR,
        Kind.THREAD,
        "",
        thread_text((MONITOR_PRIORITY, MONITOR_PRIORITY), 0, BUDGET_US, BUDGET_US, True, True, 0),
    )
    yield Fact(MONITOR, Kind.BOUND, "", bound_text((CSPACE, VSPACE, SCHEDULING)))
    yield Fact(MONITOR, Kind.INPUT, "", message_text("endpoint", MONITOR, MONITOR, 0, MESSAGE_RIGHTS))
    yield Fact(MONITOR, Kind.REPLY, "", object_text("reply object", MONITOR, MONITOR))
    yield from program_facts(MONITOR, program, MONITOR_STACK)
    for pd in declared.pds:
        labels = [pd.name] + ([vcpu_label(pd.vm.name, each.id) for each in pd.vm.vcpus] if pd.vm else [])
        for label in labels:
            yield Fact(MONITOR, Kind.THREAD_CAP, f"of {label}", object_text("thread", label, MONITOR))


def program_facts(holder: str, program: Sequence[Segment], stack: int) -> Iterator[Fact]:
    """The memory that a domain has alone: its program, its stack and its message buffer."""
    pages = [(page, PAGE, each.rights) for each in program for page in pages_of(each.address, each.memory_size)]
    for vaddr, size, rights in runs(pages):
        yield Fact(holder, Kind.OWN, f"program at {vaddr:#x}", own_text(rights, size))
    yield Fact(holder, Kind.OWN, "stack", own_text("rw", stack))
    yield Fact(holder, Kind.OWN, "message buffer", f"{own_text('rw', PAGE)}, mapped by itself alone")


def times(budget: int | None, period: int | None) -> tuple[int, int]:
    """Budget and period with Microkit's defaults."""
    given = BUDGET_US if budget is None else budget
    return given, given if period is None else period


def domain_facts(
    pd: ProtectionDomain, number: int, endpoint: bool, program: Sequence[Segment], benchmark: bool
) -> Iterator[Fact]:
    """What a domain holds apart from regions and channels. number: its place among all domains."""
    name, core = pd.name, pd.cpu or 0
    priorities = (pd.priority, pd.priority)
    yield Fact(name, Kind.THREAD, "", thread_text(priorities, core, *times(pd.budget, pd.period), True, True, 0))
    yield Fact(name, Kind.BOUND, "", bound_text((CSPACE, VSPACE, SCHEDULING, NOTIFICATION)))
    faults = message_text("endpoint", MONITOR, name, number + 1, MESSAGE_RIGHTS)
    yield Fact(name, Kind.FAULTS, "", faults)
    yield Fact(name, Kind.FAULTS, "(also as a capability)", faults)
    kind, rights = ("endpoint", MESSAGE_RIGHTS) if endpoint else ("notification", SIGNAL_RIGHTS)
    yield Fact(name, Kind.INPUT, "", message_text(kind, name, name, 0, rights))
    yield Fact(name, Kind.SPACE, "", object_text("address space", name, name))
    yield Fact(name, Kind.REPLY, "", object_text("reply object", name, name))
    if benchmark:
        yield Fact(name, Kind.THREAD_CAP, "of itself", object_text("thread", name, name))
    if pd.smc:
        yield Fact(name, Kind.SMC, "", "every call")
    for irq in pd.irqs:
        yield Fact(name, Kind.IRQ, f"channel {irq.id}", irq_text(irq.number, irq.edge, core, 1 << irq.id))
    yield from program_facts(name, program, pd.stack_size)


def guest_facts(pd: ProtectionDomain, vm: VirtualMachine) -> Iterator[Fact]:
    """A guest holds no capability: its vCPUs fault to its monitor, which holds them and their threads."""
    holder = guest_label(vm.name)
    for vcpu in vm.vcpus:
        label, name = vcpu_label(vm.name, vcpu.id), f"vCPU {vcpu.id}"
        core = vcpu.cpu if vcpu.cpu is not None else pd.cpu or 0
        priorities = (vm.priority, vm.priority)
        how = thread_text(priorities, core, *times(vm.budget, vm.period), False, True, 0)
        yield Fact(holder, Kind.THREAD, name, how)
        yield Fact(holder, Kind.BOUND, name, bound_text((CSPACE, VSPACE, SCHEDULING, VCPU)))
        badge = FAULT_BADGE | vcpu.id
        yield Fact(holder, Kind.FAULTS, name, message_text("endpoint", pd.name, label, badge, MESSAGE_RIGHTS))
        yield Fact(holder, Kind.OWN, f"message buffer {name}", f"{own_text('rw', PAGE)}, mapped nowhere")
        yield Fact(pd.name, Kind.VCPU, str(vcpu.id), object_text("vCPU", label, pd.name))
        yield Fact(pd.name, Kind.VCPU_THREAD, str(vcpu.id), object_text("thread", label, pd.name))


def region_facts(declared: Declared, holder: str, maps: Sequence[Map]) -> Iterator[Fact]:
    """What of the regions an address space shows."""
    for each in maps:
        region = declared.region(each.region)
        if region is None:
            continue  # A map of nothing gives nothing; the tool refuses it.
        rights = "".join(right for right in "rwx" if right in each.perms)
        how = memory_text(rights, each.cached, region.size, each.vaddr, region.phys_addr)
        yield Fact(holder, Kind.MEMORY, region.name, how)


def end_facts(here: End, there: End) -> Iterator[Fact]:
    """What one end of a channel may do to the other."""
    name = f"channel {here.id}"
    if here.notify:
        how = message_text("notification", there.pd, here.pd, 1 << there.id, SIGNAL_RIGHTS)
        yield Fact(here.pd, Kind.NOTIFY, name, how)
    if here.pp:
        how = message_text("endpoint", there.pd, here.pd, CALL_BADGE | there.id, MESSAGE_RIGHTS)
        yield Fact(here.pd, Kind.CALL, name, how)
