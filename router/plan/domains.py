# SPDX-License-Identifier: BSD-2-Clause
"""The protection domains around the guests: what each may touch, which interrupts it gets, whom it can call.

Layout of a VMM's address space: the guest's RAM at its own guest-physical address (so that a guest's pointer needs
a bounds check and no translation), our shared memory from 4 GiB on, each thing in a window of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from router.boards.model import Board, TimerKind
from router.description.models import OWN_FILES, Description
from router.description.sdk_versions import SdkFeatures
from router.plan import names
from router.plan.guests import round_up
from router.plan.models import (
    LARGE_PAGE,
    PAGE,
    Channel,
    DeviceRegion,
    End,
    GuestPlan,
    Irq,
    Map,
    MemoryRegion,
    ProtectionDomain,
    RegionKind,
    VirtualCpu,
    VirtualMachine,
    VSwitchPlan,
)

# Priorities: who is called or woken is above who calls or wakes, so that a queue is drained before it fills.
IMAGES_PRIORITY = 250
TIMER_PRIORITY = 240
TICKER_PRIORITY = 235
CONSOLE_PRIORITY = 230
VSWITCH_PRIORITY = 220
VMM_PRIORITY = 210
GUEST_PRIORITY = 100
IDLE_PRIORITY = 0
"""Below all guests: a VMM gives its own at least 1 (`MIN_PRIORITY` of vmm/main.c)."""

# Channel identifiers in a VMM; pass-through interrupts follow.
TO_VSWITCH, TO_CONSOLE, TO_TIMER, FIRST_IRQ = 0, 1, 2, 8
# In the drivers: the interrupt is 0, the guest with index i is i + 1. In the switch the guest with index i is i.
DRIVER_IRQ, DRIVER_GUESTS = 0, 1
# Between the console and the timer, in both: the last one that there is. From the ticker, in the timer. Between the
# switch and the timer, in both. Guests come first: there are identifiers for 58, and keys for fewer (LINE_PORTS).
CONSOLE_DEADLINE, TICKS, VSWITCH_DEADLINE = 61, 60, 59
# Between the console and the switch: the console asks whether the switch still works.
SWITCH_WATCH, WATCHED_SWITCH = 60, 61
# In the switch, to the domain that runs when nothing else does; and in that one.
TO_IDLE, IDLE_ASKED = 58, 0
TO_TIMER_OF_TICKER = 0
TICK_BUDGET, TICK_PERIOD = 1000, 10_000
"""Microseconds. The period is how late others' deadlines may be while a guest disturbs the alarm."""

RINGS_VADDR = 0x1_0000_0000
CONSOLE_VADDR = 0x1_4000_0000
DEVICE_VADDR = 0x1_8000_0000
COUNTERS_VADDR = 0x1_C000_0000
PAYLOAD_VADDR = 0x2_0000_0000
FRAMES_VADDR = 0x10_0000_0000
WINDOW = 0x1000_0000
RINGS_STRIDE = 0x10_0000

LINE_PORTS, LINE_PORTS_OF_GUEST = 62, 2
"""Keys of the serial line: `FRAME_MAX_PORTS` of drivers/mux_frame.h. A guest has its console and its control channel;
the key behind the last guest's is the system's, which says that a protection domain does not answer."""
MAX_GUESTS = (LINE_PORTS - 1) // LINE_PORTS_OF_GUEST

CONSOLE_QUEUE = 0x4000
"""Both directions of one guest's console and control channel."""
NET_RINGS = 0x9000
"""One port's four rings of 256 descriptors and their indices: `NETQ_PORT_BYTES` of common/netq.h."""

SWITCH_COUNTERS = 0x3000
"""All ports' counters: `struct tally` of common/tally.h."""

DEFAULT_PAYLOAD = {"kernel": 48 << 20, "initramfs": 16 << 20, "overlay": 64 << 10, "dtb": 64 << 10}
"""Sizes to plan with before the files exist."""


@dataclass(frozen=True)
class Domains:
    """The part of the system plan that Microkit hears of."""

    regions: tuple[MemoryRegion, ...]
    pds: tuple[ProtectionDomain, ...]
    channels: tuple[Channel, ...]


def frames_size(vswitch: VSwitchPlan) -> int:
    """Bytes of the pool that one sender's frames lie in, in whole large pages."""
    return round_up(vswitch.depth * vswitch.buffer, LARGE_PAGE)


def peers(guest: GuestPlan, vswitch: VSwitchPlan) -> list[int]:
    """Ports that may send this guest a frame: both ends of each rule, since answers flow back."""
    met = {rule.source for rule in vswitch.rules if rule.destination == guest.index}
    met |= {rule.destination for rule in vswitch.rules if rule.source == guest.index}
    return sorted(met)


