# SPDX-License-Identifier: BSD-2-Clause
"""The device trees that guests boot with: a client's, made from nothing, and a pass-through guest's, cut from the
board's.

Both get the same platform: memory, CPUs, GIC, timer, PSCI and virtio-mmio devices as their VMM (or QEMU's virt
machine) has them. Interrupts are GIC INTIDs, addresses and sizes are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.devicetree.closure import Closure
from router.devicetree.interrupts import FIRST_PPI, FIRST_SPI, Trigger
from router.devicetree.node import Cells, Node, narrow
from router.devicetree.prune import pruned
from router.devicetree.tree import Tree
from router.errors import DescriptionError
from router.seeds import ROOM

VIRTIO_SIZE = 0x200  # registers and configuration space of a virtio-mmio device, as QEMU lays them out
_SPI, _PPI = 0, 1
_EDGE_RISING, _LEVEL_HIGH, _LEVEL_LOW = 1, 4, 8


@dataclass(frozen=True)
class AddressRange:
    """`size` bytes from `base` on."""

    base: int
    size: int

    @property
    def end(self) -> int:
        return self.base + self.size


@dataclass(frozen=True)
class VirtioSlot:
    """A virtio-mmio device (version 2) at `address`, with the SPI of that INTID."""

    address: int
    intid: int
    trigger: Trigger = "edge"


@dataclass(frozen=True)
class GuestGic:
    """The interrupt controller that the guest sees. `cpu` is the CPU interface (version 2) or all redistributors
    (version 3).
    """

    version: Literal[2, 3]
    distributor: AddressRange
    cpu: AddressRange


@dataclass(frozen=True)
class GuestTreeSpec:
    """What the plan has decided about one guest.

    timer_intids: secure, non-secure, virtual and hypervisor timer, in the order of Linux's binding arm,arch_timer.
    """

    name: str
    memory: AddressRange
    vcpus: int
    gic: GuestGic
    bootargs: str = ""
    initrd: AddressRange | None = None
    virtio: tuple[VirtioSlot, ...] = ()
    timer_intids: tuple[int, int, int, int] = (29, 30, 27, 26)
    cpu_compatible: str = "arm,cortex-a53"
    stdout_path: str | None = None


def client_tree(spec: GuestTreeSpec) -> Tree:
    """The tree of a guest without pass-through devices: no node of the board is in it."""
    tree = Tree()
    root = tree.root
    root.set_strings("compatible", "linux,dummy-virt")
    root.set_strings("model", f"router guest {spec.name}")
    root.set_cells("#address-cells", 2)
    root.set_cells("#size-cells", 2)
    gic = root.add_child("interrupt-controller")
    gic.set_flag("interrupt-controller")
    gic.set_cells("#interrupt-cells", 3)
    gic.set_cells("#address-cells", 0)
    gic.set_cells("phandle", 1)
    root.set_cells("interrupt-parent", 1)
    _platform(tree, gic, spec)
    return tree


def server_tree(base: Tree, closure: Closure, spec: GuestTreeSpec) -> Tree:
    """The tree of a guest with pass-through devices: the board's, cut down to the closure, with the guest's own
    platform.

    Raises DescriptionError when the guest's RAM or a virtual device lies where one of its pass-through devices is.
    """
    taken = [
        ("its memory", spec.memory),
        ("its interrupt distributor", spec.gic.distributor),
        ("its CPU interface", spec.gic.cpu),
    ]
    taken += [("a virtio device", AddressRange(slot.address, VIRTIO_SIZE)) for slot in spec.virtio]
    for what, span in taken:
        for region in closure.regions:
            if span.base < region.end and region.base < span.end:
                raise DescriptionError(
                    f"guest '{spec.name}': {what} ({span.base:#x}–{span.end - 1:#x}) lies over"
                    f" {region.nodes[0].rpartition('/')[2]} ({region.base:#x}–{region.end - 1:#x})",
                    "move the guest's memory, or pass the device to another guest",
                )
    tree, gic = pruned(base, closure)
    _platform(tree, gic, spec)
    return tree


def _platform(tree: Tree, gic: Node, spec: GuestTreeSpec) -> None:
    root = tree.root
    _chosen(root.ensure_child("chosen"), spec)
    memory = root.add_child(f"memory@{spec.memory.base:x}")
    memory.set_strings("device_type", "memory")
    memory.set_cells("reg", *_reg(root, spec.memory))
    _cpus(root.add_child("cpus"), spec)
    psci = root.add_child("psci")
    psci.set_strings("compatible", "arm,psci-1.0", "arm,psci-0.2")
    psci.set_strings("method", "hvc")
    _fill_gic(root, gic, spec.gic)
    handle = tree.phandle_of(gic)
    timer = root.add_child("timer")
    timer.set_strings("compatible", "arm,armv8-timer")
    timer.set_cells("interrupt-parent", handle)
    mask = ((1 << spec.vcpus) - 1) << 8 if spec.gic.version == 2 else 0  # cores of a PPI: GICv2 specifiers only
    timer.set_cells(
        "interrupts", *(cell for intid in spec.timer_intids for cell in _specifier(gic, intid, _LEVEL_LOW | mask))
    )
    timer.set_flag("always-on")
    for slot in sorted(spec.virtio, key=lambda slot: slot.address):
        device = root.add_child(f"virtio_mmio@{slot.address:x}")
        device.set_strings("compatible", "virtio,mmio")
        device.set_cells("reg", *_reg(root, AddressRange(slot.address, VIRTIO_SIZE)))
        device.set_cells("interrupt-parent", handle)
        device.set_cells(
            "interrupts", *_specifier(gic, slot.intid, _EDGE_RISING if slot.trigger == "edge" else _LEVEL_HIGH)
        )
        device.set_flag("dma-coherent")


def _chosen(chosen: Node, spec: GuestTreeSpec) -> None:
    chosen.set_strings("bootargs", spec.bootargs)
    if spec.initrd is not None:
        chosen.set_u64("linux,initrd-start", spec.initrd.base)
        chosen.set_u64("linux,initrd-end", spec.initrd.end)
    if spec.stdout_path is not None:
        chosen.set_strings("stdout-path", spec.stdout_path)
    for name, value in ROOM.items():
        chosen.set_bytes(name, value)


def _cpus(cpus: Node, spec: GuestTreeSpec) -> None:
    cpus.set_cells("#address-cells", 1)
    cpus.set_cells("#size-cells", 0)
    for number in range(spec.vcpus):
        cpu = cpus.add_child(f"cpu@{number:x}")
        cpu.set_strings("device_type", "cpu")
        cpu.set_strings("compatible", spec.cpu_compatible)
        cpu.set_cells("reg", number)
        cpu.set_strings("enable-method", "psci")


def _fill_gic(root: Node, gic: Node, spec: GuestGic) -> None:
    del root.children[gic.name]
    gic.name = f"interrupt-controller@{spec.distributor.base:x}"
    root.children[gic.name] = gic
    gic.set_strings("compatible", "arm,cortex-a15-gic" if spec.version == 2 else "arm,gic-v3")
    gic.set_cells("reg", *_reg(root, spec.distributor), *_reg(root, spec.cpu))


def _reg(root: Node, span: AddressRange) -> Cells:
    return narrow(span.base, root.address_cells) + narrow(span.size, root.size_cells)


def _specifier(gic: Node, intid: int, flags: int) -> Cells:
    """A GIC specifier: kind, number, flags, and zeros where the board's GIC binding has further cells."""
    private = intid < FIRST_SPI
    number = intid - (FIRST_PPI if private else FIRST_SPI)
    return (_PPI if private else _SPI, number, flags) + (0,) * (gic.u32("#interrupt-cells") - 3)
