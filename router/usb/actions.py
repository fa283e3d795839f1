# SPDX-License-Identifier: BSD-2-Clause
"""Attaching and detaching devices of a running system, and its guests' virtual controllers.

Both are changes of the server's policy that last until the system stops: the server's daemon takes them at once, and
the client's keeper attaches whatever is granted to it. So a device that was attached by hand survives its unplugging
and the restart of either daemon like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from router.errors import MachineError, RouterError
from router.usb import disks, find
from router.usb.answers import devices_of, parse, ports_of
from router.usb.facts import USBIP_PORT, Attached, BlockDisk, Device, Guest, Port, Snapshot
from router.usb.steps import (
    ANSWER_TIMEOUT_S,
    SETTLE_TIMEOUT_S,
    answered,
    gone_again,
    held,
    in_use,
    not_there,
    noted,
    said,
    silent_holder,
    untold,
    wait,
)
from router.usb.view import Connect, Guests, program, snapshot

NUMBER = re.compile(r"[0-9]+\.[0-9]+")

USED = "006"
"""A port in use, in the driver's status (drivers/usb/usbip/usbip_common.h, VDEV_ST_USED)."""
STATUS = "/sys/devices/platform/vhci_hcd.0/status*"
KERNEL_LINE = """\
dmesg | awk -v begin={begin} '/] (usb|hub|vhci_hcd|usbhid|usb-storage|uas) / {{
  time = $0; sub(/^. */, "", time)
  if (time + 0 >= begin) {{ line = $0; sub(/^[^]]*] /, "", line) }} }} END {{ print line }}'"""
"""Prints the newest line of a guest's kernel about USB since that uptime."""


def attach(
    connect: Connect, guest_name: str, text: str, number: int = 0, *, take: bool = False, force: bool = False
) -> Port | BlockDisk:
    """Give a device to a guest and wait until it is there: the port that it is on. `number` 0: any port.

    Of a disk that goes as blocks it is the disk as the guest has it.

    take: also from another guest that has it, unless its disks are in use there; force: even then.

    DescriptionError when there is no such guest or device; MachineError says why it is not possible, or which step of
    it has failed.
    """
    seen = snapshot(connect)
    guest = find.guest(seen, guest_name, "client")
    device = find.device(seen, text)
    answered(seen, guest.name)
    if device.disk is not None:
        return disks.attach(connect, seen, guest, device, number, take=take, force=force)
    _may_attach(seen, guest, device, number, take=take)
    _not_in_use(seen, device, force=force)
    words = ["grant", guest.address, device.busid, *(["--port", str(number)] if number else [])]
    with connect() as guests:
        uptime = guests.execute(guest.name, "read -r up _ </proc/uptime; echo $up")[1].decode(errors="replace").strip()
        # One change of the policy takes it from its holder and gives it to this guest: no third one gets it in between.
        program(guests, device.server, *words, *(["--take"] if take else []))
        code, _ = guests.execute(guest.name, wait(_is_there(device)), ANSWER_TIMEOUT_S)
        if code:
            begin = uptime if NUMBER.fullmatch(uptime) else "0"
            try:
                why = ": ".join(_failed_step(guests, seen.guests, guest, device, begin))
            except RouterError as error:
                why = untold(error)
            raise not_there(seen, guest, device, why)
    after = snapshot(connect, {guest.name})
    for port in after.ports.get(guest.name, ()):
        if port.device is not None and port.device.is_from(device):
            return port
    raise gone_again(guest, device)


def _failed_step(
    guests: Guests, everybody: Mapping[str, Guest], guest: Guest, device: Device, begin: str
) -> tuple[str, str]:
    """Which step of attaching has not ended, and what was said of it: the server's export, the import, the device."""
    answer = parse(device.server, program(guests, device.server, "status", "--json"))
    now = {one.busid: one for one in devices_of(device.server, answer, {})}
    if device.busid not in now:
        return "the server has lost the device", "it was unplugged, or has reset itself"
    if not now[device.busid].exported:
        reason = noted(guests, device.server, f"cannot export {device.busid}")
        return f"'{device.server}' cannot export it", reason
    addresses = {one.address: one.name for one in everybody.values()}
    ports = ports_of(guest.name, parse(guest.name, program(guests, guest.name, "ports", "--json")), addresses)
    if not any(port.device is not None and port.device.is_from(device) for port in ports):
        if now[device.busid].holder not in (None, guest.address):
            return "its last holder has not let it go", f"'{device.server}' still counts it as in use"
        return f"'{guest.name}' cannot import it", noted(guests, guest.name, f"usbip: {device.busid}: ")
    return (
        f"'{guest.name}' has imported it, and its kernel cannot enumerate it",
        said(guests, guest.name, KERNEL_LINE.format(begin=begin)),
    )


def _not_in_use(seen: Snapshot, device: Device, *, force: bool) -> None:
    """MachineError when the guest that has the device uses a disk of it: what was not written yet would be lost.

    Also when that guest does not say.
    """
    if force or device.holder is None:
        return
    if device.holder not in seen.ports:
        raise silent_holder(device)
    port = seen.place_of(device)
    if port is not None:
        _may_leave(port, force=force)


def _may_leave(port: Port, *, force: bool) -> None:
    if force or port.device is None or not port.device.uses:
        return
    raise in_use(f"{port.device.busid} ({port.device.name})", port.guest, port.device.uses)


