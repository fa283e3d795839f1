# SPDX-License-Identifier: BSD-2-Clause
"""What a guest's USB/IP program may print instead of its state."""

from __future__ import annotations

import json

from router.errors import MachineError
from router.usb.answers import controllers_of, devices_of, parse, ports_of

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
    device = {
        "busid": "1-1",
        "busnum": 1,
        "devnum": 2,
        "device": "046d:c31c",
        "manufacturer": "M",
        "product": "P",
        "serial": "S",
        "speed": 3,
        "class": [0, 0, 0],
        "interfaces": [[3, 1, 1]],
        "exported": True,
        "client": "10.77.0.3",
        "granted": [{"client": "10.77.0.3", "port": 1, "words": "allow 10.77.0.3 path 1-1"}],
        "taken": ["10.77.0.4"],
    }
    attached = {
        "local": "1-1",
        "speed": 3,
        "busnum": 1,
        "devnum": 2,
        "server": "10.77.0.2",
        "busid": "1-1",
        "vid": 1,
        "pid": 2,
        "manufacturer": "M",
        "product": "P",
        "drivers": ["usbhid"],
    }
    port = {"port": 1, "hub": "hs", "controller": 0, "place": 1, "rhport": 0, "state": "used", "device": attached}
    controller = {"index": 0, "present": True, "usb": 3, "ports": 8, "used": [1]}
    return [
        json.dumps({"devices": [device]}).encode(),
        json.dumps({"ports": [port], "controllers": [controller]}).encode(),
        b'{"devices":null,"ports":[],"controllers":[{}]}',
    ]
