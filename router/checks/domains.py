# SPDX-License-Identifier: BSD-2-Clause
"""Protection domains, virtual machines and channels: names, identifiers, priorities, stacks.

The limits are those of the Microkit manual.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from router.checks.model import Problem, View, guest_path, invariant
from router.plan.domains import LINE_PORTS, LINE_PORTS_OF_GUEST, MAX_GUESTS
from router.plan.models import PAGE, ProtectionDomain
from router.plan.names import IDLE
from router.words import quoted

MAX_PDS = 63
MAX_ID = 61
MAX_PRIORITY = 254
MAX_NAME = 64
STACK = (PAGE, 16 << 20)
MIN_GUEST_PRIORITY = 1
"""Of vCPUs whose guest owes time (`MIN_PRIORITY` of vmm/main.c)."""
DEFAULT_BUDGET = 1000
"""Microseconds, where a virtual machine names a period only."""
RESERVED_NAMES = ("monitor",)
"""The tool's own protection domain; refused from SDK 2.1.0 on, so never used."""


@invariant("names-unique", "no two regions or programs have one name, nor two domains, two guests, a domain and guest")
def names_unique(view: View) -> Iterator[Problem]:
    kinds = {
        "memory regions": [region.name for region in view.plan.regions],
        "protection domains": [pd.name for pd in view.plan.pds],
        "virtual machines": [pd.vm.name for pd in view.plan.pds if pd.vm is not None],
        "guests": [guest.name for guest in view.plan.guests],
        "programs": [pd.program for pd in view.plan.pds],
    }
    for kind, names in kinds.items():
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(f"{count} {kind} are named '{name}'")
    for guest in sorted(set(kinds["protection domains"]) & set(kinds["virtual machines"])):
        yield Problem(f"a protection domain and a virtual machine are named '{guest}'", guest_path(guest))


@invariant("names-legal", "names have 1 to 64 letters, digits, '_', '-' and '.', and none is Microkit's own")
def names_legal(view: View) -> Iterator[Problem]:
    for pd in view.plan.pds:
        subject = guest_path(pd.vm.name) if pd.vm is not None else None
        for kind, name in (("protection domain", pd.name), *([("virtual machine", pd.vm.name)] if pd.vm else [])):
            if name in RESERVED_NAMES:
                yield Problem(f"a {kind} is named '{name}', and Microkit keeps that name for itself", subject)
            elif not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or len(name) > MAX_NAME:
                yield Problem(
                    f"'{name}' is not a valid name for a {kind}: use 1 to {MAX_NAME} letters, digits, '_', '-', '.'",
                    subject,
                )
    for region in view.plan.regions:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", region.name) or len(region.name) > MAX_NAME:
            yield Problem(
                f"'{region.name}' is not a valid name for a memory region: use 1 to {MAX_NAME} letters, digits, '_',"
                " '-', '.'"
            )


@invariant("pd-count", f"there are at most {MAX_PDS} protection domains")
def pd_count(view: View) -> Iterator[Problem]:
    count = len(view.plan.pds)
    if count > MAX_PDS:
        yield Problem(
            f"{len(view.plan.guests)} guests need {count} protection domains, and Microkit has at most {MAX_PDS}",
            ("guests",),
            f"take {count - MAX_PDS} guests out",
        )


@invariant("line-ports", f"the serial line has keys for {MAX_GUESTS} guests and for the system's own messages")
def line_ports(view: View) -> Iterator[Problem]:
    count = len(view.plan.guests)
    if count > MAX_GUESTS:
        yield Problem(
            f"{count} guests and the system need {count * LINE_PORTS_OF_GUEST + 1} keys of the serial line,"
            f" which has {LINE_PORTS}",
            ("guests",),
            f"have at most {MAX_GUESTS} guests",
        )


@invariant("channel-ends", "every channel joins two protection domains that exist")
def channel_ends(view: View) -> Iterator[Problem]:
    for channel in view.plan.channels:
        for end in channel.ends:
            if end.pd not in view.pds:
                yield Problem(
                    f"an end of the channel for {channel.why} is '{end.pd}', and no protection domain is named so"
                )
        if channel.a.pd == channel.b.pd:
            yield Problem(f"both ends of the channel for {channel.why} are '{channel.a.pd}'")


def used_ids(view: View) -> dict[str, list[tuple[int, str]]]:
    """For each protection domain its channel identifiers, each with what it is for."""
    used: dict[str, list[tuple[int, str]]] = {pd.name: [] for pd in view.plan.pds}
    for channel in view.plan.channels:
        for end in channel.ends:
            used.setdefault(end.pd, []).append((end.id, f"the channel for {channel.why}"))
    for pd in view.plan.pds:
        used[pd.name] += [(irq.id, f"interrupt {irq.number}") for irq in pd.irqs]
    return used


