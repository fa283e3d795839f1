# SPDX-License-Identifier: BSD-2-Clause
"""A smart-card reader by the CCID protocol (USB CCID 1.1, chapter 6)."""

import struct

from bench.guest.usbfs import bulk, claim

GET_SLOT_STATUS, ICC_POWER_ON, XFR_BLOCK = 0x65, 0x62, 0x6F


def talk(node: str, interface: int, endpoint_out: int, endpoint_in: int, apdu: bytes) -> None:
    """Slot status, power on, one command; prints a dict of `status`, `power` and `apdu`.

    Each answer is (whether its sequence number is right, status, error, data).
    """
    file = claim(node, interface)
    sequence = 0

    def exchange(kind: int, data: bytes = b"") -> tuple[bool, int, int, bytes]:
        nonlocal sequence
        sequence += 1
        bulk(file, endpoint_out, struct.pack("<BIBB3x", kind, len(data), 0, sequence) + data)
        answer = bulk(file, endpoint_in, bytes(1024))
        size, _, echoed, status, error = struct.unpack_from("<xIBBBB", answer)
        return echoed == sequence, status, error, answer[10 : 10 + size]

    print({"status": exchange(GET_SLOT_STATUS), "power": exchange(ICC_POWER_ON), "apdu": exchange(XFR_BLOCK, apdu)})
