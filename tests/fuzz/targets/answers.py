# SPDX-License-Identifier: BSD-2-Clause
"""What a guest may print instead of its USB/IP program's state, or of its counters."""

from __future__ import annotations

import json

from router.errors import MachineError
from router.overview import rows, sample
from router.overview.moment import Looks, Moment
from router.usb.answers import controllers_of, devices_of, parse, ports_of
from tests.usbip.samples import CONTROLLER, DEVICE, PORT

COUNTERS = (
    b"usb 1-1.4 123\ndisk /sys/devices/platform/vhci_hcd.0/usb1/1-1/1-1.4/1-1.4:1.0/host0/target0:0:0/0:0:0:0"
    b" 1 0 8 3 2 0 16 4 0 7 7\nnet 100 200\nup 3.50\nping 10.77.0.2 0.511\n"
)
ADDRESSES = {"10.77.0.2": "server", "10.77.0.3": "client"}


def one_input(data: bytes) -> None:
    counters(data)
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


def counters(data: bytes) -> None:
    """Twice half of the answer are two looks: what is shown of them is text, and no rate is below 0."""
    before, now = sample.parse(data[: len(data) // 2]), sample.parse(data[len(data) // 2 :])
    looks = Looks(before, now)
    state = {"guests": [{"name": "guest", "role": "client", "up": True}]}
    (row,) = rows.guests(Moment(seconds=1.0, state=state, looks={"guest": looks})).rows
    assert all(cell.isprintable() for cell in row.cells)
    for device in now.urbs if now else ():
        rate = sample.device_rate(before, now, device)
        assert rate is None or min(rate.urbs, rate.read_bytes, rate.written_bytes) >= 0


def seeds() -> list[bytes]:
    return [
        json.dumps({"devices": [DEVICE]}).encode(),
        json.dumps({"ports": [PORT], "controllers": [CONTROLLER]}).encode(),
        b'{"devices":null,"ports":[],"controllers":[{}]}',
        b"usb 1-1.4 7\nnet 1 2\nup 1.50\n" + COUNTERS,
        b"up 2.5\n" + COUNTERS,
    ]
