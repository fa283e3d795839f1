# SPDX-License-Identifier: BSD-2-Clause
"""Linux's virtual USB host controller, vhci_hcd, through its sysfs attributes (drivers/usb/usbip/vhci_sysfs.c).

A *virtual port* here is a number from 1, as on a connector of a real controller: port 1 is the first high-speed port
for a USB 2 device and the first super-speed port for a USB 3 device. The kernel's own numbers ("rhport") count the
high-speed and super-speed ports of each controller in turn, from 0.
"""

from __future__ import annotations

import os

from router.errors import HostError
from router.usbip.protocol.device import SPEED_SUPER, SPEED_SUPER_PLUS
from router.usbip.runtime.sysfs import Sysfs

CONTROLLER = "devices/platform/vhci_hcd.0"
PORT_FREE, PORT_NOT_ASSIGNED, PORT_USED, PORT_ERROR = 4, 5, 6, 7
STATE_DIR = "/var/run/vhci_hcd"


class Port:
    """One row of the status. hub: "hs" or "ss"; number: virtual port; rhport: the kernel's; devid: the remote's.

    controller: which one, from 0; place: the port's number on its own root hub, from 1.
    """

    __slots__ = ("controller", "devid", "hub", "local", "number", "place", "rhport", "speed", "state")

    def __init__(
        self,
        hub: str,
        number: int,
        rhport: int,
        state: int,
        speed: int,
        devid: int,
        local: str,
        controller: int = 0,
        place: int = 0,
    ) -> None:
        self.hub = hub
        self.number = number
        self.rhport = rhport
        self.state = state
        self.speed = speed
        self.devid = devid
        self.local = local
        self.controller = controller
        self.place = place or number

    @property
    def free(self) -> bool:
        return self.state == PORT_FREE


def parse_status_line(line: str) -> tuple[str, int, int, int, int, str]:
    """(hub, rhport, state, speed, devid, local busid) of a line of vhci_hcd's status; HostError if it is none."""
    words = line.split()
    try:
        if words[0] in ("hs", "ss"):
            return words[0], int(words[1]), int(words[2]), int(words[3]), int(words[4], 16), words[6]
    except (IndexError, ValueError):
        pass
    raise HostError(f"vhci_hcd's status line {line!r} is not understood", "Linux 4.13 or newer is needed")


def hub_for(speed: int) -> str:
    """Which kind of port a device of that speed needs."""
    return "ss" if speed >= SPEED_SUPER else "hs"


