# SPDX-License-Identifier: BSD-2-Clause
"""A small system by hand: its description, and the capabilities that an image of it should have, in the tool's JSON.

A driver with registers and an interrupt, a monitor with a guest, and a domain that shares nothing and may call the
firmware. Numbers of slots and badges are written here once more: by the header microkit.h and the tool's sources.
"""

from __future__ import annotations

from typing import Any

from router.elf import Segment
from router.isolation import declared
from router.isolation.expected import expected_facts
from router.isolation.facts import MONITOR, Fact

Json = dict[str, Any]
PROGRAM = Segment(0x20_0000, bytes(0x1800), 0x1800, "rx")
DATA = Segment(0x20_2000, bytes(0x10), 0x20, "rw")
FILES = {"kernel.bin": 0x1234}

SYSTEM = """
<system>
  <memory_region name="ram" size="0x400000" page_size="0x200000" phys_addr="0x40000000" />
  <memory_region name="regs" size="0x1000" phys_addr="0x9000000" />
  <memory_region name="ring" size="0x2000" />
  <memory_region name="log" size="0x1000" />
  <memory_region name="kernel" prefill_path="kernel.bin" />
  <protection_domain name="driver" priority="200">
    <program_image path="driver.elf" />
    <map mr="regs" vaddr="0x1000000" perms="rw" cached="false" />
    <map mr="ring" vaddr="0x1100000" perms="rw" />
    <map mr="log" vaddr="0x1200000" perms="rw" />
    <irq irq="40" id="3" trigger="edge" />
  </protection_domain>
  <protection_domain name="vmm" priority="100" budget="500" period="2000">
    <program_image path="vmm.elf" />
    <map mr="ram" vaddr="0x40000000" perms="rw" />
    <map mr="ring" vaddr="0x1100000" perms="rw" />
    <map mr="log" vaddr="0x1200000" perms="r" />
    <map mr="kernel" vaddr="0x1300000" perms="r" />
    <virtual_machine name="linux" priority="50">
      <vcpu id="0" />
      <map mr="ram" vaddr="0x40000000" perms="rwx" />
    </virtual_machine>
  </protection_domain>
  <protection_domain name="spare" smc="true">
    <program_image path="spare.elf" />
  </protection_domain>
  <channel><end pd="vmm" id="1" pp="true" /><end pd="driver" id="2" notify="false" /></channel>
</system>
"""


def rights(letters: str) -> Json:
    """Rights of a capability: r, w and g(rant)."""
    return {"read": "r" in letters, "write": "w" in letters, "grant": "g" in letters, "grant_reply": False}


