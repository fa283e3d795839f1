# SPDX-License-Identifier: BSD-2-Clause
"""The planned system: what Microkit builds, what each guest sees, what the switch lets through. Frozen; in bytes.

The objects of the first part have the names and attributes of the Microkit manual's system description file; those of
the second part are the guests as Linux sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Self

from router.boards.model import Board, Range
from router.description.models import ETHERNET_HEADER, OWN_FILES

PAGE = 0x1000
LARGE_PAGE = 0x20_0000
MIN_CID = 3
"""Of vsock context IDs: 0 to 2 are reserved, for hypervisor, local and host (virtio 1.2, 5.10.4)."""
MAX_CID = 0xFFFFFFFE
"""The highest 32-bit number is Linux's VMADDR_CID_ANY."""


class RegionKind(StrEnum):
    """What a memory region is for: checks and reports treat them differently."""

    GUEST_RAM = "guest RAM"
    DEVICE = "device"
    QUEUE = "queue"
    """Descriptors and indices that two protection domains share, both writing."""
    FRAMES = "frames"
    """What one guest's VMM sends: others read it."""
    COUNTERS = "counters"
    """What the switch has counted: the console reads it."""
    PAYLOAD = "payload"


@dataclass(frozen=True)
class MemoryRegion:
    """`memory_region` of the system description file."""

    name: str
    size: int
    kind: RegionKind
    page_size: int = PAGE
    phys_addr: int | None = None
    payload: str | None = None
    """File in the build folder that the region holds at boot."""
    why: str = ""
    owner: str | None = None
    """The guest that the region belongs to; None for what serves several."""

    @property
    def physical(self) -> Range | None:
        return None if self.phys_addr is None else Range(self.phys_addr, self.size)


@dataclass(frozen=True)
class Map:
    """`map`: a memory region in the address space of a protection domain or of a virtual machine."""

    region: str
    vaddr: int
    perms: str
    cached: bool = True


@dataclass(frozen=True)
class Irq:
    """`irq`: an interrupt that arrives as a notification on channel `id`."""

    number: int
    id: int
    edge: bool = False


@dataclass(frozen=True)
class VirtualCpu:
    """`vcpu`."""

    id: int
    cpu: int | None = None


@dataclass(frozen=True)
class VirtualMachine:
    """`virtual_machine`."""

    name: str
    priority: int
    vcpus: tuple[VirtualCpu, ...]
    maps: tuple[Map, ...]
    budget: int | None = None
    """Microseconds in each period."""
    period: int | None = None


@dataclass(frozen=True)
class ProtectionDomain:
    """`protection_domain`."""

    name: str
    program: str
    priority: int
    stack_size: int = 0x4000
    maps: tuple[Map, ...] = ()
    irqs: tuple[Irq, ...] = ()
    vm: VirtualMachine | None = None
    smc: bool = False
    cpu: int | None = None
    budget: int | None = None
    """Microseconds in each period."""
    period: int | None = None


@dataclass(frozen=True)
class End:
    """One `end` of a channel. `pp`: this end may make protected procedure calls to the other."""

    pd: str
    id: int
    pp: bool = False
    notify: bool = True


@dataclass(frozen=True)
class Channel:
    """`channel`."""

    a: End
    b: End
    why: str

    @property
    def ends(self) -> tuple[End, End]:
        return (self.a, self.b)


class VirtioKind(StrEnum):
    """Devices that the VMM offers its guest, by the virtio specification's names."""

    NET = "net"
    CONSOLE = "console"
    VSOCK = "vsock"


@dataclass(frozen=True)
class VirtioDevice:
    """A virtio-mmio device as the guest sees it."""

    name: str
    kind: VirtioKind
    slot: int
    address: int
    size: int
    irq: int
    """As the GIC numbers it."""


@dataclass(frozen=True)
class DeviceRegion:
    """Registers (or a bus window) of the board that a guest owns, widened to whole pages."""

    name: str
    range: Range
    why: str
    widened_from: tuple[Range, ...] = ()
    """The nodes' own registers, where the pages hold more than they asked for."""


@dataclass(frozen=True)
class DeviceIrq:
    """An interrupt of the board that a guest owns."""

    number: int
    edge: bool
    node: str


