# SPDX-License-Identifier: BSD-2-Clause
"""The facts of a board that the plan, the run and the deployment need. Addresses and sizes are in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class Range:
    """Addresses from `start` up to, not including, `end`."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size

    def overlaps(self, other: Range) -> bool:
        """True when at least one address belongs to both; an empty range overlaps nothing."""
        return max(self.start, other.start) < min(self.end, other.end)

    def contains(self, other: Range) -> bool:
        """True when every address of `other` belongs to this range."""
        return self.start <= other.start and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.start:#x}..{self.end:#x}"


REDISTRIBUTOR = 0x2_0000
"""Bytes of one core's GICv3 redistributor: two frames of 64 KiB (GIC architecture specification, chapter 12)."""
KERNEL_IRQS = {
    25: "the GIC's maintenance interrupt of virtual machines",
    26: "the hypervisor timer, the kernel's clock",
    27: "the virtual timer of the virtual machines",
}
"""What a hypervisor seL4 keeps for itself, by the numbers that Arm's BSA recommends."""


class UartKind(StrEnum):
    """Serial ports that the console protection domain drives."""

    PL011 = "pl011"
    IMX = "imx"


class TimerKind(StrEnum):
    """Timers that the timer protection domain drives."""

    ARM_PHYSICAL = "arm-physical"
    """The EL1 physical timer of the Arm generic timer: system registers and one PPI, no memory."""
    IMX_GPT = "imx-gpt"
    """The general purpose timer of the i.MX family."""


@dataclass(frozen=True)
class Gic:
    """The interrupt controller, as the kernel owns it and as a guest sees its emulation at the same addresses."""

    version: int
    distributor: Range
    cpu_interface: Range | None = None
    """GICv2: where a guest sees a CPU interface; backed by `vcpu_interface`."""
    vcpu_interface: Range | None = None
    """GICv2: the GICV frame, mapped into every virtual machine at `cpu_interface`."""
    redistributor: Range | None = None
    """GICv3: the first core's redistributor; the next core's follows it."""
    list_registers: int = 4
    """Interrupts that a vCPU can hold pending in hardware: as many as the GIC-400 and the GIC-500 have."""

    def redistributors(self, cores: int) -> Range | None:
        """GICv3: the redistributors of the first so many cores."""
        return None if self.redistributor is None else Range(self.redistributor.start, REDISTRIBUTOR * cores)


@dataclass(frozen=True)
class BoardDevice:
    """A device that one of our own protection domains drives."""

    kind: str
    registers: Range | None
    irq: int
    """Interrupt as the GIC numbers it (SPI + 32, PPI + 16)."""
    edge: bool = False


@dataclass(frozen=True)
class VirtioSlots:
    """Where a guest sees its virtio-mmio devices: slot n at `base + n * stride`, interrupt `irq + n`."""

    base: int
    stride: int
    irq: int


@dataclass(frozen=True)
class BootLoader:
    """The U-Boot that a deployment meets on the board."""

    prompt: str = "=> "
    baud: int = 115200
    identity: str | None = None
    """Pattern that its sign-on or its environment shows on this board and on no other; None where that is not known."""
    go: bool = True
    """False where `go` does not work: then the image gets a header and is started by `booti`."""


@dataclass(frozen=True)
class KernelTree:
    """A board's tree from the kernel package: its own, or made from a sister board's. Files without a path are in
    `dts/`.
    """

    dtb: str
    """The board's DTB, or with `fragment` the sister board's, as the package names it."""
    labels: str | None = None
    """The SoC's labels, which the package leaves out."""
    fragment: str | None = None
    """The overlay with what our board has, where the DTB is a sister board's."""
    soc: tuple[str, ...] = ()
    """With `fragment`: the root's nodes that belong to the SoC; all others are the sister board's."""


@dataclass(frozen=True)
class EmulatedBoard:
    """How QEMU stands in for the board."""

    machine: str
    cpu: str
    oldest: tuple[int, int]
    """The first QEMU release whose model runs the whole system."""
    memory: int
    same_hardware: bool
    """False where the machine only shares some devices with the board, so that a run there proves less."""
    apart: bool = False
    """Whether each guest can also be run in a machine of its own: its devices are there in QEMU's `virt`."""
    serial: int = 0
    """Which of the machine's serial ports is the board's console, from 0."""
    firmware: Range | None = None
    """Where the secure firmware has its memory, on a machine that starts in EL3 and brings none; None otherwise."""
    usb_buses: Mapping[str, str] = field(default_factory=dict)
    """The machine's own USB controllers, one socket each: name of the node → QEMU's name of the bus, in the order in
    which Linux finds them. Empty: it takes a controller on PCI.
    """
    unmodelled: tuple[str, ...] = ()
    """Properties of a pass-through device's node that lead to what the machine does not have."""
    silent: tuple[str, ...] = ()
    """Parts of the board that read as zero there: that a driver is content with them proves nothing."""


@dataclass(frozen=True)
class Board:
    """One board. The sources of the numbers stand beside them in the board's module."""

    name: str
    title: str
    microkit: str
    """What the Microkit SDK calls it."""
    cores: int
    ram: Range
    reserved: tuple[tuple[str, Range], ...]
    """Parts of the RAM that no guest may use, each with who lives there."""
    guest_ram: Range
    """Where guests' RAM is given out from."""
    loader: int
    """Where the boot loader must put loader.img and start it."""
    start: str
    """The boot loader's command that starts it."""
    boot_loader: BootLoader
    gic: Gic
    uart: BoardDevice
    timer: BoardDevice
    virtio: VirtioSlots
    max_irq: int
    """Largest interrupt number the kernel's build for this board knows."""
    smmu: bool
    """Whether devices' memory accesses are confined by an IOMMU."""
    tree: str | KernelTree
    """Base device tree: a source file under dts/, or how it is made from one of the guest kernel's package."""
    early_console: Range
    """Where a guest finds the PL011 that the VMM emulates for the kernel's first messages; one page."""
    bootargs: tuple[str, ...] = ()
    """Kernel arguments of the guest that owns devices of this board."""
    smc: tuple[int, ...] = ()
    """SMC function identifiers that this board's drivers are known to need; none is forwarded unless a guest asks."""
    emulated: EmulatedBoard | None = None
    kernel_irqs: Mapping[int, str] = field(default_factory=lambda: KERNEL_IRQS)
    """Interrupts that the kernel keeps for itself, each with what it is."""
    notes: tuple[str, ...] = field(default_factory=tuple)

    @property
    def earlycon(self) -> str:
        """The value of Linux's `earlycon=` for `early_console`."""
        return f"pl011,mmio32,{self.early_console.start:#x}"
