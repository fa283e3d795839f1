# SPDX-License-Identifier: BSD-2-Clause
"""The kernel's hot-plug messages. Names in them come from devices."""

from __future__ import annotations

from router.usbip.runtime.text import printable
from router.usbip.runtime.uevent import parse_uevent


def one_input(data: bytes) -> None:
    for key, value in parse_uevent(data).items():
        assert isinstance(key, str) and isinstance(value, str)
        shown = printable(f"{key}={value}")
        assert shown.isprintable()
        shown.encode("utf-8")


def seeds() -> list[bytes]:
    return [
        b"add@/devices/usb1/1-1\0ACTION=add\0DEVPATH=/devices/usb1/1-1\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0SEQNUM=9\0",
        b"libudev\0\xfe\xed\xca\xfe",
        b"change@/x\0NAME=\xff\xfe\x1b[31m\0=\0\0",
    ]
