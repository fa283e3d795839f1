# SPDX-License-Identifier: BSD-2-Clause
"""What is done with devices that have no driver in the client: a program transfers through usbfs."""

from __future__ import annotations

import hashlib
import os
import time

from bench.devices.models import Outcome, expect
from bench.devices.rig import Rig
from bench.devices.smart_card import RESET, SmartCard
from bench.guest.ccid import talk
from bench.guest.mtp import read_objects
from router.errors import MachineError
from router.usbip.protocol.descriptors import BULK


def ccid(rig: Rig) -> Outcome:
    """A card reader; its card is a SmartCard of ours."""
    path = rig.folder / f"card-{time.monotonic_ns():x}"
    card = SmartCard(path)
    rig.add_cleanup(card.close)
    rig.plug(f"ccid:{path}")
    seen = rig.wait_attached("08e6:4433")
    command = bytes.fromhex("00a4040005a000000001")
    out, into = (seen.endpoint(0, BULK, way) for way in (True, False))
    answers = rig.program(
        "client", 30, talk, node=seen.node, interface=0, endpoint_out=out, endpoint_in=into, apdu=command
    )
    expect(answers["power"][3], RESET, "the answer to reset")
    expect(answers["apdu"][3], command[::-1] + b"\x90\x00", "the card's answer")
    return Outcome(
        "slot status, power on, one command through usbfs: the card's answer to reset and to the command are right"
    )


def mtp(rig: Rig) -> Outcome:
    """A media player with one file."""
    folder = rig.folder / f"mtp-{time.monotonic_ns():x}"
    folder.mkdir()
    data = os.urandom(100_000)
    (folder / "song.bin").write_bytes(data)
    rig.plug(f"mtp:{folder}")
    seen = rig.wait_attached("46f4:0004")
    out, into = (seen.endpoint(0, BULK, way) for way in (True, False))
    answer = rig.program("client", 40, read_objects, node=seen.node, interface=0, endpoint_out=out, endpoint_in=into)
    expect((answer["opened"], answer["about"]), (0x2001, 0x2001), "responses")
    if "QEMU".encode("utf-16-le") not in answer["information"]:
        raise MachineError("the device information does not name QEMU")
    expect(hashlib.sha256(b"".join(answer["contents"])).digest(), hashlib.sha256(data).digest(), "the file")
    return Outcome("OpenSession, GetDeviceInfo, GetObject of a file of 100 kB through usbfs: its contents are the same")
