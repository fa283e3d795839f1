# SPDX-License-Identifier: BSD-2-Clause
"""The verbs `ports` and `controllers`: this machine's virtual ports, used and free, and its virtual controllers."""

from __future__ import annotations

from router.usbip.client import controllers
from router.usbip.client.nvme import find_disks
from router.usbip.client.uses import Storage
from router.usbip.client.vhci import PORT_ERROR, PORT_FREE, PORT_NOT_ASSIGNED, PORT_USED, STATE_DIR, Port, Vhci
from router.usbip.commands.keep_disks import load_disks
from router.usbip.protocol import names
from router.usbip.runtime import proc
from router.usbip.runtime.jsontext import dumps
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, read_device
from router.usbip.runtime.text import printable

USAGE = """usage: usbip ports [--json]
       usbip controllers [--json]
       usbip controllers create [--ports N] [--usb 2|3]
       usbip controllers destroy INDEX

ports shows this machine's virtual ports, free ones too. controllers shows its virtual host controllers, as many as the
kernel was compiled for; create brings one of those that are down up again, destroy takes one down that has no devices.

  --json      one line of JSON
  --ports N   how many ports the controller has, of each speed; by default as many as the kernel has
  --usb 2|3   without or with super-speed ports (default 3)
"""

STATES = {PORT_FREE: "free", PORT_NOT_ASSIGNED: "starting", PORT_USED: "used", PORT_ERROR: "error"}


def port_row(vhci: Vhci, port: Port, storage: Storage) -> dict[str, object]:
    """A port as plain values; `device` is null for a free one. speed: SPEED_*."""
    row: dict[str, object] = {
        "port": port.number,
        "hub": port.hub,
        "controller": port.controller,
        "place": port.place,
        "rhport": port.rhport,
        "state": STATES.get(port.state, "unknown"),
        "device": None,
    }
    origin = vhci.origin(port.rhport)
    # One that starts has a device too, of which its status tells nothing yet.
    if port.state not in (PORT_USED, PORT_ERROR) and not (port.state == PORT_NOT_ASSIGNED and origin):
        return row
    device = read_device(vhci.sysfs, port.local)
    local = [name for name in vhci.sysfs.names("bus/usb/devices") if name.startswith(f"{port.local}:")]
    drivers = {vhci.sysfs.link(f"bus/usb/devices/{name}/driver") for name in local}
    row["device"] = {
        "local": port.local,
        "speed": port.speed,
        "busnum": port.devid >> 16,
        "devnum": port.devid & 0xFFFF,
        "server": origin[0] if origin else "",
        "busid": origin[2] if origin else "",
        "vid": device.vid if device else 0,
        "pid": device.pid if device else 0,
        "manufacturer": device.manufacturer if device else "",
        "product": device.product if device else "",
        "drivers": sorted(drivers - {""}),
        "uses": storage.uses(port.local),
    }
    return row


def disk_rows(sysfs: Sysfs, storage: Storage) -> list[dict[str, object]]:
    """The disks that came as blocks, as plain values."""
    disks = load_disks()
    if not disks.targets:
        return []
    there, _ = find_disks(sysfs, disks.targets, disks.names)
    return [{"disk": name, "block": block, "uses": storage.uses(block)} for name, block in there.items()]


def state_of_ports(vhci: Vhci, mounts: proc.InitsMounts) -> dict[str, object]:
    """Controllers, the ports that can be used, and disks that came as blocks, as plain values."""
    ports = vhci.ports()
    everything = controllers.controllers_of(vhci, ports)
    sizes = {one.index: one for one in everything if one.present}
    storage = Storage(vhci.sysfs, mounts.read(), proc.read("swaps"))
    rows = [
        port_row(vhci, port, storage)
        for port in ports
        if port.state in (PORT_USED, PORT_ERROR)
        or (
            port.controller in sizes
            and port.place <= sizes[port.controller].ports
            and (port.hub == "hs" or sizes[port.controller].usb == 3)
        )
    ]
    shown = [
        {
            "index": one.index,
            "present": one.present,
            "ports": one.ports,
            "usb": one.usb,
            "used": [port.number for port in one.used],
        }
        for one in everything
    ]
    return {"controllers": shown, "ports": rows, "disks": disk_rows(vhci.sysfs, storage)}


def ports_json(vhci: Vhci, mounts: proc.InitsMounts) -> str:
    """The same as a line of JSON."""
    return dumps(state_of_ports(vhci, mounts)) + "\n"


def _port_line(vhci: Vhci, port: Port) -> str:
    text = f"{port.number:4d} {port.hub}  {STATES.get(port.state, 'unknown'):<8}"
    if port.state in (PORT_USED, PORT_ERROR):
        device = read_device(vhci.sysfs, port.local)
        text += f" {port.local:<8} {printable(names.product(device)) if device else ''}"
    return text.rstrip()


def run(verb: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {"--ports": "ports", "--usb": "usb", "--sysfs": "sysfs", "--state": "state"},
        {"--json": "json", "-j": "json"},
    )
    vhci = Vhci(Sysfs(options.get("sysfs", "/sys")), options.get("state", STATE_DIR))
    vhci.check()
    words = options.words
    if verb == "controllers" and words[:1] == ["create"] and len(words) == 1:
        usb = options.number("usb", 3)
        if usb not in (2, 3):
            raise UsageError("--usb is 2 or 3", "see --help")
        largest = max(port.place for port in vhci.ports())
        made = controllers.create(vhci, options.number("ports", largest), usb)
        print(f"controller {made.index}: USB {made.usb}, {made.ports} ports")
        return 0
    if verb == "controllers" and words[:1] == ["destroy"] and len(words) == 2 and words[1].isdecimal():
        controllers.destroy(vhci, int(words[1]))
        return 0
    if words:
        raise UsageError(f"{verb} does not take {' '.join(words)!r}", "see --help")
    if "json" in options.flags:
        mounts = proc.InitsMounts()
        print(ports_json(vhci, mounts), end="")
        mounts.close()
        return 0
    everything = controllers.find_controllers(vhci)
    if verb == "controllers":
        for one in everything:
            state = f"USB {one.usb}, {one.ports} ports, {len(one.used)} used" if one.present else "down"
            print(f"controller {one.index}: {state}")
        return 0
    present = {one.index for one in everything if one.present}
    for port in vhci.ports():
        if port.controller in present:
            print(_port_line(vhci, port))
    return 0
