# SPDX-License-Identifier: BSD-2-Clause
"""NXP's i.MX 8M Plus EVK. Its tree is the kernel package's own."""

from router.boards import imx8m
from router.boards.model import Board, BootLoader, EmulatedBoard, KernelTree, Range

MiB = 1 << 20

BOARD = Board(
    name="imx8mp_evk",
    title="NXP i.MX 8M Plus EVK",
    microkit="imx8mp_evk",
    cores=4,
    # The first bank of 6 GiB: the USB controllers reach no other (dma-ranges of Linux's imx8mp.dtsi).
    ram=Range(0x4000_0000, 0xC000_0000),
    reserved=(
        imx8m.KERNEL,
        imx8m.EVK_IMAGE,
        # OP-TEE's places: NXP's builds up to Linux 5.15, and later ones (CFG_TZDRAM_START of plat-imx/conf.mk).
        ("the secure firmware of older releases", Range(0x5600_0000, 32 * MiB)),
        ("the secure firmware", Range(0xFE00_0000, 32 * MiB)),
    ),
    guest_ram=Range(0x5800_0000, 0xFE00_0000 - 0x5800_0000),
    loader=imx8m.EVK_LOADER,
    start=f"go {imx8m.EVK_LOADER:#x}",
    boot_loader=BootLoader(),
    gic=imx8m.GIC,
    uart=imx8m.UART2,
    timer=imx8m.GPT1,
    virtio=imx8m.VIRTIO,
    max_irq=imx8m.MAX_IRQ_PLUS,
    smmu=False,
    tree=KernelTree(dtb="freescale/imx8mp-evk.dtb"),
    early_console=imx8m.EARLY_CONSOLE,
    bootargs=imx8m.BOOTARGS,
    smc=imx8m.SMC,
    # This very board. QEMU 10.0 has it too, but guests' interrupts are never taken there. All 6 GiB, because the kernel
    # puts its boot objects at the end of the RAM. The firmware is where TF-A is (BL31_BASE of its imx8mp platform).
    emulated=EmulatedBoard(
        "imx8mp-evk",
        "cortex-a53",
        (11, 0),
        6144 * MiB,
        True,
        serial=1,
        firmware=Range(0x0097_0000, 0x1_0000),
        usb_buses={"usb@38100000": "usb-bus.0", "usb@38200000": "usb-bus.1"},
        silent=("the power controller", "HSIO's block control", "the pin controller", "the USB PHYs"),
    ),
    notes=(imx8m.UNTRIED,),
)
