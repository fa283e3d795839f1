# SPDX-License-Identifier: BSD-2-Clause
"""What a guest's USB/IP program may print instead of its state."""

from __future__ import annotations

import json

from router.errors import MachineError
from router.usb.answers import controllers_of, devices_of, parse, ports_of
from tests.usbip.samples import CONTROLLER, DEVICE, PORT

ADDRESSES = {"10.77.0.2": "server", "10.77.0.3": "client"}


def one_input(data: bytes) -> None:
    try:
        rows = parse("guest", data)
    except MachineError as error:
        assert error.message.isprintable()
        return
    for read in (
        lambda: devices_of("guest", rows, ADDRESSES),
        lambda: ports_of("guest", rows, ADDRESSES),
        lambda: controllers_of("guest", rows),
    ):
        try:
            repr(read())
        except MachineError as error:
            assert error.where == "guest" and error.message.isprintable()


def seeds() -> list[bytes]:
    return [
        json.dumps({"devices": [DEVICE]}).encode(),
        json.dumps({"ports": [PORT], "controllers": [CONTROLLER]}).encode(),
        b'{"devices":null,"ports":[],"controllers":[{}]}',
    ]
