# SPDX-License-Identifier: BSD-2-Clause
"""The system description file (`.system`) of a plan: one renderer for all SDK versions, through one template.

A version gets the attributes that its manual lists and no other; numbers that the tool reads as decimal only
(interrupts, identifiers) are written as decimal. Regions that the tool fills from a file get no size: it takes the
file's, and stops with a panic at a region that is longer than its file by a page. The same plan gives the same bytes.
"""

from __future__ import annotations

from router.description.sdk_versions import SdkFeatures, sdk_features
from router.plan.models import PAGE, MemoryRegion, ProtectionDomain, RegionKind, SystemPlan
from router.templates import template

SECTIONS = (
    (RegionKind.GUEST_RAM, "RAM of the guests, at the same guest-physical and physical address"),
    (RegionKind.DEVICE, "Registers: each is mapped by one guest or one driver"),
    (RegionKind.QUEUE, "Queues between a VMM and the switch, or a VMM and the console"),
    (RegionKind.FRAMES, "Frames: the sender's VMM writes, the switch and the allowed receivers read"),
    (RegionKind.COUNTERS, "Counters: the switch writes, the console reads, and no guest nor VMM has them"),
    (RegionKind.PAYLOAD, "Images of the guests: read only for their VMMs, and in no guest's address space"),
)
ROLES = {
    "timer": "wakes VMMs at their guests' deadlines",
    "ticker": "has the timer look after its alarm, which guests' kernels reach on this board",
    "console": "shares the serial port between the guests",
    "bringup": "says what it hears on the serial port, and counts ticks where there is a timer",
    "vswitch": "the virtual Ethernet: lets the allowed conversations through and nothing else",
    "idle": "tells the switch that no guest wants the processor, so that debts of frames need not be paid",
    "images": "fills the image regions before any VMM runs, which this SDK version cannot do at build time",
}


def role(pd: ProtectionDomain) -> str:
    """What a protection domain is for, in a line."""
    if pd.vm is not None:
        return f"VMM of the guest '{pd.vm.name}'"
    return ROLES.get(pd.name, "")


def sections(plan: SystemPlan) -> list[tuple[str, list[MemoryRegion]]]:
    """The memory regions under a heading for each kind, in the plan's order."""
    found = [(title, [region for region in plan.regions if region.kind is kind]) for kind, title in SECTIONS]
    return [(title, regions) for title, regions in found if regions]


def render_system(plan: SystemPlan) -> str:
    """The `.system` text of the plan for the SDK version that it is made for."""
    features: SdkFeatures = sdk_features(plan.sdk)
    return template("router.microkit", "system.xml.j2").render(
        plan=plan,
        sections=sections(plan),
        role=role,
        page=PAGE,
        prefill=features.prefill,
        smc=features.smc,
        # Unicore kernels refuse every core but the first, which is the default.
        cores=features.cores and plan.config.startswith("smp-"),
    )