def _may_attach(seen: Snapshot, guest: Guest, device: Device, number: int, *, take: bool) -> None:
    """MachineError when the device cannot be attached there. take: another guest may have it now."""
    if device.holder is not None and not (take and device.holder != guest.name):
        port = seen.place_of(device)
        raise held(guest, device, f", on port {port.number}" if port else "")
    if (guest.name, device.server) not in seen.reaches:
        service = f"{'vsock' if guest.address.startswith('vsock:') else 'tcp'}/{USBIP_PORT}"
        raise MachineError(
            f"the switch lets no USB/IP from '{guest.name}' to '{device.server}', and that is fixed while it runs",
            hint=f"in the description, under network: allow: [{guest.name} -> {device.server} {service}]",
        )
    unfit = _unfit(seen, guest, device, number)
    if unfit:
        raise MachineError(unfit, hint=f"router usb ports {guest.name} shows its ports")


def _unfit(seen: Snapshot, guest: Guest, device: Device, number: int) -> str | None:
    """Why no port of the guest, or not that one, can take the device; None when one can."""
    mine = [port for port in seen.ports.get(guest.name, ()) if port.hub == device.hub]
    kind = "USB 3" if device.hub == "ss" else "USB 2"
    if not mine and device.hub == "ss":
        return f"{device.busid} is a SuperSpeed device, and '{guest.name}' has a USB 2 controller"
    if number:
        there = [port for port in mine if port.number == number]
        if not there:
            return f"'{guest.name}' has no port {number} for {kind} devices: it has {_numbers(mine)}"
        if there[0].device is not None:
            return f"port {number} of '{guest.name}' is taken by {there[0].device.name}"
    if not any(port.state == "free" for port in mine):
        return f"all {len(mine)} {kind} ports of '{guest.name}' are taken"
    return None


def _numbers(ports: list[Port]) -> str:
    numbers = sorted({port.number for port in ports})
    whole = numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else False
    return f"{numbers[0]} to {numbers[-1]}" if whole else ", ".join(map(str, numbers)) or "none"


def detach(connect: Connect, guest_name: str, text: str, *, force: bool = False) -> Port | BlockDisk:
    """Take a device from a guest, by port number or by what it is called: the port that it was on, or the disk.

    force: even if the guest uses a disk of it.

    DescriptionError when there is no such guest or device; MachineError when the guest does not have it.
    """
    seen = snapshot(connect)
    guest = find.guest(seen, guest_name, "client")
    answered(seen, guest.name)
    disk = disks.meant(seen, guest.name, text)
    if disk is not None:
        return disks.detach(connect, seen, guest, disk, force=force)
    port = find.used_port(seen, guest.name, text)
    assert port.device is not None, "used_port gives ports with devices"
    _may_leave(port, force=force)
    device = next((one for one in seen.devices if seen.place_of(one) == port), None)
    with connect() as guests:
        if device is not None:
            program(guests, device.server, "revoke", guest.address, device.busid)
        else:
            # It came from elsewhere, so there is no policy to change.
            program(guests, guest.name, "detach", "-p", str(port.rhport))
        code, _ = guests.execute(guest.name, wait(f"! {_search('q', port.device)}"), ANSWER_TIMEOUT_S)
        if code:
            raise MachineError(f"port {port.number} of '{guest.name}' is still in use after {SETTLE_TIMEOUT_S:.0f} s")
    return port


def create_controller(connect: Connect, guest_name: str, ports: int | None, version: int) -> str:
    """Bring up another virtual controller in a guest: what the guest says of it."""
    guest = find.guest(snapshot(connect, ()), guest_name, "client")
    words = ["controllers", "create", "--usb", str(version), *(["--ports", str(ports)] if ports is not None else [])]
    with connect() as guests:
        return program(guests, guest.name, *words).decode(errors="replace").strip()


def destroy_controller(connect: Connect, guest_name: str, index: int) -> None:
    """Take a virtual controller without devices down."""
    guest = find.guest(snapshot(connect, ()), guest_name, "client")
    with connect() as guests:
        program(guests, guest.name, "controllers", "destroy", str(index))


def why_not(seen: Snapshot, device: Device) -> str:
    """Why a free device is not in a guest."""
    granted = [seen.guests[name] for name in device.grants if name in seen.guests]
    if not granted:
        if device.taken:
            return f"taken from '{device.taken[0]}' by router usb detach"
        return "no rule gives it to a guest"
    guest = granted[0]
    if device.disk is not None:
        return f"goes to '{guest.name}' as blocks, and is not exported: router usb watch and the server's log say why"
    if guest.name in seen.troubles:
        return f"given to '{guest.name}', which {seen.troubles[guest.name]}"
    if (guest.name, device.server) not in seen.reaches:
        return f"given to '{guest.name}', but the switch lets no USB/IP through"
    unfit = _unfit(seen, guest, device, device.grants[guest.name].port)
    if unfit:
        return f"given to '{guest.name}', but {unfit}"
    if not device.exported:
        return f"given to '{guest.name}', but the server cannot export it yet"
    return f"given to '{guest.name}', which is about to attach it"


def candidates(seen: Snapshot, device: Device) -> list[str]:
    """The guests that the device can be attached to as things are."""
    return [
        guest.name
        for guest in seen.with_role("client")
        if guest.name not in seen.troubles
        and (
            guest.name in device.readers and not device.parts
            if device.disk is not None
            else (guest.name, device.server) in seen.reaches and _unfit(seen, guest, device, 0) is None
        )
    ]


def _search(option: str, device: Device | Attached) -> str:
    """A grep in a guest's shell for a virtual port that has that device."""
    return f"grep -{option}s ' {USED} ... {device.busnum << 16 | device.devnum:08x} ' {STATUS}"


def _is_there(device: Device) -> str:
    """A test in a guest's shell: whether some virtual port has that device, and the kernel knows what it is."""
    known = "read -r _ _ _ _ _ _ local && [ -r /sys/bus/usb/devices/$local/idVendor ]"
    return f"{_search('h', device)} | {{ {known}; }}"
