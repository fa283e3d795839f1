# SPDX-License-Identifier: BSD-2-Clause
"""The verb `port`: what is attached here."""

from __future__ import annotations

from router.usbip.client.vhci import PORT_ERROR, PORT_NOT_ASSIGNED, PORT_USED, STATE_DIR, Port, Vhci
from router.usbip.protocol import names
from router.usbip.protocol.device import SPEED_NAMES, SPEED_UNKNOWN
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, read_device
from router.usbip.runtime.text import printable

USAGE = """usage: usbip port [--json]

Shows what is attached to this machine, and from where.
"""

STATES = {PORT_NOT_ASSIGNED: "Port Initializing", PORT_USED: "Port in Use", PORT_ERROR: "Port Error"}


def port_lines(vhci: Vhci, port: Port) -> list[str]:
    device = read_device(vhci.sysfs, port.local)
    what = printable(names.product(device)) if device else "unknown vendor : unknown product (0000:0000)"
    origin = vhci.origin(port.rhport)
    where = "unknown host, remote port and remote busid"
    if origin:
        where = printable(f"usbip://{origin[0]}:{origin[1]}/{origin[2]}")
    speed = SPEED_NAMES.get(port.speed, SPEED_NAMES[SPEED_UNKNOWN])
    return [
        f"Port {port.rhport:02d}: <{STATES.get(port.state, 'Port Unknown')}> at {speed}",
        f"       {what}",
        f"{port.local:>10} -> {where}",
        f"           -> remote bus/dev {port.devid >> 16:03d}/{port.devid & 0xFFFF:03d}",
    ]


def port_data(vhci: Vhci, port: Port) -> dict[str, object]:
    """A virtual port as plain data for JSON, free ones as well."""
    device = None if port.free else read_device(vhci.sysfs, port.local)
    origin = None if port.free else vhci.origin(port.rhport)
    return {
        "port": port.number,
        "hub": port.hub,
        "rhport": port.rhport,
        "state": "free" if port.free else STATES.get(port.state, "unknown").removeprefix("Port ").lower(),
        "server": f"{origin[0]}:{origin[1]}" if origin else None,
        "remote": origin[2] if origin else None,
        "device": names.as_data(device) if device else None,
    }


def run(_: str, argv: list[str]) -> int:
    options = Options(argv, {"--sysfs": "sysfs", "--state": "state"}, {"--json": "json"})
    if options.words:
        raise UsageError("port takes no words", "see --help")
    vhci = Vhci(Sysfs(options.get("sysfs", "/sys")), options.get("state", STATE_DIR))
    vhci.check()
    if "json" in options.flags:
        from router.usbip.runtime import jsontext

        print(jsontext.dumps([port_data(vhci, port) for port in vhci.ports()]))
        return 0
    print("Imported USB devices")
    print("====================")
    for port in vhci.ports():
        # As in Debian's tool: ports of controllers that are not there count as not assigned.
        if port.state in (PORT_USED, PORT_ERROR):
            print("\n".join(port_lines(vhci, port)))
    return 0