class Vhci:
    """The virtual host controllers of this machine."""

    def __init__(self, sysfs: Sysfs | None = None, state_dir: str = STATE_DIR) -> None:
        self.sysfs = sysfs or Sysfs()
        self.state_dir = state_dir

    def check(self) -> None:
        """HostError if the kernel has no vhci_hcd."""
        if not self.sysfs.exists(CONTROLLER):
            raise HostError("the kernel module vhci-hcd is not loaded", "run: modprobe vhci-hcd")

    def folders(self) -> list[str]:
        """Where the controllers' attributes and devices are, one folder for each controller."""
        above, _, _ = CONTROLLER.rpartition("/")
        return [self.sysfs.path(f"{above}/{name}") for name in self.sysfs.names(above) if name.startswith("vhci_hcd.")]

    def ports(self) -> list[Port]:
        """All ports of all controllers. HostError if the status cannot be understood."""
        files = sorted(
            (name for name in self.sysfs.names(CONTROLLER) if name == "status" or name.startswith("status.")),
            key=lambda name: int(name[7:]) if name[7:].isdecimal() else 0,
        )
        ports: list[Port] = []
        counts = {"hs": 0, "ss": 0}
        for controller, name in enumerate(files):
            places = {"hs": 0, "ss": 0}
            for line in self.sysfs.read(f"{CONTROLLER}/{name}").splitlines()[1:]:
                hub, rhport, state, speed, devid, local = parse_status_line(line)
                counts[hub] += 1
                places[hub] += 1
                ports.append(
                    Port(hub, counts[hub], rhport, state, speed, devid, local, controller, places[hub]),
                )
        return ports

    def choose(
        self, speed: int, number: int = 0, limit: int = 0, reserved: frozenset[int] | set[int] = frozenset()
    ) -> Port:
        """A free port for a device of that speed.

        number: this virtual port and no other; 0 for any up to `limit` (0: no limit), `reserved` ones only if need be.
        Where a controller was cut to size, that is its limit. HostError if there is none.
        """
        hub = hub_for(speed)
        sizes: dict[int, tuple[int, int] | None] = {}
        mine: list[Port] = []
        for port in self.ports():
            if port.controller not in sizes:
                sizes[port.controller] = self.size(port.controller)
            size = sizes[port.controller]
            fits = (
                port.place <= size[0] and (hub == "hs" or size[1] == 3) if size else not limit or port.number <= limit
            )
            # A port that is neither free nor about to get a device belongs to a controller that is not there.
            if port.hub == hub and fits and (port.state != PORT_NOT_ASSIGNED or port.devid):
                mine.append(port)
        if number:
            for port in mine:
                if port.number == number:
                    if port.free:
                        return port
                    raise HostError(f"virtual port {number} is in use", "detach what is there, or take another port")
            raise HostError(f"there is no virtual port {number} of the {hub} kind", f"there are {len(mine)}, from 1")
        free = [port for port in mine if port.free]
        if not free:
            raise HostError(f"all {len(mine)} virtual ports of the {hub} kind are in use", "detach a device first")
        return min(free, key=lambda port: (port.number in reserved, port.number))

    def attach(self, port: Port, sockfd: int, devid: int, speed: int) -> None:
        """Plugs the device at the socket's other end into the port. HostError if the kernel refuses."""
        speed = min(speed, SPEED_SUPER_PLUS - 1)
        try:
            self.sysfs.write(f"{CONTROLLER}/attach", f"{port.rhport} {sockfd} {devid} {speed}")
        except OSError as error:
            raise HostError(
                f"vhci_hcd refuses the device on virtual port {port.number}: {os.strerror(error.errno or 0)}",
                "see the kernel's log (dmesg)",
            ) from error

    def detach(self, rhport: int) -> None:
        """Unplugs the port's device. HostError if there is none."""
        try:
            self.sysfs.write(f"{CONTROLLER}/detach", str(rhport))
        except OSError as error:
            raise HostError(
                f"cannot detach port {rhport}: {os.strerror(error.errno or 0)}", "`usbip port` shows the ports in use"
            ) from error
        self.forget(rhport)

    # What came from where: the files that Debian's usbip keeps, in its form, so that each tool knows the other's work.

    def remember(self, rhport: int, host: str, port: int, busid: str) -> None:
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        path = f"{self.state_dir}/port{rhport}"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(f"{host} {port} {busid}\n")
        os.replace(f"{path}.new", path)

    def forget(self, rhport: int) -> None:
        try:
            os.unlink(f"{self.state_dir}/port{rhport}")
        except FileNotFoundError:
            return

    def size(self, controller: int) -> tuple[int, int] | None:
        """(ports, USB version) that a controller was cut to by `controllers`, None for one that is as it came."""
        try:
            with open(f"{self.state_dir}/controller{controller}", encoding="utf-8") as file:
                ports, usb = file.read().split()
                return int(ports), int(usb)
        except (OSError, ValueError):
            return None

    # What a user has detached on purpose: keep-attached leaves it alone until it is attached or
    # granted again, plugged in again, or the keeping is started again.

    def _hold_file(self, host: str, busid: str) -> str:
        return f"{self.state_dir}/hold-{host.replace('/', '_')}-{busid}"

    def hold(self, host: str, busid: str) -> None:
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        with open(self._hold_file(host, busid), "w", encoding="utf-8"):
            return

    def release(self, host: str, busid: str) -> None:
        try:
            os.unlink(self._hold_file(host, busid))
        except FileNotFoundError:
            return

    def release_all(self, host: str) -> None:
        """Forgets what was detached on purpose of that server's devices."""
        prefix = self._hold_file(host, "")
        try:
            names = os.listdir(self.state_dir)
        except FileNotFoundError:
            return
        for name in names:
            if f"{self.state_dir}/{name}".startswith(prefix):
                os.unlink(f"{self.state_dir}/{name}")

    def is_held(self, host: str, busid: str) -> bool:
        return os.path.exists(self._hold_file(host, busid))

    def origin(self, rhport: int) -> tuple[str, int, str] | None:
        """(host, TCP port, busid) of what is attached to the port, if that is known."""
        try:
            with open(f"{self.state_dir}/port{rhport}", encoding="utf-8") as file:
                host, port, busid = file.read().split()
                return host, int(port), busid
        except (OSError, ValueError):
            return None
