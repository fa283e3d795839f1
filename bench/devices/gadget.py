# SPDX-License-Identifier: BSD-2-Clause
"""Plugs gadgets in: devices that the server's kernel makes, on its emulated controller dummy_hcd."""

from __future__ import annotations

from collections.abc import Mapping

from bench import programs
from bench.devices.models import NotTried
from bench.devices.rig import Rig
from router.errors import MachineError

NO_ISOCHRONOUS = "dummy_hcd has no isochronous endpoints"
DEVICE = "1209:0001"
FOLDER = "/sys/kernel/config/usb_gadget/bench"
Functions = Mapping[str, Mapping[str, str]]
"""The functions of a configuration by their names in configfs; for each, commands whose output its attributes get."""


def set_up(device: str, configurations: tuple[Functions, ...], modules: tuple[str, ...], extra: str = "") -> str:
    """A shell script that makes a gadget and plugs it into dummy_hcd (Documentation/usb/gadget_configfs.rst).

    extra: commands in the gadget's folder before any function is put into a configuration.
    """
    vendor, _, product = device.partition(":")
    lines = [
        "set -e",
        f"for m in dummy_hcd libcomposite {' '.join(modules)}; do modprobe $m; done",
        "[ -d /sys/kernel/config/usb_gadget ] || mount -t configfs none /sys/kernel/config",
        f"mkdir {FOLDER}; cd {FOLDER}",
        f"echo 0x{vendor} >idVendor; echo 0x{product} >idProduct; echo 0x0200 >bcdUSB",
        "mkdir strings/0x409; echo bench >strings/0x409/product; echo 0001 >strings/0x409/serialnumber",
    ]
    for number, functions in enumerate(configurations, 1):
        lines.append(f"mkdir configs/c.{number}")
        for name, attributes in functions.items():
            lines.append(f"mkdir functions/{name}")
            lines += [f"{value} >functions/{name}/{attribute}" for attribute, value in attributes.items()]
            lines.append(extra)
            lines.append(f"ln -s functions/{name} configs/c.{number}/")
    lines.append("udc=$(ls /sys/class/udc | grep dummy); echo $udc >UDC")
    return "\n".join(lines)


def gadget(
    rig: Rig, modules: tuple[str, ...], *configurations: Functions, device: str = DEVICE, extra: str = ""
) -> None:
    """Plug a gadget into the server."""
    rig.add_cleanup(lambda: rig.run("server", programs.script("remove_gadget", FOLDER)))
    rig.run("server", set_up(device, configurations, modules, extra), 30)


def isochronous(rig: Rig, modules: tuple[str, ...], functions: Functions, extra: str = "") -> None:
    """Plug in a gadget that needs isochronous endpoints; NotTried where dummy_hcd does not take it.

    dummy_hcd is then loaded again: after a gadget that did not fit, it does not notice the next one. (Not after each
    gadget, because network adapters do not survive that.)
    """
    try:
        gadget(rig, modules, functions, extra=extra)
    except MachineError as error:
        rig.cleanup()
        message = rig.run("server", "rmmod dummy_hcd; dmesg | grep -e 'udc.*failed' | tail -n 1").strip()
        said = message.partition("] ")[2]
        raise NotTried(f"the server's kernel does not plug it in ({said}): {NO_ISOCHRONOUS}") from error
