# SPDX-License-Identifier: BSD-2-Clause
"""NXP's i.MX 8M Quad EVK. Its tree is the kernel package's own."""

from router.boards import imx8m
from router.boards.model import Board, BootLoader, KernelTree, Range

MiB = 1 << 20

BOARD = Board(
    name="imx8mq_evk",
    title="NXP i.MX 8M Quad EVK",
    microkit="imx8mq_evk",
    cores=4,
    ram=Range(0x4000_0000, 0xC000_0000),
    reserved=(
        imx8m.KERNEL,
        imx8m.EVK_IMAGE,
        imx8m.LEFT_OUT,
        # The last 32 MiB of 3 GiB (CFG_TZDRAM_START and CFG_DDR_SIZE of mx8mqevk in OP-TEE's plat-imx/conf.mk).
        ("the secure firmware", Range(0xFE00_0000, 32 * MiB)),
    ),
    guest_ram=Range(0x5000_0000, 0xB800_0000 - 0x5000_0000),
    loader=imx8m.EVK_LOADER,
    start=f"go {imx8m.EVK_LOADER:#x}",
    boot_loader=BootLoader(),
    gic=imx8m.GIC,
    uart=imx8m.UART1,
    timer=imx8m.GPT1,
    virtio=imx8m.VIRTIO,
    max_irq=imx8m.MAX_IRQ,
    smmu=False,
    tree=KernelTree(dtb="freescale/imx8mq-evk.dtb", labels="imx8mq-labels.dts"),
    early_console=imx8m.EARLY_CONSOLE,
    bootargs=imx8m.BOOTARGS,
    smc=imx8m.SMC,
    notes=(
        imx8m.UNTRIED,
        "QEMU has no model of the i.MX 8M Quad: this board's image has not run at all",
        "the kernel's tree switches on usb@38200000 alone, the Type-A socket: of usb@38100000, the Type-C one, it lacks"
        " the port controller",
    ),
)
