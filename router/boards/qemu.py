# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's `virt` machine with `virtualization=on`: the memory map of QEMU's hw/arm/virt.c, GICv2, highmem off."""

from router.boards.model import (
    Board,
    BoardDevice,
    BootLoader,
    EmulatedBoard,
    Gic,
    Range,
    TimerKind,
    UartKind,
    VirtioSlots,
)

MiB = 1 << 20
RAM_START = 0x4000_0000
"""Where the machine has its RAM (hw/arm/virt.c); `-m` counts from here."""

BOARD = Board(
    name="qemu",
    title="QEMU virt (AArch64)",
    microkit="qemu_virt_aarch64",
    cores=4,
    # `-m 2G` gives RAM_START..0xc0000000; the SDK's kernel for this board uses what starts at 0x60000000.
    ram=Range(0x6000_0000, 0x6000_0000),
    reserved=(
        ("the seL4 kernel", Range(0x6000_0000, 16 * MiB)),
        ("the loader's image", Range(0x7000_0000, 128 * MiB)),
        # The kernel makes its first task's objects at the end of the RAM; their size grows with the system.
        ("the kernel's boot objects", Range(0xBF00_0000, 16 * MiB)),
    ),
    guest_ram=Range(0x7800_0000, 0xBF00_0000 - 0x7800_0000),
    loader=0x7000_0000,
    start="go 0x70000000",
    # Debian's build of U-Boot for this machine hangs in `go`, before the payload runs.
    boot_loader=BootLoader(identity="qemu-arm", go=False),
    gic=Gic(
        version=2,
        distributor=Range(0x0800_0000, 0x1_0000),
        cpu_interface=Range(0x0801_0000, 0x1_0000),
        vcpu_interface=Range(0x0804_0000, 0x1_0000),
    ),
    uart=BoardDevice(UartKind.PL011, Range(0x0900_0000, 0x1000), irq=33),
    timer=BoardDevice(TimerKind.ARM_PHYSICAL, None, irq=30),
    virtio=VirtioSlots(base=0x0A00_0000, stride=0x200, irq=48),
    max_irq=287,  # 256 SPIs behind 32 private interrupts
    smmu=False,
    tree="qemu_virt_aarch64.dts",
    early_console=Range(0x0900_0000, 0x1000),
    bootargs=("pci=nomsi",),
    emulated=EmulatedBoard(
        "virt,virtualization=on,highmem=off,secure=off,gic-version=2",
        "cortex-a53",
        (7, 2),
        2048 * MiB,
        True,
        apart=True,
    ),
)
