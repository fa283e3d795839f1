# SPDX-License-Identifier: BSD-2-Clause
"""The USB classes: the one table of their codes, the words that a file uses for them, and their names.

Codes and names: the USB-IF's list of defined class codes, https://www.usb.org/defined-class-codes. The words are those
of the description, of a policy file, and of every list.
"""

from __future__ import annotations

# code, word, name
_TABLE = (
    (0x01, "audio", "Audio"),
    (0x02, "communications", "Communications"),
    (0x03, "hid", "Human Interface Device"),
    (0x05, "physical", "Physical Interface Device"),
    (0x06, "image", "Imaging"),
    (0x07, "printer", "Printer"),
    (0x08, "mass-storage", "Mass Storage"),
    (0x09, "hub", "Hub"),
    (0x0A, "cdc-data", "CDC Data"),
    (0x0B, "smart-card", "Chip/SmartCard"),
    (0x0D, "content-security", "Content Security"),
    (0x0E, "video", "Video"),
    (0xDC, "diagnostic", "Diagnostic"),
    (0xE0, "wireless", "Wireless"),
    (0xEF, "miscellaneous", "Miscellaneous Device"),
    (0xFE, "application", "Application Specific Interface"),
    (0xFF, "vendor", "Vendor Specific Class"),
)
CODES = {word: code for code, word, _ in _TABLE}
WORDS = {code: word for code, word, _ in _TABLE}
NAMES = {code: name for code, _, name in _TABLE}


def class_word(code: int) -> str:
    """The word for a class as a policy file takes it; two hexadecimal digits for a class without one."""
    return WORDS.get(code, f"{code:02x}")
