# SPDX-License-Identifier: BSD-2-Clause
"""USB devices as Linux's sysfs shows them (Documentation/ABI/stable/sysfs-bus-usb and testing/sysfs-bus-usb).

All reading and writing of attributes goes through one `Sysfs`, so that a test can stand a tree of its own behind it.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from router.usbip.protocol.descriptors import all_interfaces_of, interfaces_of
from router.usbip.protocol.device import SPEED_UNKNOWN, SYSFS_SPEEDS, Device, port_name, valid_busid


class Sysfs:
    """Attribute files below `root`; paths are relative to it ("bus/usb/devices/1-1/speed")."""

    def __init__(self, root: str = "/sys") -> None:
        self.root = root

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read_bytes(self, name: str) -> bytes:
        fd = os.open(self.path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 65536)
        finally:
            os.close(fd)

    def read(self, name: str) -> str:
        """The attribute's text without its line end; OSError when it cannot be read."""
        return self.read_bytes(name).decode("utf-8", "replace").rstrip("\n")

    def get(self, name: str, default: str = "") -> str:
        """The attribute's text, or the default where the device has none (or has just gone)."""
        try:
            return self.read(name)
        except OSError:
            return default

    def write(self, name: str, text: str, check: Callable[[], None] | None = None) -> None:
        """Writes the attribute in one call, as its driver wants it; OSError is the driver's answer.

        check: called between opening and writing; what it raises leaves the attribute unwritten. The file of a device
        that has gone meanwhile takes nothing (ENODEV), so what was checked is what is written to.
        """
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            if check:
                check()
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def exists(self, name: str) -> bool:
        return os.access(self.path(name), os.F_OK)

    def names(self, name: str) -> list[str]:
        """The directory's entries, sorted; none where there is no such directory."""
        try:
            return sorted(os.listdir(self.path(name)))
        except FileNotFoundError:
            return []

    def link(self, name: str) -> str:
        """The last part of where a link leads, "" without one (a device without a driver)."""
        try:
            return os.readlink(self.path(name)).rsplit("/", 1)[-1]
        except OSError:
            return ""

    def real(self, name: str) -> str:
        return os.path.realpath(self.path(name))


