# SPDX-License-Identifier: BSD-2-Clause
"""A policy file, and what grants at run time make of it."""

from __future__ import annotations

from router.errors import DescriptionError
from router.usbip.policy.edit import granted, revoked
from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import Device

DEVICES = [
    Device("1-1", 3, 1, 2, 0x046D, 0xC31C, interfaces=((3, 1, 1),), all_interfaces=((3, 1, 1),), serial='a "b" #\\'),
    Device("2-1.4", 5, 2, 3, 0x46F4, 1, interfaces=((8, 6, 0x50), (3, 0, 0)), peer="1-1.4"),
]
CLIENTS = ("10.77.0.3", "fd00::3", "vsock:3", "unix")


def one_input(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        policy = parse_policy(text)
    except DescriptionError as error:
        assert error.where and error.message
        return
    for device in DEVICES:
        policy.is_granted(device)
        for client in CLIENTS:
            policy.decide(client, device)
            allowed = parse_policy(granted(text, client, device)).decide(client, device)
            assert allowed.allowed, "what was granted is granted"
            denied = parse_policy(revoked(text, client, device)).decide(client, device)
            assert not denied.allowed, "what was revoked is revoked"


def seeds() -> list[bytes]:
    lines = [
        "allow 10.77.0.3 device 046d:c31c port 1",
        'allow 10.77.0.0/24 class mass-storage serial "4C53 0001"',
        "deny any interface hid/01/01",
        "allow fd00::/8 path 2-1.4 only hid,08/06",
        "allow vsock:3 all # comment",
        "allow unix device 046d:*",
        "deny any class */06",
    ]
    return [line.encode() for line in lines] + ["\n".join(lines).encode()]
