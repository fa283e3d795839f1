# SPDX-License-Identifier: BSD-2-Clause
"""Systems to test with: the shipped descriptions, and what their server guests own of their boards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.boards import board
from router.boards.model import Range
from router.description.load import load
from router.description.models import Description, ImageFiles
from router.pipeline.inputs import base_of
from router.plan.models import DeviceIrq, DeviceRegion, Passthrough, SystemPlan
from router.plan.system import plan_system

SHIPPED = Path(__file__).parents[2] / "system-descriptions"
NAMES = tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
"""All shipped descriptions."""
SDKS = ("2.0.1", "2.1.0", "2.2.0", "2.3.0")


def region(name: str, start: int, size: int, why: str, *widened: Range) -> DeviceRegion:
    return DeviceRegion(name, Range(start, size), why, widened)


PASSTHROUGH = {
    # QEMU's generic PCIe host bridge: configuration space, a part of its memory window, and its port window.
    "qemu": Passthrough(
        selected=("/pcie@3f000000",),
        nodes=("/pcie@3f000000",),
        regions=(
            region("pcie_10000000", 0x1000_0000, 0x200_0000, "pcie@3f000000, memory window"),
            region("pcie_3eff0000", 0x3EFF_0000, 0x1_0000, "pcie@3f000000, I/O window"),
            region("pcie_3f000000", 0x3F00_0000, 0x100_0000, "pcie@3f000000, configuration space"),
        ),
        irqs=tuple(DeviceIrq(number, False, "/pcie@3f000000") for number in (35, 36, 37, 38)),
        dma=True,
        config_spaces=(Range(0x3F00_0000, 0x100_0000),),
        bootargs=("pci=nomsi",),
    ),
    # Both USB controllers of the i.MX 8M Quad and what they depend on.
    "maaxboard": Passthrough(
        selected=("/soc@0/bus@38000000/usb@38100000", "/soc@0/bus@38000000/usb@38200000"),
        nodes=("/soc@0/bus@38000000/usb@38100000", "/soc@0/bus@38000000/usb@38200000"),
        regions=(
            region("iomuxc_30330000", 0x3033_0000, 0x1_0000, "pinctrl@30330000"),
            region("anatop_30360000", 0x3036_0000, 0x1_0000, "clock-controller@30360000"),
            region("ccm_30380000", 0x3038_0000, 0x1_0000, "clock-controller@30380000"),
            region("gpc_303a0000", 0x303A_0000, 0x1_0000, "gpc@303a0000"),
            region("usb_38100000", 0x3810_0000, 0x1_0000, "usb@38100000"),
            region("usb_phy_381f0000", 0x381F_0000, 0x1000, "usb-phy@381f0040", Range(0x381F_0040, 0x40)),
            region("usb_38200000", 0x3820_0000, 0x1_0000, "usb@38200000"),
            region("usb_phy_382f0000", 0x382F_0000, 0x1000, "usb-phy@382f0040", Range(0x382F_0040, 0x40)),
        ),
        irqs=(DeviceIrq(72, False, "usb@38100000"), DeviceIrq(73, False, "usb@38200000")),
        dma=True,
        unstoppable=("usb@38100000", "usb@38200000"),
        bootargs=("initcall_blacklist=imx8_soc_init",),
    ),
    # The i.MX 8M Plus EVK's USB host controller and what it depends on.
    "imx8mp_evk": Passthrough(
        selected=("/soc@0/usb@32f10108/usb@38200000",),
        nodes=("/soc@0/usb@32f10108/usb@38200000", "/soc@0/usb@32f10108"),
        regions=(
            region("pinctrl_30330000", 0x3033_0000, 0x1_0000, "pinctrl@30330000"),
            region("anatop_30360000", 0x3036_0000, 0x1_0000, "anatop@30360000"),
            region("clock_controller_30380000", 0x3038_0000, 0x1_0000, "clock-controller@30380000"),
            region("gpc_303a0000", 0x303A_0000, 0x1000, "gpc@303a0000"),
            region(
                *("blk_ctrl_32f10000", 0x32F1_0000, 0x1000, "blk-ctrl@32f10000, usb@32f10108"),
                *(Range(0x32F1_0000, 0x24), Range(0x32F1_0108, 0x8)),
            ),
            region("usb_38200000", 0x3820_0000, 0x1_0000, "usb@38200000"),
            region(
                *("usb_phy_382f0000", 0x382F_0000, 0x1000, "usb@32f10108, usb-phy@382f0040"),
                *(Range(0x382F_0000, 0x20), Range(0x382F_0040, 0x40)),
            ),
        ),
        irqs=(
            DeviceIrq(73, False, "usb@38200000"),
            DeviceIrq(119, False, "gpc@303a0000"),
            DeviceIrq(181, False, "usb@32f10108"),
        ),
        dma=True,
        unstoppable=("usb@38200000", "usb@32f10108"),
        bootargs=("initcall_blacklist=imx8_soc_init",),
    ),
}
IMAGE_ROLES = {"usb-server": "server", "usb-client": "client"}


def roles(description: Description) -> dict[str, str]:
    return {
        name: guest.image.role if isinstance(guest.image, ImageFiles) else IMAGE_ROLES[base_of(guest.image)]
        for name, guest in description.guests.items()
    }


def owned(description: Description) -> dict[str, Passthrough]:
    """The first guest with pass-through devices gets the board's fixture, and nothing on boards without one."""
    names = [name for name, guest in description.guests.items() if guest.passthrough]
    return dict.fromkeys(names[:1], PASSTHROUGH.get(description.board, Passthrough()))


def plan_of(description: Description, sdk: str | None = None, **options: Any) -> SystemPlan:
    """The plan of a description, with the board's fixture for the guest that has pass-through devices."""
    return plan_system(
        description,
        board(description.board),
        roles=roles(description),
        passthrough=owned(description),
        sdk=sdk,
        **options,
    )


def shipped(name: str) -> Description:
    """A shipped description."""
    return load(SHIPPED / f"{name}.yaml").description


def described(fields: Mapping[str, Any]) -> Description:
    """A description from what its YAML would hold."""
    return Description.model_validate(dict(fields))


def many(guests: int, *, memory: str = "32 MiB", sdk: str = "auto") -> Description:
    """A qemu system of one server and `guests` - 1 clients with one USB rule each."""
    clients = {f"client{n}": {"image": "usb-client", "memory": memory} for n in range(1, guests)}
    server = {"image": "usb-server", "memory": memory, "passthrough": ["pcie@3f000000"]}
    return described(
        {
            "system": "many",
            "board": "qemu",
            "microkit": {"sdk": sdk},
            "guests": {"server": server, **clients},
            "usb": [{"path": f"1-{n}", "to": name} for n, name in enumerate(clients, start=1)],
        }
    )
