# SPDX-License-Identifier: BSD-2-Clause
"""What the virtual devices of the HID class have in common (Device Class Definition for HID 1.11)."""

from __future__ import annotations

import struct

HID, REPORT = 0x21, 0x22
GET_REPORT, GET_IDLE, GET_PROTOCOL, SET_REPORT, SET_IDLE, SET_PROTOCOL = 1, 2, 3, 9, 10, 11


def hid_descriptors(report: bytes) -> dict[int, bytes]:
    """By kind: the HID descriptor (6.2.1), which also stands behind the interface's, and the report's."""
    return {HID: struct.pack("<BBHBBBH", 9, HID, 0x0111, 0, 1, REPORT, len(report)), REPORT: report}
