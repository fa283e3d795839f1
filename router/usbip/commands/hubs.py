# SPDX-License-Identifier: BSD-2-Clause
"""The verb `hubs`: this machine's USB controllers, and for each of their ports what is there or why nothing is.

Ports: Linux, Documentation/ABI/testing/sysfs-bus-usb (`<hub>/<interface>/<hub>-portN`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from router.usbip.protocol import names
from router.usbip.runtime.jsontext import dumps
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, peer_of_port, read_device
from router.usbip.runtime.text import printable

USAGE = """usage: usbip hubs [--json]

This machine's own USB controllers and hubs, with every port: the device there, or why the port is empty.

  --json      one line of JSON
"""
_MAX_RECORDS = 1 << 16
_RECORD_BYTES = 8192


def kernel_messages() -> list[str]:
    """The kernel's messages that are still in its buffer, oldest first; [] where they may not be read.

    One read of /dev/kmsg is one record, `priority,sequence,time,flags;text` (Documentation/ABI/testing/dev-kmsg).
    """
    found: list[str] = []
    try:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return found
    try:
        for _ in range(_MAX_RECORDS):
            try:
                record = os.read(fd, _RECORD_BYTES)
            except BlockingIOError:
                break
            except BrokenPipeError:  # the record was overwritten meanwhile; the next read gives the oldest left
                continue
            found.append(record.decode("utf-8", "replace").partition(";")[2].split("\n", 1)[0])
    except OSError:
        pass
    finally:
        os.close(fd)
    return found


def busid_of_port(hub: str, number: int) -> str:
    """The busid of a device in a port of a hub: `1-2` in port 2 of `usb1`, `1-2.4` in port 4 of `1-2`."""
    return f"{hub[3:]}-{number}" if hub.startswith("usb") else f"{hub}.{number}"


def why_empty(sysfs: Sysfs, base: str, name: str, messages: Iterable[str]) -> str:
    """Why a port has no device, as a phrase. base: its folder in sysfs; name: `usb1-port2`."""
    if sysfs.get(f"{base}/disable") == "1":
        return "switched off"
    peer = peer_of_port(sysfs, base)
    if peer and sysfs.exists(f"bus/usb/devices/{peer}"):
        return f"its device runs at another speed, as {peer}"
    said = [line.partition(f"{name}: ")[2] for line in messages if f"{name}: " in line]
    overcurrent = sysfs.get(f"{base}/over_current_count", "0")
    if said:
        return f"the kernel says: {said[-1]}"
    if overcurrent not in ("0", ""):
        return f"over-current, {overcurrent} times"
    return "nothing is plugged in"


def state_of_hubs(sysfs: Sysfs, messages: list[str]) -> list[dict[str, object]]:
    """The hubs, root hubs included, without those of virtual controllers. Each with its ports, as plain values."""
    hubs: list[dict[str, object]] = []
    for hub in sysfs.names("bus/usb/devices"):
        real = sysfs.real(f"bus/usb/devices/{hub}")
        if ":" in hub or "/vhci_hcd" in real:
            continue
        root = hub.startswith("usb")
        interface = f"bus/usb/devices/{hub}/{hub[3:] + '-0' if root else hub}:1.0"
        prefix = f"{hub}-port"
        numbers = sorted(
            int(name.removeprefix(prefix))
            for name in sysfs.names(interface)
            if name.startswith(prefix) and name.removeprefix(prefix).isdecimal()
        )
        ports: list[dict[str, object]] = []
        for number in numbers:
            busid = busid_of_port(hub, number)
            device = read_device(sysfs, busid)
            port: dict[str, object] = {"port": busid, "device": None, "name": "", "empty": ""}
            if device:
                port["device"], port["name"] = device.vidpid, names.product(device)
            else:
                port["empty"] = why_empty(sysfs, f"{interface}/{prefix}{number}", f"{prefix}{number}", messages)
            ports.append(port)
        if not numbers and not root:
            continue
        controller = real.rsplit("/", 2)[1] if root else ""
        driver = sysfs.link(f"bus/usb/devices/{hub}/../driver") if root else ""
        hubs.append(
            {
                "hub": hub,
                "controller": controller,
                "driver": driver,
                "speed": sysfs.get(f"bus/usb/devices/{hub}/speed"),
                "ports": ports,
            }
        )
    return hubs


def hubs_text(hubs: list[dict[str, object]]) -> str:
    """The state as text to read."""
    lines: list[str] = []
    for hub in hubs:
        where = f"{hub['controller']} ({hub['driver'] or 'no driver'})" if hub["controller"] else f"hub {hub['hub']}"
        lines.append(f"{where}, {hub['speed']} Mbit/s")
        ports = hub["ports"]
        assert isinstance(ports, list)
        for port in ports:
            text = f"{port['device']} {printable(port['name'])}" if port["device"] else f"empty: {port['empty']}"
            lines.append(f"  {port['port']:<10}{printable(text)}")
    return "\n".join(lines or ["this machine has no USB controller with a driver; dmesg may say why"]) + "\n"


def run(
    verb: str, argv: list[str], messages: Callable[[], list[str]] = kernel_messages, sysfs: Sysfs | None = None
) -> int:
    options = Options(argv, {"--sysfs": "sysfs"}, {"--json": "json", "-j": "json"})
    if options.words:
        raise UsageError(f"{verb} does not take {' '.join(options.words)!r}", "see --help")
    hubs = state_of_hubs(sysfs or Sysfs(options.get("sysfs", "/sys")), messages())
    print(dumps({"hubs": hubs}) if "json" in options.flags else hubs_text(hubs).rstrip("\n"))
    return 0