def shared_regions(guests: tuple[GuestPlan, ...], vswitch: VSwitchPlan) -> list[MemoryRegion]:
    """Queues between the VMMs, the switch and the console, and the switch's counters."""
    regions = []
    for guest in guests:
        size = frames_size(vswitch)
        regions += [
            MemoryRegion(
                names.net_rings(guest.name),
                NET_RINGS,
                RegionKind.QUEUE,
                why=f"descriptors of {guest.name}'s port",
                owner=guest.name,
            ),
            MemoryRegion(
                names.net_frames(guest.name),
                size,
                RegionKind.FRAMES,
                page_size=LARGE_PAGE,
                why=f"frames that {guest.name} sends",
                owner=guest.name,
            ),
            MemoryRegion(
                names.console_rings(guest.name),
                CONSOLE_QUEUE,
                RegionKind.QUEUE,
                why=f"{guest.name}'s console",
                owner=guest.name,
            ),
        ]
    why = "what the switch has counted, for who has the serial line"
    return [*regions, MemoryRegion(names.SWITCH_COUNTERS, SWITCH_COUNTERS, RegionKind.COUNTERS, why=why)]


def payload_files(guest: GuestPlan) -> dict[str, str]:
    """What the VMM loads: the kind of payload, and its file in the build folder.

    All images under guest-images/ have one kernel, and guests of one image share its initramfs.
    """
    shared = {"kernel": "images/Image", "initramfs": f"images/{guest.image}.initramfs"}
    return {
        **(own_payload_files(guest.image.removeprefix(OWN_FILES)) if guest.own_image else shared),
        "overlay": f"guests/{guest.name}/overlay.initramfs",
        "dtb": f"guests/{guest.name}/guest.dtb",
    }


def own_payload_files(owners: str) -> dict[str, str]:
    """The same for the two files that a user can name. owners: the first guest that has both, or KERNEL+INITRAMFS."""
    kernel, _, initramfs = owners.partition("+")
    return {"kernel": f"guests/{kernel}/Image", "initramfs": f"guests/{initramfs or kernel}/own.initramfs"}


def payload_regions(guests: tuple[GuestPlan, ...], sizes: Mapping[str, int]) -> dict[str, MemoryRegion]:
    """One region for each distinct file, by file. `sizes`: bytes of the files that exist already."""
    regions: dict[str, MemoryRegion] = {}
    for guest in guests:
        for kind, file in payload_files(guest).items():
            size = sizes.get(file, DEFAULT_PAYLOAD[kind])
            page = LARGE_PAGE if size >= LARGE_PAGE else PAGE
            name = file.removeprefix("guests/").removeprefix("images/").split(".")[0].replace("/", "_")
            regions.setdefault(
                file,
                MemoryRegion(name, round_up(size, page), RegionKind.PAYLOAD, page, payload=file, why=f"{kind}, {file}"),
            )
    return regions


def core_of(board: Board, description: Description, guest: GuestPlan, features: SdkFeatures) -> int | None:
    """The core of a guest: its VMM and all its vCPUs. None: the only one that the configuration has.

    With an `smp-` configuration guests go to cores 1, 2, … in turn; 0 has the drivers and the switch. Appending a guest
    moves no other. Without prefilled regions all stay on core 0, where priorities make the domain `images` come
    first. The vCPUs stay with their VMM because seL4 leaves the system registers of a vCPU that stopped in its
    core, where a VMM on another core does not reach them (`readVCPUReg`, src/arch/arm/object/vcpu.c): it could
    neither give the guest an exception nor start it anew.
    """
    wish = description.guests[guest.name].cpu
    if wish is not None or not description.microkit.config.startswith("smp-"):
        return wish
    return (guest.index + 1) % board.cores if features.prefill else 0


