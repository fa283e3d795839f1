# SPDX-License-Identifier: BSD-2-Clause
"""USB disks and rules for them, for the tests of disks that go as blocks."""

from __future__ import annotations

from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import SPEED_HIGH, Device
from router.usbip.server.disk_plan import Plan, plan
from router.usbip.server.disk_units import TYPE_DISK, Unit

DISK = (0x08, 0x06, 0x50)
KEYBOARD = (0x03, 0x01, 0x01)
POLICY = """
allow 10.77.0.3 path 1-1 blocks 4421 name data
allow 10.77.0.4 class mass-storage blocks 4422
allow 10.77.0.4 class hid
"""


def device(busid: str = "1-1", serial: str = "A1", devnum: int = 2, interface: tuple[int, int, int] = DISK) -> Device:
    return Device(
        busid,
        SPEED_HIGH,
        1,
        devnum,
        0x46F4,
        1,
        interfaces=(interface,),
        serial=serial,
        product="Disk",
        manufacturer="Q",
    )


def unit(block: str = "sda", **changes: object) -> Unit:
    facts = {"lun": 0, "kind": TYPE_DISK, "block": block, "sectors": 2048, "read_only": False} | changes
    return Unit(**facts)  # type: ignore[arg-type]


def planned(*units: Unit, policy: str = POLICY, of: Device | None = None) -> Plan:
    one = of or device()
    return plan([one], {one.busid: list(units)}, parse_policy(policy))
