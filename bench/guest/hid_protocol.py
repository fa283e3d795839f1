# SPDX-License-Identifier: BSD-2-Clause
"""The protocol of a routed HID device (HID 1.11, 7.2.5 and 7.2.6): a state that Linux's driver leaves alone.

It is 1 after a reset.
"""

import array
import fcntl
import os
import struct
import sys

from bench.guest.sysfs import read, routed, wait

USBDEVFS_CONTROL = 0xC0185500
GET_PROTOCOL, SET_PROTOCOL = (0xA1, 0x03), (0x21, 0x0B)
BASE = "/sys/bus/usb/devices/"
DRIVER = "/sys/bus/usb/drivers/usbhid"


def change(product: str, value: int) -> None:
    """Set the protocol of the device that calls itself `product`, unless `value` is -1; print what it is then."""

    def find() -> str:
        names = [name for name in routed(BASE, "/vhci_hcd") if read(f"{BASE}{name}/product") == product]
        return names[0] if names and os.path.exists(f"{DRIVER}/{names[0]}:1.0") else ""

    name = wait(find, 30)
    if not name:
        sys.exit(f"no {product} with the driver usbhid")
    node = f"/dev/bus/usb/{int(read(f'{BASE}{name}/busnum')):03d}/{int(read(f'{BASE}{name}/devnum')):03d}"
    # usbfs talks to an interface that no driver has.
    tell("unbind", f"{name}:1.0")
    try:
        if value >= 0:
            control(node, SET_PROTOCOL, value, 0)
    finally:
        # The driver has it in between, so that what is printed is what it left.
        tell("bind", f"{name}:1.0")
    tell("unbind", f"{name}:1.0")
    try:
        print(control(node, GET_PROTOCOL, 0, 1)[0])
    finally:
        tell("bind", f"{name}:1.0")


def tell(verb: str, interface: str) -> None:
    with open(f"{DRIVER}/{verb}", "w", encoding="ascii") as file:
        file.write(interface)


def control(node: str, request: tuple[int, int], value: int, size: int) -> bytes:
    """A control request to interface 0 (linux/usbdevice_fs.h): what it answers."""
    buffer = array.array("B", bytes(max(size, 1)))
    address, _ = buffer.buffer_info()
    file = os.open(node, os.O_RDWR)
    try:
        fcntl.ioctl(file, USBDEVFS_CONTROL, struct.pack("=BBHHHI4xQ", *request, value, 0, size, 2000, address))
    finally:
        os.close(file)
    return buffer[:size].tobytes()