@dataclass(frozen=True)
class Passthrough:
    """What a guest owns of the board: computed from the device tree by `router.devicetree`."""

    selected: tuple[str, ...] = ()
    """Paths of the nodes that the description names."""
    nodes: tuple[str, ...] = ()
    """Paths of these and of all they depend on."""
    regions: tuple[DeviceRegion, ...] = ()
    irqs: tuple[DeviceIrq, ...] = ()
    dma: bool = False
    """Whether any of the devices can access memory by DMA."""
    config_spaces: tuple[Range, ...] = ()
    """PCI configuration spaces (ECAM), each one of `regions`: through them a VMM can stop the devices' DMA."""
    unstoppable: tuple[str, ...] = ()
    """Names of the nodes that can write memory and that no VMM of ours knows how to stop."""
    bootargs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences about the devices that whoever builds the system must read."""


@dataclass(frozen=True)
class GuestPlan:
    """One Linux guest."""

    name: str
    index: int
    image: str
    role: str
    """`server`, `client` or `none`."""
    ram: Range
    """Guest-physical addresses; the same numbers are the physical addresses (no IOMMU on these boards)."""
    vcpus: int
    mac: str | None
    """None, as `address`, where the guest has no network interface."""
    address: IPv4Address | None
    cid: int | None
    """Its vsock context ID; None where it has no vsock device."""
    bootargs: str
    virtio: tuple[VirtioDevice, ...]
    passthrough: Passthrough
    smc: tuple[int, ...]
    on_exit: str
    """`restart` or `stop`."""
    usb_version: int
    usb_ports: int
    root: str = ""
    """The root file system on a routed disk, as `LABEL=…` or `PARTUUID=…`; empty: the guest stays in its initramfs."""
    trusted: bool = True
    """Whether clients take this server's answers as they are."""
    automount: bool = False
    """Whether the file systems of routed disks are mounted as they come."""
    disk_wait: int | None = None
    """Seconds for which its disks that come as blocks wait for a server that is away; None: the client's default."""

    @property
    def own_image(self) -> bool:
        """Whether its kernel and initramfs are files of the user's own, which print no milestones of ours."""
        return self.image.startswith(OWN_FILES)

    @property
    def peer(self) -> str:
        """How USB/IP and its policy name this guest: its IPv4 address, or `vsock:CID`."""
        return f"vsock:{self.cid}" if self.address is None else str(self.address)


@dataclass(frozen=True)
class Grant:
    """A USB device that goes from one guest to another; None matches anything."""

    source: str
    to: str
    vendor: int | None = None
    product: int | None = None
    path: str | None = None
    serial: str | None = None
    device_class: int | None = None
    only: tuple[int, ...] = ()
    """Interface classes that the device may have and no others; empty for no such limit."""
    port: int | None = None
    blocks: int = 0
    """The client's TCP port in the server, where the device goes as blocks; 0: it goes by USB/IP."""
    name: str = ""
    """What the client calls such a disk; empty for a name made from its USB port."""
    size: int = 0
    """Bytes of the part of that disk, by its `name`, that the client gets; 0: it gets the whole disk."""

    def parts_in(self, grants: tuple[Grant, ...]) -> list[Grant]:
        """The grants of parts of the physical disk that this one is a part of."""
        return [one for one in grants if one.size and one.physical == self.physical]

    @property
    def physical(self) -> tuple[object, ...]:
        """Which physical device of which guest it speaks of."""
        return self.source, self.vendor, self.product, self.path, self.serial, self.device_class, self.only


@dataclass(frozen=True)
class VSwitchPort:
    """A port of the switch; the index is also the switch's channel to that guest's VMM.

    It has a MAC and an IPv4 address, or a vsock context ID.
    """

    index: int
    guest: str
    mac: str | None
    address: IPv4Address | None
    cid: int | None = None


@dataclass(frozen=True)
class VSwitchRule:
    """A directed conversation that the switch lets through."""

    source: int
    destination: int
    protocol: str
    port: int | None


@dataclass(frozen=True)
class VSwitchPlan:
    """The whole of the virtual Ethernet."""

    subnet: IPv4Network
    mtu: int
    depth: int
    """Buffers of each sender's pool; frames on their way are at most 256 (`NETQ_ENTRIES` of common/netq.h)."""
    buffer: int
    """Bytes; depth times buffer, rounded up to large pages, is the size of a sender's pool."""
    ports: tuple[VSwitchPort, ...]
    rules: tuple[VSwitchRule, ...]

    @property
    def frame_max(self) -> int:
        """Bytes of the longest frame that a guest's driver sees, Ethernet header included.

        The switch holds every frame and every segment to it, in split runs and on seL4.
        """
        return ETHERNET_HEADER + self.mtu


@dataclass(frozen=True)
class SystemPlan:
    """Everything that is decided about a system."""

    name: str
    board: Board
    sdk: str
    config: str
    regions: tuple[MemoryRegion, ...]
    pds: tuple[ProtectionDomain, ...]
    channels: tuple[Channel, ...]
    guests: tuple[GuestPlan, ...]
    vswitch: VSwitchPlan
    grants: tuple[Grant, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_ethernet(self) -> bool:
        """Whether the guests reach each other over the virtual Ethernet, and not over vsock."""
        return all(guest.cid is None for guest in self.guests)

    def region(self, name: str) -> MemoryRegion:
        """The region of that name; KeyError when there is none."""
        for region in self.regions:
            if region.name == name:
                return region
        raise KeyError(name)

    def guest(self, name: str) -> GuestPlan:
        """The guest of that name; KeyError when there is none."""
        for guest in self.guests:
            if guest.name == name:
                return guest
        raise KeyError(name)

    def but(self, **changes: object) -> Self:
        """A copy with some fields replaced: for tests that break one thing."""
        return replace(self, **changes)  # type: ignore[arg-type]

    @property
    def version(self) -> tuple[int, ...]:
        """The SDK version as numbers, to compare."""
        return tuple(int(part) for part in self.sdk.split("."))
