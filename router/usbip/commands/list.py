# SPDX-License-Identifier: BSD-2-Clause
"""The verb `list`: devices here or on a server."""

from __future__ import annotations

import sys

from router.usbip.client.exchange import devlist_steps, run_steps
from router.usbip.protocol import handshake, names
from router.usbip.protocol.device import Device
from router.usbip.runtime import net
from router.usbip.runtime.options import Options, UsageError
from router.usbip.runtime.sysfs import Sysfs, find_devices
from router.usbip.runtime.text import printable

USAGE = """usage: usbip list -l [-p] [--json] | usbip list -r HOST [--json]

  -l, --local           the USB devices of this machine
  -p, --parsable        with -l: one line a device, busid=BUSID#usbid=VID:PID#
  -r, --remote HOST     the devices that HOST exports to this machine
  -t, --tcp-port PORT   another port than 3240
      --json            as JSON
"""


def remote_devices(address: net.Address) -> list[Device]:
    """What the server exports to this machine; HostError or MachineError if it does not say."""
    sock = net.connect(address)
    with sock:
        devices: list[Device] = run_steps(sock, handshake.pack_devlist_request(), devlist_steps(_left_out))
    return devices


def _left_out(why: str) -> None:
    print(f"usbip: warning: one of the server's devices is left out: {printable(why)}", file=sys.stderr)


def local_lines(devices: list[Device], parsable: bool) -> list[str]:
    if parsable:
        return [f"busid={device.busid}#usbid={device.vidpid}#" for device in devices]
    lines: list[str] = []
    for device in devices:
        lines += [f" - busid {device.busid} ({device.vidpid})", f"   {printable(names.product(device))}", ""]
    return lines


def remote_lines(host: str, devices: list[Device]) -> list[str]:
    if not devices:
        return []
    lines = ["Exportable USB devices", "======================", f" - {host}"]
    for device in devices:
        lines.append(f"{device.busid:>11}: {printable(names.product(device))}")
        lines.append(f"{'':>11}: {printable(device.path)}")
        lines.append(f"{'':>11}: {names.triple(device.triple)}")
        lines += [f"{'':>11}: {index:2d} - {names.triple(triple)}" for index, triple in enumerate(device.interfaces)]
        lines.append("")
    return lines


def print_json(devices: list[Device]) -> int:
    from router.usbip.runtime import jsontext

    print(jsontext.dumps([names.as_data(device) for device in devices]))
    return 0


def run(_: str, argv: list[str]) -> int:
    options = Options(
        argv,
        {"-r": "remote", "--remote": "remote", "-t": "tcp-port", "--tcp-port": "tcp-port", "--sysfs": "sysfs"},
        {
            "-l": "local",
            "--local": "local",
            "-p": "parsable",
            "--parsable": "parsable",
            "--json": "json",
        },
    )
    if "remote" in options.all:
        host = options.get("remote")
        devices = remote_devices(net.parse_address(host, options.number("tcp-port", handshake.PORT)))
        if "json" in options.flags:
            return print_json(devices)
        if not devices:
            print(f"usbip: info: no exportable devices found on {host}")
        print("\n".join(remote_lines(host, devices)))
        return 0
    if "local" not in options.flags:
        raise UsageError("list what?", "-l for this machine's devices, -r HOST for what HOST exports")
    local = list(find_devices(Sysfs(options.get("sysfs", "/sys"))).values())
    if "json" in options.flags:
        return print_json(local)
    for line in local_lines(local, "parsable" in options.flags):
        print(line)
    return 0