class Writer:
    """Writes objects as the tool does."""

    def __init__(self) -> None:
        self.objects: list[Json] = []
        self.irqs: list[Json] = []

    def add(self, name: str, made: Any) -> int:
        self.objects.append({"name": name, "object": made})
        return len(self.objects) - 1

    def frame(self, name: str, bits: int = 12, paddr: int | None = None) -> int:
        return self.add(f"frame_{name}", {"Frame": {"size_bits": bits, "paddr": paddr, "init": {"entries": []}}})

    def region(self, name: str, pages: int, bits: int = 12, paddr: int | None = None) -> list[int]:
        return [
            self.frame(f"mr_{name}_{n:09}", bits, None if paddr is None else paddr + (n << bits)) for n in range(pages)
        ]

    def table(self, name: str, level: int) -> int:
        fields = {"x86_ept": False, "is_root": level == 1, "level": level, "slots": []}
        return self.add(name, {"PageTable": fields})

    def slots(self, index: int) -> list[Json]:
        found: list[Json] = next(iter(self.objects[index]["object"].values()))["slots"]
        return found

    def put(self, index: int, slot: int, kind: str, target: int, **fields: Any) -> None:
        """A capability of that kind into a slot."""
        self.slots(index).append({"slot": slot, "cap": {kind: {"object": target, **fields}}})

    def map(self, root: int, frame: int, vaddr: int, letters: str, *, cached: bool = True) -> None:
        """A frame into an address space whose root is of level 1."""
        bits = self.objects[frame]["object"]["Frame"]["size_bits"]
        table, last = root, 2 if bits == 21 else 3
        for level in range(1, last):
            slot = vaddr >> (12 + 9 * (3 - level)) & 511
            below = next((each["cap"] for each in self.slots(table) if each["slot"] == slot), None)
            if below is None:
                child = self.table(f"{self.objects[root]['name']}_{level + 1}_{vaddr:#x}", level + 1)
                self.put(table, slot, "PageTable", child)
                table = child
            else:
                table = below["PageTable"]["object"]
        slot = vaddr >> (12 + 9 * (3 - last)) & 511
        self.put(table, slot, "Frame", frame, rights=rights(letters), cached=cached, executable="x" in letters)

    def domain(self, name: str, priority: int, stack: int, times: tuple[int, int], *, vm: bool = False) -> int:
        """A thread with its scheduling context and address space; the program, stack and message buffer of a domain."""
        extra: Json = {
            "ipc_buffer_addr": 0 if vm else 0xFFF000,
            "affinity": 0,
            "prio": priority,
            "max_prio": priority,
            "resume": not vm,
            "fpu_disabled": False,
            "ip": 0,
            "sp": 0 if vm else 0xFFE000,
            "gprs": [],
            "master_fault_ep": None,
            "domain": None,
        }
        tcb = self.add(f"tcb_{name}", {"Tcb": {"slots": [], "extra": extra}})
        budget, period = times
        timing = {"size_bits": 8, "extra": {"period": period, "budget": budget, "badge": 0}}
        self.put(tcb, 6, "SchedContext", self.add(f"sched_context_{name}", {"SchedContext": timing}))
        buffer = self.frame(f"ipcbuf_{name}")
        self.put(tcb, 4, "Frame", buffer, rights=rights("rw"), cached=True, executable=False)
        space = self.table(f"pud_{name}", 1)
        self.put(tcb, 1, "PageTable", space)
        if not vm:
            for n, (vaddr, letters) in enumerate(((0x20_0000, "rx"), (0x20_1000, "rx"), (0x20_2000, "rw"))):
                self.map(space, self.frame(f"elf_{name}_{n:09}"), vaddr, letters)
            for n in range(stack // 4096):
                self.map(space, self.frame(f"{name}_stack_{n:09}"), 0xFFE000 - stack + n * 4096, "rw")
            self.map(space, buffer, 0xFFF000, "rw")
        return tcb

    def cspace(self, tcb: int, name: str, *, nested: bool) -> int:
        """A thread's table of capabilities, behind a root with one slot for protection domains."""
        table = self.add(f"cnode_{name}", {"CNode": {"size_bits": 9, "slots": []}})
        root = table
        if nested:
            root = self.add(f"cnode_{name}_root", {"CNode": {"size_bits": 6, "slots": []}})
            self.put(root, 0, "CNode", table, guard=0, guard_size=49)
        self.put(tcb, 0, "CNode", root, guard=0, guard_size=0)
        return table

    def bound(self, tcb: int, slot: int) -> int:
        """The object in a slot of a thread."""
        cap = next(each["cap"] for each in self.slots(tcb) if each["slot"] == slot)
        found: int = next(iter(cap.values()))["object"]
        return found


def write() -> Json:
    """The capabilities of the small system, as the tool writes them."""
    w = Writer()
    ram, regs = w.region("ram", 2, 21, 0x4000_0000), w.region("regs", 1, 12, 0x900_0000)
    ring, log, kernel = w.region("ring", 2), w.region("log", 1), w.region("kernel", 2)
    monitor = w.domain("monitor", 255, 0x1000, (1000, 1000))
    table = w.cspace(monitor, "monitor", nested=False)
    faults = w.add("ep_fault_monitor", "Endpoint")
    w.put(table, 1, "Endpoint", faults, badge=0, rights=rights("rwg"))
    w.put(table, 2, "Reply", w.add("reply_monitor", "Reply"))
    parts: dict[str, tuple[int, int, int, int]] = {}
    for n, (name, priority, times, endpoint) in enumerate(
        (("driver", 200, (1000, 1000), True), ("vmm", 100, (500, 2000), True), ("spare", 0, (1000, 1000), False))
    ):
        tcb = w.domain(name, priority, 0x2000, times)
        mine = w.cspace(tcb, name, nested=True)
        signal = w.add(f"ntfn_{name}", "Notification")
        w.put(tcb, 8, "Notification", signal, badge=0, rights=rights("rw"))
        w.put(tcb, 5, "Endpoint", faults, badge=n + 1, rights=rights("rwg"))
        messages = w.add(f"ep_{name}", "Endpoint") if endpoint else signal
        if endpoint:
            w.put(mine, 1, "Endpoint", messages, badge=0, rights=rights("rwg"))
        else:
            w.put(mine, 1, "Notification", signal, badge=0, rights=rights("rw"))
        w.put(mine, 2, "Endpoint", faults, badge=n + 1, rights=rights("rwg"))
        w.put(mine, 3, "PageTable", w.bound(tcb, 1))
        w.put(mine, 4, "Reply", w.add(f"reply_{name}", "Reply"))
        w.put(table, 10 + n, "Tcb", tcb)
        parts[name] = (w.bound(tcb, 1), mine, signal, messages)
    driver, vmm = parts["driver"], parts["vmm"]
    for n, frame in enumerate(ring):
        w.map(driver[0], frame, 0x110_0000 + n * 0x1000, "rw")
        w.map(vmm[0], frame, 0x110_0000 + n * 0x1000, "rw")
    w.map(driver[0], regs[0], 0x100_0000, "rw", cached=False)
    w.map(driver[0], log[0], 0x120_0000, "rw")
    w.map(vmm[0], log[0], 0x120_0000, "r")
    for n, frame in enumerate(kernel):
        w.map(vmm[0], frame, 0x130_0000 + n * 0x1000, "r")
    guest = w.domain("linux_0", 50, 0, (1000, 1000), vm=True)
    w.cspace(guest, "linux_0", nested=False)
    w.put(guest, 5, "Endpoint", vmm[3], badge=1 << 62, rights=rights("rwg"))
    w.put(guest, 9, "VCpu", w.add("vcpu_linux_0", "VCpu"))
    for n, frame in enumerate(ram):
        w.map(vmm[0], frame, 0x4000_0000 + n * 0x20_0000, "rw")
        w.map(w.bound(guest, 1), frame, 0x4000_0000 + n * 0x20_0000, "rwx")
    w.put(vmm[1], 266, "Tcb", guest)
    w.put(vmm[1], 330, "VCpu", w.bound(guest, 9))
    w.put(table, 74, "Tcb", guest)
    w.put(vmm[1], 10 + 1, "Notification", driver[2], badge=1 << 2, rights=rights("rw"))
    w.put(vmm[1], 74 + 1, "Endpoint", driver[3], badge=1 << 63 | 2, rights=rights("rwg"))
    irq = w.add("irq_40_driver", {"ArmIrq": {"slots": [], "extra": {"trigger": 1, "target": 0}}})
    w.put(irq, 0, "Notification", driver[2], badge=1 << 3, rights=rights("rw"))
    w.put(driver[1], 138 + 3, "ArmIrqHandler", irq)
    w.irqs.append({"irq": 40, "handler": irq})
    w.put(parts["spare"][1], 7, "ArmSmc", w.add("arm_smc", "ArmSmc"))
    return {
        "objects": w.objects,
        "irqs": w.irqs,
        "asid_slots": [],
        "untyped_covers": [],
        "root_objects": {"start": 0, "end": len(w.objects)},
        "cached_orig_cap_slots": None,
        "log_level": None,
        "domain_schedule": None,
        "domain_set_start": None,
        "domain_idx_shift": None,
    }


def wanted(text: str = SYSTEM) -> tuple[Fact, ...]:
    """The facts that follow from a description of the small system."""
    said = declared.of_text(text, FILES.__getitem__)
    programs = dict.fromkeys((MONITOR, *(pd.name for pd in said.pds)), (PROGRAM, DATA))
    return expected_facts(said, programs, benchmark=False)
