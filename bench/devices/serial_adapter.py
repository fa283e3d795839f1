# SPDX-License-Identifier: BSD-2-Clause
"""What is done with serial adapters over the route."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from bench.devices.models import Outcome, expect
from bench.devices.rig import Rig
from bench.guest.serial_line import echo_inverted, invert
from router.errors import MachineError


class FarEnd:
    """The far end of a serial line: a unix socket that QEMU connects to."""

    def __init__(self, rig: Rig) -> None:
        self.path = rig.folder / f"line-{time.monotonic_ns():x}"
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen(1)
        self._server.settimeout(10)
        rig.add_cleanup(self._server.close)

    def talk(self, data: bytes, seconds: float) -> bytes:
        """Send data and receive as much; less after `seconds`."""
        received = b""
        end = time.monotonic() + seconds
        with self._server.accept()[0] as stream:
            stream.settimeout(seconds)
            stream.sendall(data)
            stream.settimeout(0.2)
            while len(received) < len(data) and time.monotonic() < end:
                try:
                    received += stream.recv(65536)
                except TimeoutError:
                    continue
        return received


def serial(kind: str, device: str, prepare: str = "true") -> Callable[[Rig], Outcome]:
    """The exercise of a serial line of that kind, with ftdi_sio in the client."""

    def exercise(rig: Rig) -> Outcome:
        line = FarEnd(rig)
        rig.run("client", f"modprobe ftdi_sio; {prepare}")
        rig.plug(f"{kind}:{line.path}")
        rig.wait_attached(device, "ftdi_sio")
        path = rig.wait_for_paths("client", "/dev/ttyUSB*", 5)[0]
        sent = os.urandom(4096)
        finish = rig.start("client", 20, echo_inverted, path=path, count=len(sent), timeout_s=20)
        received = line.talk(sent, 25)
        expect(finish(), len(sent), "bytes in the client")
        if received != invert(sent):
            raise MachineError(f"of {len(sent)} bytes back to the host {len(received)} arrived, and they differ")
        return Outcome("4096 random bytes to the client, which returned them inverted: all are right")

    return exercise
