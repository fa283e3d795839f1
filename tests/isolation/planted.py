# SPDX-License-Identifier: BSD-2-Clause
"""Faults for a capability specification in the tool's JSON, each a way in which an image could give too much.

Every fault works on any system with a guest whose monitor talks to another domain: on the small one written by hand,
and on what the real tool makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Plant = Callable[[Json], None]


def fields(entry: Json) -> Json:
    """What an object of the list has."""
    found: Json = next(iter(entry["object"].values()))
    return found


def kind(entry: Json) -> str:
    """The kind of an object of the list."""
    made = entry["object"]
    return made if isinstance(made, str) else next(iter(made))


def find(spec: Json, name: str) -> int:
    """The index of the object of that name."""
    return next(n for n, each in enumerate(spec["objects"]) if each["name"] == name)


def bound(spec: Json, tcb: int, slot: int) -> int:
    """The object that a thread has in a slot."""
    cap = next(each["cap"] for each in fields(spec["objects"][tcb])["slots"] if each["slot"] == slot)
    found: int = next(iter(cap.values()))["object"]
    return found


def guest(spec: Json) -> int:
    """A virtual CPU's thread."""
    return next(
        n
        for n, each in enumerate(spec["objects"])
        if kind(each) == "Tcb" and any("VCpu" in slot["cap"] for slot in fields(each)["slots"])
    )


def monitor(spec: Json) -> str:
    """The name of the domain that has that virtual CPU: the one that its faults go to."""
    name: str = spec["objects"][bound(spec, guest(spec), 5)]["name"]
    return name.removeprefix("ep_")


def table(spec: Json) -> list[Json]:
    """The capabilities of that domain."""
    found: list[Json] = fields(spec["objects"][find(spec, f"cnode_{monitor(spec)}")])["slots"]
    return found


def give(spec: Json, slot: int, kind_: str, target: int, **more: Any) -> None:
    """A capability too many for the monitor."""
    table(spec).append({"slot": slot, "cap": {kind_: {"object": target, **more}}})


def add(spec: Json, name: str, made: Any) -> int:
    """An object too many."""
    spec["objects"].append({"name": name, "object": made})
    spec["root_objects"]["end"] += 1
    return len(spec["objects"]) - 1


def rights(letters: str) -> Json:
    return {"read": "r" in letters, "write": "w" in letters, "grant": "g" in letters, "grant_reply": False}


def mappings(spec: Json, root: int) -> list[tuple[list[Json], Json]]:
    """The frames of an address space: the table that each is in, and its entry."""
    found = []
    for each in fields(spec["objects"][root])["slots"]:
        if "PageTable" in each["cap"]:
            found += mappings(spec, each["cap"]["PageTable"]["object"])
        else:
            found.append((fields(spec["objects"][root])["slots"], each))
    return found


def space(spec: Json) -> int:
    """The monitor's address space."""
    return bound(spec, find(spec, f"tcb_{monitor(spec)}"), 1)


def shared(spec: Json, *, write: bool) -> Json:
    """A mapping of a region's page in the monitor's address space."""
    return next(
        each["cap"]["Frame"]
        for _, each in mappings(spec, space(spec))
        if each["cap"]["Frame"]["rights"]["write"] == write
        and spec["objects"][each["cap"]["Frame"]["object"]]["name"].startswith("frame_mr_")
    )


def a_page_of_another_program(spec: Json) -> None:
    """The monitor maps the Monitor's first page."""
    victim = find(spec, "frame_elf_monitor_000000000")
    slots = next(
        slots
        for slots, each in mappings(spec, space(spec))
        if fields(spec["objects"][each["cap"]["Frame"]["object"]])["size_bits"] == 12
    )
    cap = {"object": victim, "rights": rights("r"), "cached": True, "executable": False}
    used = {each["slot"] for each in slots}
    slots.append({"slot": next(n for n in range(512) if n not in used), "cap": {"Frame": cap}})


def a_page_of_a_region_in_a_guest(spec: Json) -> None:
    """The guest maps one more page: of the registers or the memory that its address space has in another place."""
    tables = mappings(spec, bound(spec, guest(spec), 1))
    slots, entry = tables[0]
    used = {each["slot"] for each in slots}
    slots.append({"slot": next(n for n in range(512) if n not in used), "cap": entry["cap"]})


def a_write_right(spec: Json) -> None:
    """The monitor may write what it should read."""
    shared(spec, write=False)["rights"]["write"] = True


def an_execute_right(spec: Json) -> None:
    shared(spec, write=True)["executable"] = True


def a_cached_mapping(spec: Json) -> None:
    """A mapping is cached where it should not be, or the other way round."""
    cap = shared(spec, write=True)
    cap["cached"] = not cap["cached"]


