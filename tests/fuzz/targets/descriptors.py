# SPDX-License-Identifier: BSD-2-Clause
"""A device's descriptors, as its firmware may make them up."""

from __future__ import annotations

from router.usbip.protocol.descriptors import MAX_ENDPOINTS, all_interfaces_of, interfaces_of, parse_alternates
from router.usbip.virtual.audio import Microphone
from router.usbip.virtual.serial import Serial


def one_input(data: bytes) -> None:
    if not data:
        return
    config, descriptors = data[0] % 4, data[1:]
    alternates = parse_alternates(descriptors, config)
    for interface, endpoints in alternates.items():
        assert len(endpoints) <= MAX_ENDPOINTS
        assert all(kind < 4 and not address & 0x70 and address & 0x0F for address, kind in endpoints.items())
        for (number, _), others in alternates.items():
            assert number == interface[0] or not endpoints.keys() & others.keys()
    everything = all_interfaces_of(descriptors)
    first = interfaces_of(descriptors, config)
    assert everything is None or set(first) <= set(everything)
    assert len(first) <= len(descriptors) // 9


def seeds() -> list[bytes]:
    return [b"\0" + one.device_descriptor + one.config_descriptor for one in (Microphone(), Serial())] + [
        b"\1" + Microphone().config_descriptor
    ]
