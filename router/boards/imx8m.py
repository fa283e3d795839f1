# SPDX-License-Identifier: BSD-2-Clause
"""What the i.MX 8M Quad, Mini and Plus have in common: addresses of their reference manuals, as in Linux's trees."""

from router.boards.model import BoardDevice, Gic, Range, TimerKind, UartKind, VirtioSlots

MiB = 1 << 20

GIC = Gic(version=3, distributor=Range(0x3880_0000, 0x1_0000), redistributor=Range(0x3888_0000, 0x2_0000))
UART1 = BoardDevice(UartKind.IMX, Range(0x3086_0000, 0x1_0000), irq=58)
UART2 = BoardDevice(UartKind.IMX, Range(0x3089_0000, 0x1_0000), irq=59)
GPT1 = BoardDevice(TimerKind.IMX_GPT, Range(0x302D_0000, 0x1_0000), irq=87)

VIRTIO = VirtioSlots(base=0x0A00_0000, stride=0x200, irq=224)
"""In the FlexSPI's window. Interrupts above the SoC's own (128 SPIs, Plus: 160), so that no pass-through device can
have the same one.
"""
EARLY_CONSOLE = Range(0x0900_0000, 0x1000)
"""In the FlexSPI's window too."""

BOOTARGS = ("initcall_blacklist=imx8_soc_init",)
"""The SoC driver asks the secure firmware for its revision by an SMC that is not forwarded to it."""
SMC = (0xC200_0000, 0xC200_0006)
"""NXP's SIP calls for power domains (vendor kernels) and for the SoC's revision."""
MAX_IRQ, MAX_IRQ_PLUS = 160, 192
"""Of seL4's builds (the length of intStateIRQTable in the SDKs' sel4.elf, less one)."""

KERNEL = ("the seL4 kernel", Range(0x4000_0000, 16 * MiB))
EVK_LOADER = 0x4800_0000
"""The SDKs link the EVKs' loaders to 0x41000000, which leaves too little room before it: `router.microkit.placed`."""
EVK_IMAGE = ("the loader's image", Range(EVK_LOADER, 128 * MiB))
LEFT_OUT = ("memory that seL4's build for the board leaves to the Cortex-M core", Range(0xB800_0000, 4 * MiB))
"""On the Quad's and the Mini's EVK (the SDKs' platform_gen.json)."""
UNTRIED = "no hardware run of this version has been made: all runs so far are under emulation"