def vmm(
    board: Board,
    description: Description,
    guest: GuestPlan,
    vswitch: VSwitchPlan,
    payloads: Mapping[str, MemoryRegion],
    features: SdkFeatures,
) -> ProtectionDomain:
    """The virtual machine monitor of one guest, and its virtual machine."""
    wish = description.guests[guest.name]
    core = core_of(board, description, guest, features)
    ram = names.guest_ram(guest.name)
    maps = [
        Map(ram, guest.ram.start, "rw"),
        Map(names.net_rings(guest.name), RINGS_VADDR, "rw"),
        Map(names.console_rings(guest.name), CONSOLE_VADDR, "rw"),
        Map(names.net_frames(guest.name), FRAMES_VADDR + guest.index * WINDOW, "rw"),
    ]
    maps += [
        Map(names.net_frames(vswitch.ports[peer].guest), FRAMES_VADDR + peer * WINDOW, "r")
        for peer in peers(guest, vswitch)
    ]
    maps += [
        Map(payloads[file].name, PAYLOAD_VADDR + place * WINDOW, "r")
        for place, file in enumerate(payload_files(guest).values())
    ]
    maps += [
        Map(names.device(guest.name, region.name), DEVICE_VADDR + place * WINDOW, "rw", cached=False)
        for place, region in enumerate(config_spaces(guest))
    ]
    vm_maps = [Map(ram, guest.ram.start, "rwx")]
    if board.gic.cpu_interface is not None:
        vm_maps.append(Map(names.GIC_VCPU, board.gic.cpu_interface.start, "rw", cached=False))
    vm_maps += [
        Map(names.device(guest.name, region.name), region.range.start, "rw", cached=False)
        for region in guest.passthrough.regions
    ]
    return ProtectionDomain(
        name=names.vmm(guest.name),
        program=names.program(names.vmm(guest.name)),
        priority=VMM_PRIORITY,
        maps=tuple(maps),
        irqs=tuple(Irq(irq.number, FIRST_IRQ + n, irq.edge) for n, irq in enumerate(guest.passthrough.irqs)),
        vm=VirtualMachine(
            name=guest.name,
            priority=wish.priority or GUEST_PRIORITY,
            vcpus=tuple(VirtualCpu(n, core) for n in range(guest.vcpus)),
            maps=tuple(vm_maps),
            budget=wish.budget,
            period=wish.period,
        ),
        smc=bool(guest.smc),
        cpu=core,
    )


def config_spaces(guest: GuestPlan) -> list[DeviceRegion]:
    """Of what a guest owns, the parts through which its VMM stops the devices' DMA when the guest has ended."""
    return [region for region in guest.passthrough.regions if region.range in guest.passthrough.config_spaces]


def device_regions(board: Board, guests: tuple[GuestPlan, ...]) -> list[MemoryRegion]:
    """Registers: what our drivers drive, what guests own, and the GIC's frame for virtual machines."""
    regions = []
    for name, device in ((names.UART, board.uart), (names.TIMER, board.timer)):
        if device.registers is not None:
            regions.append(
                MemoryRegion(
                    name, device.registers.size, RegionKind.DEVICE, phys_addr=device.registers.start, why=device.kind
                )
            )
    frame = board.gic.vcpu_interface
    if frame is not None:
        why = "GICV: the CPU interface of the virtual machine that runs"
        regions.append(MemoryRegion(names.GIC_VCPU, PAGE, RegionKind.DEVICE, phys_addr=frame.start, why=why))
    for guest in guests:
        for region in guest.passthrough.regions:
            size, start = region.range.size, region.range.start
            large = size % LARGE_PAGE == 0 and start % LARGE_PAGE == 0
            regions.append(
                MemoryRegion(
                    names.device(guest.name, region.name),
                    size,
                    RegionKind.DEVICE,
                    page_size=LARGE_PAGE if large else PAGE,
                    phys_addr=start,
                    why=region.why,
                    owner=guest.name,
                )
            )
    return regions


def has_ticker(board: Board) -> bool:
    """Whether guests' kernels reach the registers of the timer's alarm, so that a clock of the kernel's watches it."""
    return board.timer.kind == TimerKind.ARM_PHYSICAL


def has_idle(description: Description) -> bool:
    """Whether a domain of the lowest priority knows when no guest wants the processor.

    It sees one core only, and takes a guest that has used its budget up for one that sleeps.
    """
    limited = any(guest.budget or guest.period for guest in description.guests.values())
    return not limited and not description.microkit.config.startswith("smp-")


