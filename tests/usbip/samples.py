# SPDX-License-Identifier: BSD-2-Clause
"""What a guest's USB/IP program prints of its state (`status --json` and `ports --json`): one record of each sort."""

from __future__ import annotations

from typing import Any

DEVICE: dict[str, Any] = {
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
ATTACHED: dict[str, Any] = {
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
    "uses": [],
}
PORT: dict[str, Any] = {
    "port": 1,
    "hub": "hs",
    "controller": 0,
    "place": 1,
    "rhport": 0,
    "state": "used",
    "device": ATTACHED,
}
CONTROLLER: dict[str, Any] = {"index": 0, "present": True, "usb": 3, "ports": 8, "used": [1]}
