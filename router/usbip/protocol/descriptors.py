# SPDX-License-Identifier: BSD-2-Clause
"""What chapter 9 of the USB 2.0 specification says: numbers of requests and descriptors, and reading descriptors."""

from __future__ import annotations

from collections.abc import Iterator

DESCRIPTOR_DEVICE, DESCRIPTOR_CONFIG, DESCRIPTOR_STRING, DESCRIPTOR_INTERFACE, DESCRIPTOR_ENDPOINT = range(1, 6)
DESCRIPTOR_QUALIFIER, DESCRIPTOR_OTHER_SPEED = 6, 7
GET_STATUS, CLEAR_FEATURE, SET_FEATURE = 0, 1, 3
SET_ADDRESS, GET_DESCRIPTOR, GET_CONFIGURATION, SET_CONFIGURATION, GET_INTERFACE, SET_INTERFACE = 5, 6, 8, 9, 10, 11
# SET_FEATURE to a hub's port, which usbip-win2 sends to the device's own endpoint 0 to have it reset.
PORT_RESET_KIND, PORT_RESET = 0x23, 4
# bmAttributes 1:0 of an endpoint
CONTROL, ISOCHRONOUS, BULK, INTERRUPT = range(4)
KIND_NAMES = ("control", "isochronous", "bulk", "interrupt")
# Linux keeps so many endpoints of a setting at most (USB_MAXENDPOINTS, drivers/usb/core/config.c).
MAX_ENDPOINTS = 30

# bInterfaceNumber, bAlternateSetting → address of each endpoint → its kind
Alternates = dict[tuple[int, int], dict[int, int]]
# class, subclass, protocol of a device or interface
Triple = tuple[int, int, int]


def chain(descriptors: bytes) -> Iterator[bytes]:
    """The descriptors one after another; what follows one whose length cannot be is left out, as Linux does."""
    at = 0
    while at + 2 <= len(descriptors) and 2 <= descriptors[at] <= len(descriptors) - at:
        yield descriptors[at : at + descriptors[at]]
        at += descriptors[at]


def _of_config(descriptors: bytes, config: int) -> Iterator[bytes]:
    """The descriptors that follow one configuration's own (0: the first configuration), as far as its wTotalLength."""
    at = end = 0
    inside = False
    for part in chain(descriptors):
        if at >= end:
            if inside:
                return
            if part[1] == DESCRIPTOR_CONFIG and len(part) >= 9:
                inside = config in (0, part[5])
                end = at + int.from_bytes(part[2:4], "little")
        elif inside:
            yield part
        at += len(part)


def parse_alternates(descriptors: bytes, config: int) -> Alternates:
    """The endpoints of each alternate setting in one configuration (0: the first), from a chain of descriptors.

    Which of several descriptors counts is as in Linux (drivers/usb/core/config.c), because both ends of a connection
    must agree which endpoints are isochronous: the first of a setting's interface descriptors; of its endpoints the
    first bNumEndpoints; and none whose address an earlier one of this setting or of another interface has.
    """
    found: Alternates = {}
    current: dict[int, int] | None = None
    number = room = 0
    for part in _of_config(descriptors, config):
        if part[1] == DESCRIPTOR_INTERFACE:
            current = None
            if len(part) >= 9 and (part[2], part[3]) not in found:
                number = part[2]
                room = min(part[4], MAX_ENDPOINTS)
                current = found[part[2], part[3]] = {}
        elif part[1] == DESCRIPTOR_ENDPOINT and len(part) >= 7 and current is not None and room > len(current):
            address, kind = part[2] & 0x8F, part[3] & 3
            if address & 0x0F and not _is_duplicate(found, current, number, address, kind):
                current[address] = kind
    return found


def _is_duplicate(found: Alternates, current: dict[int, int], number: int, address: int, kind: int) -> bool:
    for (interface, _), endpoints in found.items():
        if interface == number and endpoints is not current:
            continue
        for other, other_kind in endpoints.items():
            if other == address or (CONTROL in (kind, other_kind) and (other ^ address) & 0x0F == 0):
                return True
    return False


def interfaces_of(descriptors: bytes, config: int) -> tuple[Triple, ...]:
    """Class triples of each interface's alternate setting 0 in one configuration (USB 2.0, 9.6.3 and 9.6.5).

    descriptors: the `descriptors` attribute, the device descriptor followed by those of all configurations.
    config: bConfigurationValue; 0 (a device without a current one) takes the first.
    """
    return tuple(
        (part[5], part[6], part[7])
        for part in _of_config(descriptors, config)
        if part[1] == DESCRIPTOR_INTERFACE and len(part) >= 9 and part[3] == 0
    )


def all_interfaces_of(descriptors: bytes) -> tuple[Triple, ...] | None:
    """Class triples of every interface descriptor, of all configurations and alternate settings, each triple once.

    None when the chain cannot be read to its end: then it is not known what else the device has.
    """
    found: dict[Triple, None] = {}
    size = 0
    for part in chain(descriptors):
        size += len(part)
        if part[1] == DESCRIPTOR_INTERFACE:
            if len(part) < 9:
                return None
            found[part[5], part[6], part[7]] = None
    return tuple(found) if size == len(descriptors) else None
