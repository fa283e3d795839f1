# SPDX-License-Identifier: BSD-2-Clause
"""What is done with network adapters over the route."""

from __future__ import annotations

from bench import programs
from bench.devices.models import Outcome
from bench.devices.rig import Rig
from bench.guest import icmp
from router.errors import MachineError


def ping(rig: Rig, mine: str, to: str) -> Outcome:
    """Echo requests through the device, from the address `mine` (with its prefix length)."""
    name = rig.run("client", programs.script("routed_name", "/sys/class/net", ".*", 10)).strip()
    rig.run("client", f"ip address add {mine} dev {name} && ip link set {name} up && sleep 1")
    count, size = 20, 1200
    same = rig.program("client", 80, icmp.ping, to=to, count=count, size=size)
    lost = () if same == count else (f"{count - same} of {count} echo requests lost",)
    if not same:
        raise MachineError("timed out: no echo request was answered")
    return Outcome(f"link up; ARP; {same} of {count} echo requests of {size} random bytes came back unchanged", lost)


def net(rig: Rig) -> Outcome:
    """A network adapter on QEMU's user-mode network, which has no way to the outside."""
    rig.qmp.execute("netdev_add", type="user", id="slirp", restrict=True)
    rig.add_cleanup(lambda: rig.qmp.execute("netdev_del", id="slirp"))
    rig.qmp.execute("netdev_add", type="hubport", hubid=7, id="slirp-port", netdev="slirp")
    rig.add_cleanup(lambda: rig.qmp.execute("netdev_del", id="slirp-port"))
    rig.plug("net")
    rig.wait_attached("0525:a4a2", "cdc_ether")
    return ping(rig, "10.0.2.15/24", "10.0.2.2")
