# SPDX-License-Identifier: BSD-2-Clause
"""The verb `attach`: attach one device."""

from __future__ import annotations

from router.usbip.client.exchange import import_steps, run_steps
from router.usbip.client.vhci import STATE_DIR, Port, Vhci
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device, valid_name
from router.usbip.runtime import net
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs

USAGE = """usage: usbip attach -r HOST -b BUSID [-p PORT]

Attaches a device that HOST exports to this machine.

  -r, --remote HOST     the server
  -b, --busid BUSID     the device, as `usbip list -r HOST` names it
  -p, --port PORT       virtual port (1 is the first of the controller); any by default
  -t, --tcp-port PORT   another port than 3240
      --json            print the port as JSON
"""


def attach(address: net.Address, busid: str, vhci: Vhci, number: int = 0) -> Port:
    """Imports the device and plugs it into a virtual port (0: any). RouterError if either end refuses."""
    sock = net.connect(address)
    with sock:
        device: Device = run_steps(sock, handshake.pack_import_request(busid), import_steps(busid))
        sock.settimeout(None)
        port = vhci.choose(device.speed, number)
        vhci.attach(port, sock.fileno(), device.devid, device.speed)
    vhci.release(address.peer, busid)
    vhci.remember(port.rhport, address.peer, address.port, busid)
    return port


def run(_: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {
            "-r": "remote",
            "--remote": "remote",
            "-b": "busid",
            "--busid": "busid",
            "-p": "port",
            "--port": "port",
            "-t": "tcp-port",
            "--tcp-port": "tcp-port",
            "--sysfs": "sysfs",
            "--state": "state",
        },
        {"--json": "json"},
    )
    busid = options.get("busid")
    if not options.get("remote") or not valid_name(busid):
        raise UsageError("attach needs a server and a device", "write for instance: usbip attach -r 10.77.0.2 -b 1-1")
    vhci = Vhci(Sysfs(options.get("sysfs", "/sys")), options.get("state", STATE_DIR))
    vhci.check()
    address = net.parse_address(options.get("remote"), options.number("tcp-port", handshake.PORT))
    port = attach(address, busid, vhci, options.number("port", 0))
    if "json" in options.flags:
        from router.usbip.runtime import jsontext

        print(jsontext.dumps({"busid": busid, "port": port.number, "rhport": port.rhport}))
    return 0