def another_physical_address(spec: Json) -> None:
    """The guest's memory lies elsewhere, where nothing else is."""
    frame = fields(spec["objects"][mappings(spec, bound(spec, guest(spec), 1))[0][1]["cap"]["Frame"]["object"]])
    frame["paddr"] = 0x8_0000_0000


def the_same_memory_twice(spec: Json) -> None:
    """Two frames at one physical address."""
    entry = next(each for each in spec["objects"] if kind(each) == "Frame" and fields(each)["paddr"] is not None)
    add(spec, "frame_again", {"Frame": {**fields(entry), "init": {"entries": []}}})


def an_endpoint(spec: Json) -> None:
    """The monitor may send to itself under the badge of a guest's fault."""
    give(spec, 130, "Endpoint", bound(spec, guest(spec), 5), badge=1 << 62, rights=rights("w"))


def the_faults_of_all(spec: Json) -> None:
    """The monitor may take what the Monitor should get."""
    give(spec, 131, "Endpoint", find(spec, "ep_fault_monitor"), badge=0, rights=rights("rwg"))


def another_badge(spec: Json) -> None:
    """A notification arrives as another channel's."""
    next(each["cap"]["Notification"] for each in table(spec) if "Notification" in each["cap"])["badge"] <<= 1


def a_notification(spec: Json) -> None:
    own = bound(spec, find(spec, f"tcb_{monitor(spec)}"), 8)
    give(spec, 70, "Notification", own, badge=1, rights=rights("w"))


def a_grant_right(spec: Json) -> None:
    """A notification capability with grant."""
    cap = next(each["cap"]["Notification"] for each in table(spec) if "Notification" in each["cap"])
    cap["rights"]["grant"] = True


def an_interrupt(spec: Json) -> None:
    """The monitor handles one more interrupt."""
    own = bound(spec, find(spec, f"tcb_{monitor(spec)}"), 8)
    cap = {"Notification": {"object": own, "badge": 1 << 60, "rights": rights("rw")}}
    made = add(
        spec, "irq_99_more", {"ArmIrq": {"slots": [{"slot": 0, "cap": cap}], "extra": {"trigger": 0, "target": 0}}}
    )
    spec["irqs"].append({"irq": 99, "handler": made})
    give(spec, 138 + 60, "ArmIrqHandler", made)


def an_interrupt_without_a_handler(spec: Json) -> None:
    own = bound(spec, find(spec, f"tcb_{monitor(spec)}"), 8)
    cap = {"Notification": {"object": own, "badge": 1 << 60, "rights": rights("rw")}}
    made = add(
        spec, "irq_99_more", {"ArmIrq": {"slots": [{"slot": 0, "cap": cap}], "extra": {"trigger": 0, "target": 0}}}
    )
    spec["irqs"].append({"irq": 99, "handler": made})


def another_interrupt(spec: Json) -> None:
    spec["irqs"][0]["irq"] += 1


def another_trigger(spec: Json) -> None:
    extra = fields(next(each for each in spec["objects"] if kind(each) == "ArmIrq"))["extra"]
    extra["trigger"] = 1 - extra["trigger"]


def smc(spec: Json) -> None:
    """The monitor may call the firmware."""
    found = [n for n, each in enumerate(spec["objects"]) if kind(each) == "ArmSmc"]
    give(spec, 7, "ArmSmc", found[0] if found else add(spec, "arm_smc", "ArmSmc"))


def a_thread(spec: Json) -> None:
    """The monitor may stop the Monitor."""
    give(spec, 202, "Tcb", find(spec, "tcb_monitor"))


def a_thread_twice(spec: Json) -> None:
    """The Monitor holds a thread in one more slot."""
    slots = fields(spec["objects"][find(spec, "cnode_monitor")])["slots"]
    slots.append({"slot": 137, "cap": {"Tcb": {"object": find(spec, f"tcb_{monitor(spec)}")}}})


def a_table(spec: Json) -> None:
    """The monitor may change the Monitor's capabilities."""
    give(spec, 400, "CNode", find(spec, "cnode_monitor"), guard=0, guard_size=0)


def a_table_in_the_root(spec: Json) -> None:
    root = fields(spec["objects"][find(spec, f"cnode_{monitor(spec)}_root")])["slots"]
    cap = {"CNode": {"object": find(spec, "cnode_monitor"), "guard": 0, "guard_size": 0}}
    root.append({"slot": 1, "cap": cap})


def an_address_space(spec: Json) -> None:
    """The monitor may change the Monitor's mappings."""
    give(spec, 401, "PageTable", bound(spec, find(spec, "tcb_monitor"), 1))