def _number(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        return 0


def peer_of(sysfs: Sysfs, base: str) -> str:
    """The busid that the device at `base` would have at the other speed, in its port; "" where there is none."""
    return peer_of_port(sysfs, f"{base}/port")


def peer_of_port(sysfs: Sysfs, base: str) -> str:
    """The busid that a device of the other speed has in the physical port at `base`; "" where there is none.

    A connector has a port on the USB 2 hub and one on the SuperSpeed hub; `peer` links one to the other
    (Documentation/ABI/testing/sysfs-bus-usb). Ports are called "usb1-port2" on a root hub, "1-1-port2" on another.
    """
    hub, _, number = sysfs.link(f"{base}/peer").rpartition("-port")
    if not number.isdecimal():
        return ""
    return f"{hub[3:]}-{number}" if hub.startswith("usb") else f"{hub}.{number}"


def controller_names(sysfs: Sysfs, hub: str) -> list[str]:
    """What the controller of a root hub is called: by its address on PCI, by its node in the device tree.

    hub: the root hub's real folder. It and the controller's folders above it link to the node (`of_node`); a controller
    on PCI has a folder that is called by its address.
    """
    root = os.path.realpath(sysfs.root)
    names: list[str] = []
    node = ""
    while len(hub) > len(root):
        base = hub.removeprefix(root + "/")
        node = node or sysfs.link(f"{base}/of_node")
        if sysfs.link(f"{base}/subsystem") == "pci":
            names.append(hub.rpartition("/")[2])
            break
        hub = hub.rpartition("/")[0]
    return [*names, node] if node else names


def sockets_of(sysfs: Sysfs, path: str, busid: str, peer: str) -> tuple[str, ...]:
    """The names of a device's port by its controller; none where the controller cannot be told.

    path: the device's real folder.
    """
    hub = f"/usb{busid.partition('-')[0]}"
    above, found, _ = path.partition(f"{hub}/")
    if not found:
        return ()
    chains = dict.fromkeys(one.partition("-")[2] for one in (busid, peer) if one)
    names = controller_names(sysfs, above + hub)
    return tuple(socket for name in names for chain in chains if (socket := port_name(f"{name}/{chain}")))


def controllers(sysfs: Sysfs) -> dict[str, list[str]]:
    """The buses' numbers and what the controller of each is called; the buses of a virtual controller are left out."""
    found: dict[str, list[str]] = {}
    for name in sysfs.names("bus/usb/devices"):
        path = sysfs.real(f"bus/usb/devices/{name}")
        if name.startswith("usb") and name[3:].isdecimal() and "/vhci_hcd" not in path:
            found[name[3:]] = controller_names(sysfs, path)
    return found


def read_device(sysfs: Sysfs, busid: str) -> Device | None:
    """The device behind a busid, or None if there is none (any more).

    The interfaces come from the descriptors, because a device that usbip-host holds has no configuration and hence no
    interface directories.
    """
    link = f"bus/usb/devices/{busid}"
    path = sysfs.real(link)
    # Everything is read below the real folder: a device that goes away meanwhile cannot be confused with another.
    base = path.removeprefix(os.path.realpath(sysfs.root) + "/")
    if path == sysfs.path(link) or not path.startswith("/"):
        return None
    try:
        vid = int(sysfs.read(f"{base}/idVendor"), 16)
        pid = int(sysfs.read(f"{base}/idProduct"), 16)
        busnum = int(sysfs.read(f"{base}/busnum"))
        devnum = int(sysfs.read(f"{base}/devnum"))
        descriptors = sysfs.read_bytes(f"{base}/descriptors")
    except (OSError, ValueError):
        return None
    config = _number(sysfs.get(f"{base}/bConfigurationValue"), 10)
    peer = peer_of(sysfs, base)
    return Device(
        busid=busid,
        speed=SYSFS_SPEEDS.get(sysfs.get(f"{base}/speed"), SPEED_UNKNOWN),
        busnum=busnum,
        devnum=devnum,
        vid=vid,
        pid=pid,
        bcd=_number(sysfs.get(f"{base}/bcdDevice"), 16),
        triple=(
            _number(sysfs.get(f"{base}/bDeviceClass"), 16),
            _number(sysfs.get(f"{base}/bDeviceSubClass"), 16),
            _number(sysfs.get(f"{base}/bDeviceProtocol"), 16),
        ),
        config=config,
        configs=_number(sysfs.get(f"{base}/bNumConfigurations"), 10),
        interfaces=interfaces_of(descriptors, config),
        all_interfaces=all_interfaces_of(descriptors),
        path=path,
        serial=sysfs.get(f"{base}/serial"),
        manufacturer=sysfs.get(f"{base}/manufacturer"),
        product=sysfs.get(f"{base}/product"),
        peer=peer,
        sockets=sockets_of(sysfs, path, busid, peer),
    )


def _read_whole(sysfs: Sysfs, busid: str) -> Device | None:
    """The device with all names of its port, or None where they are not known yet.

    The link to the port comes after the device's news (usb_new_device, drivers/usb/core/hub.c). Before it the device
    has no `peer`, and a rule for another client could fit. All is of one device: its number is the same afterwards.
    """
    base = f"bus/usb/devices/{busid}"
    number = sysfs.get(f"{base}/devnum")
    if not sysfs.exists(f"{base}/port"):
        return None
    device = read_device(sysfs, busid)
    return device if device and sysfs.get(f"{base}/devnum") == number else None


def find_devices(
    sysfs: Sysfs, known: dict[str, Device] | None = None, late: set[str] | None = None
) -> dict[str, Device]:
    """Every device that could be exported: by busid, without hubs and without those that vhci brought.

    known: what an earlier call found; a device in it that is still the same one is not read again. late: gets the
    busids that are left out because the kernel is still at them. It gives no news when it has finished: look again.
    """
    found: dict[str, Device] = {}
    for busid in sysfs.names("bus/usb/devices"):
        if not valid_busid(busid):
            continue
        before = known.get(busid) if known else None
        if before and sysfs.get(f"bus/usb/devices/{busid}/devnum") in (str(before.devnum), "0", "-1"):
            # Without a number it is being reset, and is still the same.
            found[busid] = before
            continue
        if "/vhci_hcd" in sysfs.real(f"bus/usb/devices/{busid}"):
            # Attached over USB/IP itself: exporting it again would be a loop. Not even its attributes may be read: they
            # wait for its enumeration, which waits for our own answers where server and client are one machine.
            continue
        device = _read_whole(sysfs, busid)
        if device is None and late is not None:
            late.add(busid)
        if device and not device.is_hub:
            found[busid] = device
    return found
