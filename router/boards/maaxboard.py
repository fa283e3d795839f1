# SPDX-License-Identifier: BSD-2-Clause
"""Avnet MaaXBoard (NXP i.MX 8M Quad): addresses of the SoC's reference manual, as the public device trees use them."""

from router.boards import imx8m
from router.boards.model import Board, BootLoader, EmulatedBoard, KernelTree, Range

MiB = 1 << 20

BOARD = Board(
    name="maaxboard",
    title="Avnet MaaXBoard (NXP i.MX8MQ)",
    microkit="maaxboard",
    cores=4,
    # As the maker's U-Boot has it; the memory node of the maker's kernel tree says half of it.
    ram=Range(0x4000_0000, 0x8000_0000),
    reserved=(
        imx8m.KERNEL,
        ("the loader's image", Range(0x5000_0000, 128 * MiB)),
        # Where NXP's builds of OP-TEE put themselves on i.MX8MQ; whether this board's firmware has one is not known.
        ("the secure firmware", Range(0xBE00_0000, 32 * MiB)),
    ),
    guest_ram=Range(0x7000_0000, 0xBE00_0000 - 0x7000_0000),
    loader=0x5000_0000,
    start="go 0x50000000",
    boot_loader=BootLoader(),
    gic=imx8m.GIC,
    uart=imx8m.UART1,
    timer=imx8m.GPT1,
    virtio=imx8m.VIRTIO,
    max_irq=imx8m.MAX_IRQ,
    smmu=False,
    tree=KernelTree(
        dtb="freescale/imx8mq-evk.dtb",
        labels="imx8mq-labels.dts",
        fragment="maaxboard.dtso",
        soc=(
            *("soc@0", "cpus", "psci", "timer", "pmu", "aliases", "clock-ckil", "clock-osc-25m", "clock-osc-27m"),
            *("clock-ext1", "clock-ext2", "clock-ext3", "clock-ext4"),
        ),
    ),
    early_console=imx8m.EARLY_CONSOLE,
    # The maker's tree says 1 GiB in its memory node and its U-Boot 2 GiB; USB power is in dts/README.md.
    bootargs=imx8m.BOOTARGS,
    smc=imx8m.SMC,
    # GIC, UART1, GPT1 and the USB controllers are at the same addresses (QEMU's hw/arm/fsl-imx8mp.c). TF-A's place on
    # the i.MX8MP is where its on-chip RAM is. QEMU 10.0 has the machine too, but guests' interrupts are never taken.
    emulated=EmulatedBoard(
        "imx8mp-evk",
        "cortex-a53",
        (11, 0),
        2048 * MiB,
        False,
        firmware=Range(0x0096_0000, 0x1_0000),
        usb_buses={"usb@38100000": "usb-bus.0", "usb@38200000": "usb-bus.1"},
        unmodelled=(
            *("clocks", "clock-names", "assigned-clocks", "assigned-clock-parents", "assigned-clock-rates"),
            *("phys", "phy-names", "power-domains", "pinctrl-0", "pinctrl-names"),
        ),
    ),
    notes=(imx8m.UNTRIED,),
)
