# SPDX-License-Identifier: BSD-2-Clause
"""What sysfs says about one USB device."""

import os

from bench.guest.sysfs import read, routed, wait

BASE = "/sys/bus/usb/devices/"


def describe(device: str, driver: str, timeout_s: float, settle_s: float, mark: str = "/vhci_hcd") -> None:
    """Wait for a device and a driver on one of its interfaces; prints its facts as a dict, or None.

    device: "vvvv:pppp"; driver: "" to wait for none; settle_s: timeout for the driver.
    """

    def find() -> str:
        for name in routed(BASE, mark):
            base = BASE + name
            identity = read(base + "/idVendor") + ":" + read(base + "/idProduct")
            if identity == device and read(base + "/bConfigurationValue"):
                return name
        return ""

    def drivers(name: str) -> dict[str, str]:
        return {each: bound_driver(each) for each in routed(BASE, mark) if each.startswith(name + ":")}

    name = wait(find, timeout_s)
    if not name:
        print(None)
        return
    # No driver is bound while one hands over to another; a composite device gets its drivers one after another.
    wait(lambda: not driver or driver in drivers(name).values(), settle_s)
    base = BASE + name
    with open(base + "/descriptors", "rb") as file:
        descriptors = file.read()
    facts = {
        "name": name,
        "speed": read(base + "/speed"),
        "config": int(read(base + "/bConfigurationValue")),
        "product": read(base + "/product"),
        "descriptors": descriptors,
        "drivers": drivers(name),
        "node": f"/dev/bus/usb/{int(read(base + '/busnum')):03d}/{int(read(base + '/devnum')):03d}",
    }
    print(facts)


def bound_driver(interface: str) -> str:
    """The name of an interface's driver, or ""."""
    link = BASE + interface + "/driver"
    return os.path.basename(os.readlink(link)) if os.path.islink(link) else ""
