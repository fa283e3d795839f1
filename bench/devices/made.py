# SPDX-License-Identifier: BSD-2-Clause
"""What is done with devices that this program makes itself and QEMU's usb-redir puts on the emulated controller."""

from __future__ import annotations

import hashlib
import itertools
import os
import time

from bench.devices.models import Outcome, expect
from bench.devices.rig import Attached, Rig
from bench.guest import dfu, fido
from bench.usbredir.devices.dfu import BLOCK, Application, Loader
from bench.usbredir.devices.fido import INFORMATION, Key
from bench.usbredir.devices.mouse import MAX_STEP, Mouse
from bench.usbredir.plug import Plug
from router.errors import MachineError
from router.usbip.virtual.device import VirtualDevice


def plug(rig: Rig, device: VirtualDevice) -> Plug:
    """Plug the device into the server."""
    made = Plug(rig.folder / f"redir-{time.monotonic_ns():x}", device)
    rig.add_cleanup(lambda: complain(made))
    rig.add_cleanup(made.close)
    rig.plug(f"redir:{made.path}")
    return made


def complain(plug: Plug) -> None:
    """MachineError when the protocol was not kept, or a device made a mistake."""
    if plug.trouble:
        raise MachineError(f"usbredir: {plug.trouble[0]}")


def attach(rig: Rig, device: VirtualDevice, driver: str = "") -> Attached:
    """Plug the device in, and wait until the client has it with that driver."""
    plug(rig, device)
    return rig.wait_attached(f"{device.vid:04x}:{device.pid:04x}", driver)


MOVES = 150


def mouse(rig: Rig) -> Outcome:
    """A low-speed mouse: 3 s of moves."""
    device = Mouse()
    if attach(rig, device, "usbhid").speed != "1.5":
        raise MachineError("it is not a low-speed device in the client")
    events = rig.wait_routed("/sys/class/input", "event[0-9]*")
    before = device.moves
    said = rig.run("client", f"evtest /dev/input/{events} | grep -m {MOVES} 'EV_REL.*REL_X'", 40)
    seen = [int(line.rpartition(" ")[2]) for line in said.splitlines()]
    gaps = sum(after != now % MAX_STEP + 1 for now, after in itertools.pairwise(seen))
    if gaps or len(seen) != MOVES or device.moves - before < MOVES:
        raise MachineError(f"{device.moves - before} moves were sent, {len(seen)} arrived, with {gaps} gaps")
    return Outcome(f"{MOVES} moves, one each 20 ms: evtest has all of them, in order")


FIRMWARE = 5000


def firmware_update(rig: Rig) -> Outcome:
    """A device that becomes its loader, takes a firmware and becomes itself again: three identities, one port."""
    old = os.urandom(FIRMWARE)
    application = Application(old)
    plug_of_it = plug(rig, application)
    name, loader = f"{Application.vid:04x}:{Application.pid:04x}", f"{Loader.vid:04x}:{Loader.pid:04x}"
    seen = rig.wait_attached(name)
    rig.program("client", 10, dfu.detach, node=seen.node)
    seen = rig.wait_attached(loader)
    had = rig.program("client", 30, dfu.download, node=seen.node, block=BLOCK, length=FIRMWARE)
    expect(hashlib.sha256(had).digest(), hashlib.sha256(old).digest(), "the firmware that the loader had")
    rig.wait_attached(name)
    device = plug_of_it.device
    if not isinstance(device, Application) or device is application:
        raise MachineError("the loader did not become the application again")
    expect(hashlib.sha256(device.firmware).digest(), hashlib.sha256(old[::-1]).digest(), "the firmware in the device")
    return Outcome(
        f"by usbfs: detached, came back as {loader}, {FIRMWARE} bytes of firmware read and others written, came back "
        f"as {name}: all are right"
    )


PING_BYTES = 600


def security_key(rig: Rig) -> Outcome:
    """A FIDO key, by hidraw."""
    device = Key()
    attach(rig, device, "usbhid")
    seen = rig.program("client", 30, fido.talk, count=PING_BYTES, timeout_s=20)
    expect(seen, (True, True, INFORMATION), "the key's answers")
    expect(device.messages, [(fido.INIT, 8), (fido.PING, PING_BYTES), (fido.CBOR, 1)], "messages in the key")
    node = f"/dev/{rig.wait_routed('/sys/class/hidraw', 'hidraw[0-9]*')}"
    listed = rig.run("client", "fido2-token -L", 30)
    expect(
        listed.split(" ")[:3], [f"{node}:", f"vendor=0x{device.vid:04x},", f"product=0x{device.pid:04x}"], "the list"
    )
    said = rig.run("client", f"fido2-token -I {node}", 30).splitlines()
    for line in ("version strings: FIDO_2_0", f"aaguid: {'00' * 16}"):
        if line not in said:
            raise MachineError(f"fido2-token does not say '{line}': {said}")
    return Outcome(
        f"by hidraw (CTAPHID): a channel opened, {PING_BYTES} random bytes echoed, authenticatorGetInfo: all is right;"
        " fido2-token lists it and reads its information"
    )
