# SPDX-License-Identifier: BSD-2-Clause
"""Linux's virtual host controllers, brought up, taken down and cut to size while the machine runs.

The kernel makes as many controllers of as many ports as it was compiled for (Debian: 8 of 15 high-speed and 15
super-speed ports); vhci_hcd has no module parameters. What can be had without compiling is this:

- A controller is a platform device, so unbinding it from its driver takes its two root hubs away and binding it brings
  them back (Documentation/driver-api/driver-model/binding.rst). Controller 0 stays: the attributes to attach and
  detach hang on it.
- A port that a root hub has too many is switched off by its `disable` attribute (Documentation/ABI/testing/
  sysfs-bus-usb, Linux 6.0 and newer): whatever is attached to it does not appear. It remains visible in the hub's
  descriptor.

What each controller was cut to is noted in the folder where `usbip` keeps its own notes.
"""

from __future__ import annotations

import os

from router.errors import HostError
from router.usbip.client.vhci import CONTROLLER, PORT_ERROR, PORT_USED, Port, Vhci

DRIVER = "bus/platform/drivers/vhci_hcd"
_PLATFORM = CONTROLLER.rpartition("/")[0]
# The hubs' `speed` attributes.
_HUBS = {"480": "hs", "5000": "ss", "10000": "ss"}


class Controller:
    """One virtual host controller. ports: usable ones of each speed; usb: 2 or 3; used: its ports with devices."""

    __slots__ = ("index", "ports", "present", "usb", "used")

    def __init__(self, index: int, present: bool, ports: int, usb: int, used: list[Port]) -> None:
        self.index = index
        self.present = present
        self.ports = ports
        self.usb = usb
        self.used = used


def find_controllers(vhci: Vhci) -> list[Controller]:
    """All that the kernel was compiled for, in their order."""
    return controllers_of(vhci, vhci.ports())


def controllers_of(vhci: Vhci, everything: list[Port]) -> list[Controller]:
    """The controllers of these ports, in their order. everything: what `Vhci.ports` gave."""
    found: dict[int, list[Port]] = {}
    for port in everything:
        found.setdefault(port.controller, []).append(port)
    return [
        Controller(
            index,
            vhci.sysfs.exists(f"{DRIVER}/vhci_hcd.{index}"),
            *(vhci.size(index) or (max(port.place for port in ports), 3)),
            [port for port in ports if port.state in (PORT_USED, PORT_ERROR)],
        )
        for index, ports in sorted(found.items())
    ]


def create(vhci: Vhci, ports: int, usb: int) -> Controller:
    """Brings another controller up, with that many ports (of each speed, for USB 3). HostError if there is none."""
    everything = find_controllers(vhci)
    largest = max(port.place for port in vhci.ports())
    if not 1 <= ports <= largest:
        raise HostError(f"a controller cannot have {ports} ports", f"this kernel was compiled for 1 to {largest}")
    for controller in everything:
        if not controller.present:
            _bind(vhci, controller.index, "bind")
            cut(vhci, controller.index, ports, usb)
            return find_controllers(vhci)[controller.index]
    raise HostError(
        f"all {len(everything)} controllers that this kernel was compiled for are there", "destroy one of them first"
    )


def destroy(vhci: Vhci, index: int) -> None:
    """Takes a controller down. HostError while devices are attached to it, and always for controller 0."""
    everything = find_controllers(vhci)
    if not 0 <= index < len(everything) or not everything[index].present:
        there = ", ".join(str(controller.index) for controller in everything if controller.present)
        raise HostError(f"there is no controller {index}", f"there are: {there}")
    if index == 0:
        raise HostError("controller 0 cannot go", "the kernel's driver works through it; detach its devices instead")
    if everything[index].used:
        ports = ", ".join(str(port.number) for port in everything[index].used)
        raise HostError(f"controller {index} has devices on its ports: {ports}", "detach them first")
    _bind(vhci, index, "unbind")
    try:
        os.unlink(f"{vhci.state_dir}/controller{index}")
    except FileNotFoundError:
        return


def fit(vhci: Vhci, ports: int, usb: int) -> None:
    """Leaves one controller with that many ports (0: all), for a guest whose description says so.

    Controllers that were created or cut before, and those with devices, stay as they are. HostError if the kernel
    refuses.
    """
    for controller in find_controllers(vhci):
        if vhci.size(controller.index) is not None or not controller.present:
            continue
        if controller.index == 0:
            cut(vhci, 0, ports or controller.ports, usb)
        elif not controller.used:
            _bind(vhci, controller.index, "unbind")


def cut(vhci: Vhci, index: int, ports: int, usb: int) -> None:
    """Switches off the ports beyond `ports`, and every super-speed port for USB 2; notes the size."""
    for hub, speed in _root_hubs(vhci, index):
        interface = f"{_PLATFORM}/vhci_hcd.{index}/{hub}/{hub[3:]}-0:1.0"
        for name in vhci.sysfs.names(interface):
            place = name.removeprefix(f"{hub}-port")
            if place == name or not vhci.sysfs.exists(f"{interface}/{name}/disable"):
                continue
            off = int(place) > ports or (speed == "ss" and usb < 3)
            try:
                vhci.sysfs.write(f"{interface}/{name}/disable", str(int(off)))
            except OSError as error:
                raise HostError(
                    f"port {place} of virtual controller {index} cannot be switched: {os.strerror(error.errno or 0)}"
                ) from error
    os.makedirs(vhci.state_dir, mode=0o700, exist_ok=True)
    with open(f"{vhci.state_dir}/controller{index}", "w", encoding="utf-8") as file:
        file.write(f"{ports} {usb}\n")


def _root_hubs(vhci: Vhci, index: int) -> list[tuple[str, str]]:
    """(usbN, "hs" or "ss") of a controller's root hubs."""
    base = f"{_PLATFORM}/vhci_hcd.{index}"
    hubs = [name for name in vhci.sysfs.names(base) if name.startswith("usb") and name[3:].isdecimal()]
    return [(hub, _HUBS.get(vhci.sysfs.get(f"{base}/{hub}/speed"), "ss")) for hub in hubs]


def _bind(vhci: Vhci, index: int, verb: str) -> None:
    try:
        vhci.sysfs.write(f"{DRIVER}/{verb}", f"vhci_hcd.{index}")
    except OSError as error:
        raise HostError(
            f"cannot {verb} virtual controller {index}: {os.strerror(error.errno or 0)}", "are you root?"
        ) from error
