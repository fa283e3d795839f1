# SPDX-License-Identifier: BSD-2-Clause
"""Least privilege: who may read, write and execute what."""

from __future__ import annotations

from collections.abc import Iterator

from router.checks.model import Problem, Space, View, guest_path, invariant, region_subject, writes
from router.description.sdk_versions import oldest_with
from router.plan import names
from router.plan.models import MemoryRegion, RegionKind, VSwitchPlan
from router.words import quoted

LEGAL = ("r", "rw", "rx", "rwx")


def spaces_that_map(view: View, region: MemoryRegion) -> tuple[list[Space], list[Space], list[Space]]:
    """Who maps a region: the VMMs, the other protection domains, the virtual machines."""
    spaces = [space for space, _ in view.mapped.get(region.name, [])]
    return (
        [space for space in spaces if space.vm is None and space.pd.vm is not None],
        [space for space in spaces if space.vm is None and space.pd.vm is None],
        [space for space in spaces if space.vm is not None],
    )


@invariant("permissions", "permissions are r, rw, rx or rwx")
def permissions(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        for each in space.maps:
            if each.perms not in LEGAL:
                yield Problem(
                    f"{space} maps '{each.region}' with the permissions '{each.perms}'; there are {quoted(LEGAL)}"
                )


@invariant("write-xor-execute", "no protection domain executes mapped memory; a guest executes only its own RAM")
def write_xor_execute(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        for each in space.maps:
            region = view.regions.get(each.region)
            own = region is not None and region.kind is RegionKind.GUEST_RAM and space.vm is not None
            if "x" in each.perms and not own:
                yield Problem(f"{space} may execute '{each.region}' ({each.perms})")


@invariant("guests-share-nothing", "no memory that one guest can write is mapped into another guest")
def guests_share_nothing(view: View) -> Iterator[Problem]:
    for region in view.plan.regions:
        if region.name in view.shared_by_vms:
            continue
        inside = [(space, each) for space, each in view.mapped.get(region.name, []) if space.vm is not None]
        sharing = dict.fromkeys(space.name for space, _ in inside)
        if len(sharing) > 1 and any(writes(each) for _, each in inside):
            yield Problem(
                f"the guests {quoted(sharing)} share '{region.name}', which is writable", region_subject(region)
            )


@invariant(
    "guest-ram-private",
    "only a guest's own VMM and virtual machine map its RAM",
    after=("guests-share-nothing",),
)
def guest_ram_private(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.GUEST_RAM):
        for space, each in view.mapped.get(region.name, []):
            if space.pd.vm is None or space.pd.vm.name != region.owner:
                yield Problem(
                    f"{space} maps '{region.name}' ({each.perms}), the RAM of the guest '{region.owner}'",
                    guest_path(region.owner),
                )


@invariant(
    "queues-between-two",
    "a queue is mapped by exactly one VMM and one driver or the switch, and by no guest",
    after=("guests-share-nothing",),
)
def queues_between_two(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.QUEUE):
        vmms, others, vms = spaces_that_map(view, region)
        if len(vmms) != 1 or len(others) != 1 or vms:
            who = ", ".join(str(space) for space in (*vmms, *others, *vms)) or "no domain"
            yield Problem(
                f"the queue '{region.name}' is mapped by {who}: it belongs between one VMM and one other domain"
            )


@invariant("queues-of-own-guest", "a VMM maps no queue of another guest", after=("queues-between-two",))
def queues_of_own_guest(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.QUEUE):
        for space in spaces_that_map(view, region)[0]:
            if space.pd.vm is not None and space.pd.vm.name != region.owner:
                yield Problem(
                    f"{space} maps '{region.name}', a queue of the guest '{region.owner}'", guest_path(region.owner)
                )


@invariant("frames-one-writer", "frames are written by their sender's VMM alone")
def frames_one_writer(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.FRAMES):
        writers = [space for space, each in view.mapped.get(region.name, []) if writes(each)]
        right = [space for space in writers if space.vm is None and space.pd.vm and space.pd.vm.name == region.owner]
        if len(writers) != 1 or len(right) != 1:
            who = quoted(space.name for space in writers) or "no domain"
            yield Problem(
                f"'{region.name}' is written by {who}: only the VMM of '{region.owner}' may",
                guest_path(region.owner),
            )


@invariant(
    "counters-to-console",
    "the switch's counters are written by the switch alone and read by the console alone",
    after=("guests-share-nothing",),
)
def counters_to_console(view: View) -> Iterator[Problem]:
    allowed = {"vswitch": "rw", names.CONSOLE: "r"}
    for region in view.of_kind(RegionKind.COUNTERS):
        for space, each in view.mapped.get(region.name, []):
            if space.vm is not None or allowed.get(space.name) != each.perms:
                yield Problem(
                    f"{space} maps '{region.name}' ({each.perms}): the switch writes it and the console reads it"
                )


def may_hear(vswitch: VSwitchPlan) -> dict[str, set[str]]:
    """For each sender, the guests that some rule lets receive from it; answers flow back."""
    name = {port.index: port.guest for port in vswitch.ports}
    heard: dict[str, set[str]] = {}
    for rule in vswitch.rules:
        source, destination = name.get(rule.source), name.get(rule.destination)
        if source is not None and destination is not None:
            heard.setdefault(source, set()).add(destination)
            heard.setdefault(destination, set()).add(source)
    return heard


@invariant(
    "frames-need-to-know",
    "frames are read only by the switch and by VMMs of guests that may talk to the sender",
    after=("guests-share-nothing",),
)
def frames_need_to_know(view: View) -> Iterator[Problem]:
    heard = may_hear(view.plan.vswitch)
    for region in view.of_kind(RegionKind.FRAMES):
        allowed = heard.get(region.owner or "", set()) | {region.owner}
        for space, _ in view.mapped.get(region.name, []):
            stranger = space.pd.vm is not None and space.pd.vm.name not in allowed
            if space.vm is not None or stranger or (space.pd.vm is None and space.name != "vswitch"):
                yield Problem(
                    f"{space} can read '{region.name}', and no rule lets it hear from the guest '{region.owner}'",
                    ("network", "allow"),
                )


@invariant(
    "payloads-read-only",
    "a VMM only reads the images of its guest, and no guest maps them",
    after=("guests-share-nothing",),
)
def payloads_read_only(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.PAYLOAD):
        for space, each in view.mapped.get(region.name, []):
            if space.vm is not None:
                yield Problem(f"{space} maps '{region.name}', an image that the VMMs of other guests may read too")
            elif space.pd.vm is not None and writes(each):
                yield Problem(f"{space} can write '{region.name}' ({each.perms}), which it only loads from")


@invariant("payloads-filled", "every image is filled once, before any VMM reads it")
def payloads_filled(view: View) -> Iterator[Problem]:
    prefill = view.plan.version >= (2, 2)
    for region in view.of_kind(RegionKind.PAYLOAD):
        fillers = [space for space, each in view.mapped.get(region.name, []) if writes(each) and space.pd.vm is None]
        if region.payload is None:
            yield Problem(f"'{region.name}' is an image, and no file is named that fills it")
        elif prefill and fillers:
            yield Problem(f"'{region.name}' is filled at build time, and {fillers[0]} can write it")
        elif not prefill and len(fillers) != 1:
            who = quoted(space.name for space in fillers) or "no domain"
            yield Problem(f"SDK {view.plan.sdk} cannot fill '{region.name}' at build time, and {who} writes it")
        else:
            for reader in spaces_that_map(view, region)[0]:
                if fillers and reader.pd.priority >= fillers[0].pd.priority:
                    yield Problem(
                        f"{reader} (priority {reader.pd.priority}) may read '{region.name}' before {fillers[0]}"
                        f" (priority {fillers[0].pd.priority}) has filled it"
                    )
                    break
                if fillers and (reader.pd.cpu or 0) != (fillers[0].pd.cpu or 0):
                    yield Problem(
                        f"{reader} (core {reader.pd.cpu}) may read '{region.name}' before {fillers[0]} (core"
                        f" {fillers[0].pd.cpu or 0}) has filled it: priorities order one core only",
                        guest_path(reader.pd.vm.name if reader.pd.vm is not None else None, "cpu"),
                        f"use SDK {oldest_with('prefill')} or newer, or leave 'cpu' out",
                    )
                    break


@invariant(
    "switch-has-no-guest-memory",
    "the switch maps queues and its counters and reads frames: no guest RAM, device or image",
)
def switch_has_no_guest_memory(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        if space.vm is None and space.name == "vswitch":
            for each in space.maps:
                region = view.regions.get(each.region)
                if region is not None and region.kind not in (RegionKind.QUEUE, RegionKind.FRAMES, RegionKind.COUNTERS):
                    yield Problem(f"{space} maps '{region.name}' ({region.kind.value})")
