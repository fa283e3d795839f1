"""What chapter 9 of the USB 2.0 specification says: numbers of requests and descriptors, and reading descriptors."""

from __future__ import annotations

DESCRIPTOR_DEVICE, DESCRIPTOR_CONFIG, DESCRIPTOR_STRING, DESCRIPTOR_INTERFACE, DESCRIPTOR_ENDPOINT = range(1, 6)
DESCRIPTOR_QUALIFIER = 6
GET_STATUS, CLEAR_FEATURE, SET_FEATURE = 0, 1, 3
SET_ADDRESS, GET_DESCRIPTOR, GET_CONFIGURATION, SET_CONFIGURATION, GET_INTERFACE, SET_INTERFACE = 5, 6, 8, 9, 10, 11
# SET_FEATURE to a hub's port, which usbip-win2 sends to the device's own endpoint 0 to have it reset.
PORT_RESET_KIND, PORT_RESET = 0x23, 4
# bmAttributes 1:0 of an endpoint
CONTROL, ISOCHRONOUS, BULK, INTERRUPT = range(4)
KIND_NAMES = ("control", "isochronous", "bulk", "interrupt")

# bInterfaceNumber, bAlternateSetting → address of each endpoint → its kind
Alternates = dict[tuple[int, int], dict[int, int]]


def parse_alternates(descriptors: bytes, config: int) -> Alternates:
    """The endpoints of each alternate setting in one configuration (0: the first), from a chain of descriptors."""
    found: Alternates = {}
    current: dict[int, int] = {}
    inside = False
    at = 0
    while at + 2 <= len(descriptors) and descriptors[at] >= 2:
        size, kind = descriptors[at], descriptors[at + 1]
        part = descriptors[at : at + size]
        if kind == DESCRIPTOR_CONFIG and len(part) >= 9:
            if inside:
                break
            inside = config in (0, part[5])
        elif kind == DESCRIPTOR_INTERFACE and len(part) >= 9 and inside:
            current = found.setdefault((part[2], part[3]), {})
        elif kind == DESCRIPTOR_ENDPOINT and len(part) >= 7 and inside:
            current[part[2]] = part[3] & 3
        at += size
    return found