@invariant("ids-in-range", f"identifiers of channels, interrupts and vCPUs are 0 to {MAX_ID}")
def ids_in_range(view: View) -> Iterator[Problem]:
    for name, ids in used_ids(view).items():
        pd = view.pds.get(name)
        subject = guest_path(pd.vm.name, "passthrough") if pd is not None and pd.vm is not None else ("guests",)
        for number, what in ids:
            if not 0 <= number <= MAX_ID:
                yield Problem(f"in '{name}' {what} has the identifier {number}; there are 0 to {MAX_ID}", subject)
    for space in view.spaces:
        for vcpu in space.vm.vcpus if space.vm is not None else ():
            if not 0 <= vcpu.id <= MAX_ID:
                yield Problem(f"a vCPU of {space} has the identifier {vcpu.id}; there are 0 to {MAX_ID}")


@invariant(
    "ids-unique", "no identifier of a protection domain's channels and interrupts, or of a guest's vCPUs, is used twice"
)
def ids_unique(view: View) -> Iterator[Problem]:
    for name, ids in used_ids(view).items():
        first: dict[int, str] = {}
        for number, what in ids:
            if number in first:
                yield Problem(f"in '{name}' the identifier {number} stands for {first[number]} and for {what}")
            first.setdefault(number, what)
    for space in view.spaces:
        for number, count in Counter(vcpu.id for vcpu in (space.vm.vcpus if space.vm is not None else ())).items():
            if count > 1:
                yield Problem(f"{count} vCPUs of {space} have the identifier {number}")


@invariant("vmms-apart", "no channel joins two VMMs: guests meet in the switch only", after=("channel-ends",))
def vmms_apart(view: View) -> Iterator[Problem]:
    for channel in view.plan.channels:
        ends = [view.pds[end.pd] for end in channel.ends]
        if all(pd.vm is not None for pd in ends):
            yield Problem(f"the channel for {channel.why} joins the VMMs {quoted(pd.name for pd in ends)}")


@invariant("priority-range", f"priorities are 0 to {MAX_PRIORITY}")
def priority_range(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        priority = space.vm.priority if space.vm is not None else space.pd.priority
        if not 0 <= priority <= MAX_PRIORITY:
            yield Problem(
                f"{space} has the priority {priority}; there are 0 to {MAX_PRIORITY}",
                guest_path(space.name, "priority") if space.vm is not None else None,
            )


@invariant("calls-upwards", "protected procedure calls go to strictly higher priorities only", after=("channel-ends",))
def calls_upwards(view: View) -> Iterator[Problem]:
    for channel in view.plan.channels:
        for caller, callee in (channel.ends, channel.ends[::-1]):
            low, high = view.pds[caller.pd].priority, view.pds[callee.pd].priority
            if caller.pp and low >= high:
                yield Problem(f"'{caller.pd}' (priority {low}) calls '{callee.pd}' (priority {high}) for {channel.why}")


def is_driver(pd: ProtectionDomain) -> bool:
    return pd.vm is None and bool(pd.irqs)


@invariant(
    "priority-order",
    "each guest's vCPUs are below its VMM, the VMMs below the switch, the switch below the drivers, idle below all",
    after=("priority-range",),
)
def priority_order(view: View) -> Iterator[Problem]:
    vmms = [pd for pd in view.plan.pds if pd.vm is not None]
    switches = [pd for pd in view.plan.pds if pd.name == "vswitch"]
    drivers = [pd for pd in view.plan.pds if is_driver(pd)]
    for pd in vmms:
        if pd.vm is not None and pd.vm.priority >= pd.priority:
            yield Problem(
                f"the vCPUs of '{pd.vm.name}' have the priority {pd.vm.priority}, and their VMM '{pd.name}' has"
                f" {pd.priority}: it could not stop them",
                guest_path(pd.vm.name, "priority"),
                f"write a priority below {pd.priority}",
            )
    for pd in view.plan.pds:
        if pd.name == IDLE and pd.priority >= MIN_GUEST_PRIORITY:
            yield Problem(f"'{IDLE}' has the priority {pd.priority}: it would run while a guest wants the processor")
    pairs = [(low, high) for low in vmms for high in switches]
    pairs += [(low, high) for low in switches or vmms for high in drivers]
    for low, high in pairs:
        if low.priority >= high.priority:
            yield Problem(
                f"'{low.name}' has the priority {low.priority}, which is not below {high.priority} of '{high.name}'"
            )


@invariant("budgets", "a guest's budget is above zero and at most its period")
def budgets(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        if space.vm is None or (space.vm.budget is None and space.vm.period is None):
            continue
        budget = DEFAULT_BUDGET if space.vm.budget is None else space.vm.budget
        period = budget if space.vm.period is None else space.vm.period
        if not 0 < budget <= period:
            given = "" if space.vm.budget is not None else " (Microkit's, since the description gives none)"
            yield Problem(
                f"the budget of '{space.name}' is {budget} us{given}, and its period {period} us",
                guest_path(space.name, "period" if space.vm.budget is None else "budget"),
                "write a budget that is at most the period",
            )


@invariant("stacks", "stacks are whole pages from 4 KiB to 16 MiB")
def stacks(view: View) -> Iterator[Problem]:
    for pd in view.plan.pds:
        if not STACK[0] <= pd.stack_size <= STACK[1] or pd.stack_size % PAGE:
            yield Problem(f"'{pd.name}' has a stack of {pd.stack_size:#x} bytes: whole pages from 4 KiB to 16 MiB")