def drivers(board: Board, guests: tuple[GuestPlan, ...], vswitch: VSwitchPlan, *, idle: bool) -> list[ProtectionDomain]:
    """The domains that serve all guests: timer, ticker, console, switch, idle."""
    uart = [Map(names.UART, DEVICE_VADDR, "rw", cached=False)] if board.uart.registers else []
    timer = [Map(names.TIMER, DEVICE_VADDR, "rw", cached=False)] if board.timer.registers else []
    return [
        ProtectionDomain(
            "timer",
            "timer.elf",
            TIMER_PRIORITY,
            maps=tuple(timer),
            irqs=(Irq(board.timer.irq, DRIVER_IRQ, board.timer.edge),),
        ),
        *(
            [ProtectionDomain("ticker", "ticker.elf", TICKER_PRIORITY, budget=TICK_BUDGET, period=TICK_PERIOD)]
            if has_ticker(board)
            else []
        ),
        ProtectionDomain(
            "console",
            "console.elf",
            CONSOLE_PRIORITY,
            maps=(
                *uart,
                *(Map(names.console_rings(g.name), CONSOLE_VADDR + g.index * RINGS_STRIDE, "rw") for g in guests),
                Map(names.SWITCH_COUNTERS, COUNTERS_VADDR, "r"),
            ),
            irqs=(Irq(board.uart.irq, DRIVER_IRQ, board.uart.edge),),
        ),
        ProtectionDomain(
            "vswitch",
            "vswitch.elf",
            VSWITCH_PRIORITY,
            maps=(
                *(
                    each
                    for port in vswitch.ports
                    for each in (
                        Map(names.net_rings(port.guest), RINGS_VADDR + port.index * RINGS_STRIDE, "rw"),
                        Map(names.net_frames(port.guest), FRAMES_VADDR + port.index * WINDOW, "r"),
                    )
                ),
                Map(names.SWITCH_COUNTERS, COUNTERS_VADDR, "rw"),
            ),
        ),
        *([ProtectionDomain(names.IDLE, "idle.elf", IDLE_PRIORITY)] if idle else []),
    ]


def channels(board: Board, guests: tuple[GuestPlan, ...], *, idle: bool) -> tuple[Channel, ...]:
    """Each VMM's channels to the switch, the console and the timer, and those of the drivers to the timer."""
    planned = [
        Channel(
            End("console", CONSOLE_DEADLINE, pp=True),
            End("timer", CONSOLE_DEADLINE),
            "deadlines of the console",
        ),
        Channel(
            End("vswitch", VSWITCH_DEADLINE, pp=True),
            End("timer", VSWITCH_DEADLINE),
            "how long frames wait of a guest that sends too many",
        ),
        Channel(
            End("console", SWITCH_WATCH),
            End("vswitch", WATCHED_SWITCH),
            "whether the switch still works, and that it publishes its counters",
        ),
    ]
    if has_ticker(board):
        planned.append(
            Channel(
                End("ticker", TO_TIMER_OF_TICKER),
                End("timer", TICKS, notify=False),
                "time to look after the alarm, which guests' kernels reach",
            )
        )
    if idle:
        why = "whether the processor is idle, so that a guest that sends much delays none"
        planned.append(Channel(End("vswitch", TO_IDLE), End(names.IDLE, IDLE_ASKED), why))
    for guest in guests:
        me = names.vmm(guest.name)
        planned += [
            Channel(End(me, TO_VSWITCH), End("vswitch", guest.index), f"frames of {guest.name}"),
            Channel(End(me, TO_CONSOLE), End("console", guest.index + DRIVER_GUESTS), f"console of {guest.name}"),
            Channel(
                End(me, TO_TIMER, pp=True), End("timer", guest.index + DRIVER_GUESTS), f"deadlines of {guest.name}"
            ),
        ]
    return tuple(planned)


def plan_domains(
    description: Description,
    board: Board,
    guests: tuple[GuestPlan, ...],
    vswitch: VSwitchPlan,
    features: SdkFeatures,
    sizes: Mapping[str, int],
) -> Domains:
    """Regions, protection domains and channels. `features`: the SDK's; `sizes`: bytes of the payloads known so far."""
    payloads = payload_regions(guests, sizes)
    idle = has_idle(description)
    domains = drivers(board, guests, vswitch, idle=idle)
    if not features.prefill:
        # No prefilled regions yet: one domain carries all payloads and fills the regions before any VMM runs.
        store = tuple(Map(region.name, PAYLOAD_VADDR + n * WINDOW, "rw") for n, region in enumerate(payloads.values()))
        domains.insert(0, ProtectionDomain("images", "images.elf", IMAGES_PRIORITY, maps=store))
    domains += [vmm(board, description, guest, vswitch, payloads, features) for guest in guests]
    ram = [
        MemoryRegion(
            names.guest_ram(guest.name),
            guest.ram.size,
            RegionKind.GUEST_RAM,
            LARGE_PAGE,
            guest.ram.start,
            why=f"RAM of {guest.name}",
            owner=guest.name,
        )
        for guest in guests
    ]
    regions = [*ram, *device_regions(board, guests), *shared_regions(guests, vswitch), *payloads.values()]
    return Domains(tuple(regions), tuple(domains), channels(board, guests, idle=idle))
