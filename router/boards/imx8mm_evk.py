# SPDX-License-Identifier: BSD-2-Clause
"""NXP's i.MX 8M Mini EVK. Its tree is the kernel package's own."""

from router.boards import imx8m
from router.boards.model import Board, BootLoader, KernelTree, Range

MiB = 1 << 20

BOARD = Board(
    name="imx8mm_evk",
    title="NXP i.MX 8M Mini EVK",
    microkit="imx8mm_evk",
    cores=4,
    ram=Range(0x4000_0000, 0x8000_0000),
    reserved=(
        imx8m.KERNEL,
        imx8m.EVK_IMAGE,
        imx8m.LEFT_OUT,
        # The last 32 MiB of 2 GiB (CFG_TZDRAM_START and CFG_DDR_SIZE of mx8mmevk in OP-TEE's plat-imx/conf.mk).
        ("the secure firmware", Range(0xBE00_0000, 32 * MiB)),
    ),
    guest_ram=Range(0x5000_0000, 0xB800_0000 - 0x5000_0000),
    loader=imx8m.EVK_LOADER,
    start=f"go {imx8m.EVK_LOADER:#x}",
    boot_loader=BootLoader(),
    gic=imx8m.GIC,
    uart=imx8m.UART2,
    timer=imx8m.GPT1,
    virtio=imx8m.VIRTIO,
    max_irq=imx8m.MAX_IRQ,
    smmu=False,
    tree=KernelTree(dtb="freescale/imx8mm-evk.dtb"),
    early_console=imx8m.EARLY_CONSOLE,
    bootargs=imx8m.BOOTARGS,
    smc=imx8m.SMC,
    notes=(
        imx8m.UNTRIED,
        "QEMU 11 has no way into this board's image that has been tried: it has not run at all",
        "usb@32e40000 is the Type-C socket: its port controller is on an I2C bus, which goes to the same guest",
    ),
)