def another_address_space(spec: Json) -> None:
    """The monitor's own address space is the guest's."""
    mine = next(each["cap"]["PageTable"] for each in table(spec) if each["slot"] == 3)
    mine["object"] = bound(spec, guest(spec), 1)


def a_shared_table(spec: Json) -> None:
    """The guest names capabilities through its monitor's table."""
    cap = next(each["cap"] for each in fields(spec["objects"][guest(spec)])["slots"] if each["slot"] == 0)
    cap["CNode"]["object"] = find(spec, f"cnode_{monitor(spec)}")


def a_capability_of_a_guest(spec: Json) -> None:
    own = fields(spec["objects"][bound(spec, guest(spec), 0)])["slots"]
    target = bound(spec, find(spec, f"tcb_{monitor(spec)}"), 8)
    own.append({"slot": 5, "cap": {"Notification": {"object": target, "badge": 0, "rights": rights("w")}}})


def a_scheduling_context(spec: Json) -> None:
    give(spec, 402, "SchedContext", bound(spec, find(spec, "tcb_monitor"), 6))


def more_time(spec: Json) -> None:
    fields(spec["objects"][bound(spec, guest(spec), 6)])["extra"]["budget"] += 1


def a_higher_priority(spec: Json) -> None:
    fields(spec["objects"][guest(spec)])["extra"]["max_prio"] = 255


def a_guest_that_starts_alone(spec: Json) -> None:
    fields(spec["objects"][guest(spec)])["extra"]["resume"] = True


def faults_to_another(spec: Json) -> None:
    """The guest's faults go to the Monitor."""
    cap = next(each["cap"] for each in fields(spec["objects"][guest(spec)])["slots"] if each["slot"] == 5)
    cap["Endpoint"]["object"] = find(spec, "ep_fault_monitor")


def a_buffer_of_another(spec: Json) -> None:
    """The guest's messages lie in its monitor's memory."""
    cap = next(each["cap"] for each in fields(spec["objects"][guest(spec)])["slots"] if each["slot"] == 4)
    cap["Frame"]["object"] = find(spec, f"frame_ipcbuf_{monitor(spec)}")


def a_vcpu(spec: Json) -> None:
    """The monitor holds a virtual CPU of no guest."""
    give(spec, 330 + 7, "VCpu", add(spec, "vcpu_more", "VCpu"))


def untyped_memory(spec: Json) -> None:
    made = add(spec, "untyped", {"Untyped": {"size_bits": 20, "paddr": None}})
    give(spec, 403, "Untyped", made)


def an_asid_pool(spec: Json) -> None:
    spec["asid_slots"].append(0)


def boot_information(spec: Json) -> None:
    """A page is filled with what the kernel tells the first program."""
    frame = fields(spec["objects"][shared(spec, write=True)["object"]])
    content = {"BootInfo": {"id": "Fdt", "offset": 0}}
    frame["init"]["entries"].append({"range": {"start": 0, "end": 4096}, "content": content})


def a_table_that_no_thread_has(spec: Json) -> None:
    cap = {"Tcb": {"object": find(spec, "tcb_monitor")}}
    add(spec, "cnode_more", {"CNode": {"size_bits": 9, "slots": [{"slot": 0, "cap": cap}]}})


def a_page_too_few(spec: Json) -> None:
    slots, entry = mappings(spec, bound(spec, guest(spec), 1))[-1]
    slots.remove(entry)


def pages_in_another_order(spec: Json) -> None:
    """Two pages of the guest's memory have changed places."""
    pages = [
        each["cap"]["Frame"]
        for _, each in mappings(spec, bound(spec, guest(spec), 1))
        if spec["objects"][each["cap"]["Frame"]["object"]]["name"].endswith(("_ram_000000000", "ram_000000001"))
    ]
    pages[0]["object"], pages[1]["object"] = pages[1]["object"], pages[0]["object"]


FAULTS: dict[str, Plant] = {
    each.__name__.replace("_", " "): each
    for each in (
        *(a_page_of_another_program, a_page_of_a_region_in_a_guest, a_write_right, an_execute_right, a_cached_mapping),
        *(another_physical_address, the_same_memory_twice, an_endpoint, the_faults_of_all, another_badge),
        *(a_notification, a_grant_right, an_interrupt, an_interrupt_without_a_handler, another_interrupt),
        *(another_trigger, smc, a_thread, a_thread_twice, a_table, a_table_in_the_root, an_address_space),
        *(another_address_space, a_shared_table, a_capability_of_a_guest, a_scheduling_context, more_time),
        *(a_higher_priority, a_guest_that_starts_alone, faults_to_another, a_buffer_of_another, a_vcpu),
        *(untyped_memory, an_asid_pool, boot_information, a_table_that_no_thread_has, a_page_too_few),
        pages_in_another_order,
    )
}
"""By their names in words."""
