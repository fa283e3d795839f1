# SPDX-License-Identifier: BSD-2-Clause
"""A media player by MTP, which is PTP (ISO 15740) with more objects."""

import struct

from bench.guest.usbfs import bulk, claim

GET_DEVICE_INFO, OPEN_SESSION, GET_OBJECT_HANDLES, GET_OBJECT = 0x1001, 0x1002, 0x1007, 0x1009
COMMAND, RESPONSE = 1, 3
"""Kinds of containers. A container is length, kind, code, transaction and data."""
ALL = 0xFFFFFFFF


def read_objects(node: str, interface: int, endpoint_out: int, endpoint_in: int) -> None:
    """Print a dict: response codes `opened` and `about`, the device's `information`, `contents` of each object."""
    file = claim(node, interface)
    transaction = 0

    def operation(code: int, *words: int) -> tuple[int, bytes]:
        nonlocal transaction
        transaction += 1
        parameters = struct.pack(f"<{len(words)}I", *words)
        head = struct.pack("<IHHI", 12 + len(parameters), COMMAND, code, transaction)
        bulk(file, endpoint_out, head + parameters)
        data = b""
        while True:
            container = bulk(file, endpoint_in, bytes(16384))
            length, kind, answer, _ = struct.unpack_from("<IHHI", container)
            while len(container) < length:
                container += bulk(file, endpoint_in, bytes(16384))
            if kind == RESPONSE:
                return answer, data
            data = container[12:length]

    opened, _ = operation(OPEN_SESSION, 1)
    about, information = operation(GET_DEVICE_INFO)
    _, handles = operation(GET_OBJECT_HANDLES, ALL, 0, ALL)
    (count,) = struct.unpack_from("<I", handles)
    contents = [operation(GET_OBJECT, handle)[1] for handle in struct.unpack_from(f"<{count}I", handles, 4)]
    print({"opened": opened, "about": about, "information": information, "contents": contents})
