# SPDX-License-Identifier: BSD-2-Clause
"""The guests as Linux sees them: RAM, addresses, virtio devices, kernel arguments, and who gets which USB device.

Everything is given out in the order of the description, so a guest that is appended changes nothing of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Literal

from router.boards.model import Board, Range
from router.description.models import (
    DISK_PORT,
    USBIP_PORT,
    Description,
    Guest,
    ImageFiles,
    OnExit,
    Road,
    Transport,
    image_names_of,
)
from router.description.values import Allow
from router.plan.models import (
    LARGE_PAGE,
    MIN_CID,
    Grant,
    GuestPlan,
    Passthrough,
    VirtioDevice,
    VirtioKind,
    VSwitchPlan,
    VSwitchPort,
    VSwitchRule,
)

CONSOLES = (("console", VirtioKind.CONSOLE), ("control", VirtioKind.CONSOLE))
DEVICES = {
    Transport.TCP: (("net", VirtioKind.NET), *CONSOLES),
    Transport.VSOCK: (("vsock", VirtioKind.VSOCK), *CONSOLES),
}
"""Every guest's virtio devices, by slot: the way to the others, the console for people, the channel for programs."""


def round_up(value: int, to: int) -> int:
    """The smallest multiple of `to` that is at least `value`."""
    return -(-value // to) * to


def virtio_devices(board: Board, transport: Transport) -> tuple[VirtioDevice, ...]:
    """Every guest's virtio-mmio devices: the same in one system for all guests."""
    slots = board.virtio
    return tuple(
        VirtioDevice(name, kind, slot, slots.base + slot * slots.stride, slots.stride, slots.irq + slot)
        for slot, (name, kind) in enumerate(DEVICES[transport])
    )


def addresses(description: Description) -> dict[str, IPv4Address]:
    """Each guest's IPv4 address: the one it asks for, or else the next one that no guest before it has.

    Later guests do not count, so that appending one changes no other: where it asks for an address that is taken,
    the checks say so. The first host address stays free for a capture or a gateway.
    """
    following = int(description.network.subnet.network_address) + 2
    given: dict[str, IPv4Address] = {}
    for name, guest in description.guests.items():
        if guest.address is None:
            while IPv4Address(following) in given.values():
                following += 1
        given[name] = guest.address if guest.address is not None else IPv4Address(following)
        following += 1
    return given


def default_mac(address: IPv4Address) -> str:
    """A locally administered address (IEEE 802, bit 1 of the first byte) that holds the IPv4 address."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)


def ram_ranges(description: Description, board: Board) -> dict[str, Range]:
    """Each guest's RAM, one behind the other from the start of the board's guest RAM, in whole large pages and around
    what is reserved. What finds no place reaches past the end: the checks say so.
    """
    start = board.guest_ram.start
    given: dict[str, Range] = {}
    for name, guest in description.guests.items():
        size = round_up(guest.memory, LARGE_PAGE)
        start = free_from(board, start, size)
        given[name] = Range(start, guest.memory)
        start += size
    return given


def free_from(board: Board, start: int, size: int) -> int:
    """The first large page from `start` on behind which `size` bytes are not reserved."""
    for place in sorted((place for _, place in board.reserved), key=lambda each: each.start):
        if place.start < board.guest_ram.end and place.overlaps(Range(start, size)):
            start = round_up(place.end, LARGE_PAGE)
    return start


NO_DIFFIE_HELLMAN = "initcall_blacklist=dh_init"
"""Linux, crypto/dh.c; several such arguments add up, and a kernel without that function ignores it."""

UNLESS_NAMED = ("kpti=off", "cma=8M")
"""Arguments that a guest gets unless its own name the same parameter.

With KASLR Linux isolates page tables even on a core that needs it for nothing else, such as the Cortex-A53, and a
system call under emulation takes 12 times as long. So isolation is off.

Debian's kernel keeps 64 MiB for contiguous memory, which nothing else may have while the initramfs is unpacked: a
client would need 160 MiB to start instead of 108. A server with a USB disk takes 0.4 MiB of it.
"""


def kernel_arguments(board: Board, guest: Guest, passthrough: Passthrough) -> str:
    """Linux's command line. A panic reboots at once, so that the VMM sees the crash.

    Consoles get notices and worse: each character of the early one is two traps, and all that a kernel has to say would
    take half of the time until user space.

    Debian's kernel tests its cryptographic algorithms at each start, and a third of the instructions until user space
    are for Diffie-Hellman (docs/why/speed.md). No program of ours uses that one, so it stays out of our images:
    keyctl's Diffie-Hellman and NVMe in-band authentication do not work there. A guest with a kernel of its own
    keeps it.
    """
    arguments = [f"earlycon={board.earlycon}", "console=hvc0", "loglevel=6", "panic=1"]
    arguments += [] if isinstance(guest.image, ImageFiles) else [NO_DIFFIE_HELLMAN]
    arguments += passthrough.bootargs if guest.passthrough else ()
    own = (guest.bootargs or "").split()
    arguments += [
        word for word in UNLESS_NAMED if not any(each.startswith(word.partition("=")[0] + "=") for each in own)
    ]
    return " ".join([*arguments, *([guest.bootargs] if guest.bootargs else [])])


def on_exit(guest: Guest, passthrough: Passthrough) -> str:
    """What happens when a guest ends: as described, else a restart unless a device's DMA cannot be stopped."""
    if guest.on_exit is not None:
        return guest.on_exit
    return OnExit.STOP if passthrough.unstoppable else OnExit.RESTART


def plan_guests(
    description: Description, board: Board, passthrough: Mapping[str, Passthrough], roles: Mapping[str, str]
) -> tuple[GuestPlan, ...]:
    """All guests. `passthrough` and `roles` are by guest name."""
    vsock = description.network.transport is Transport.VSOCK
    ip = {} if vsock else addresses(description)
    ram, virtio = ram_ranges(description, board), virtio_devices(board, description.network.transport)
    images = image_names_of(description)
    return tuple(
        GuestPlan(
            name=name,
            index=index,
            image=images[name],
            role=roles[name],
            ram=ram[name],
            vcpus=guest.vcpus,
            mac=None if vsock else guest.mac or default_mac(ip[name]),
            address=ip.get(name),
            cid=MIN_CID + index if vsock else None,
            bootargs=kernel_arguments(board, guest, passthrough.get(name, Passthrough())),
            virtio=virtio,
            passthrough=passthrough.get(name, Passthrough()),
            smc=guest.smc,
            on_exit=on_exit(guest, passthrough.get(name, Passthrough())),
            usb_version=guest.usb.version,
            usb_ports=guest.usb.ports,
            root=root_of(guest),
            trusted=guest.trusted,
            automount=guest.automount,
            disk_wait=guest.disk_wait,
        )
        for index, (name, guest) in enumerate(description.guests.items())
    )


def root_of(guest: Guest) -> str:
    """The guest's root file system in the words of blkid(8); empty where it has none of its own."""
    if guest.root is None:
        return ""
    return f"LABEL={guest.root.label}" if guest.root.label is not None else f"PARTUUID={guest.root.partuuid}"


def servers(description: Description, roles: Mapping[str, str]) -> tuple[str, ...]:
    """The guests that export USB devices."""
    return tuple(name for name in description.guests if roles[name] == "server")


def plan_grants(description: Description, roles: Mapping[str, str]) -> tuple[Grant, ...]:
    """The USB rules and the disks, each with the guest that it takes the device from."""
    exporting = servers(description, roles)
    places = {name: index for index, name in enumerate(description.guests)}
    routed = [(rule, 0) for rule in description.usb] + [(part.as_rule(), part.size) for part in description.disks]
    return tuple(
        Grant(
            source=rule.source or exporting[0],
            to=rule.to,
            vendor=rule.device.vendor if rule.device else None,
            product=rule.device.product if rule.device else None,
            path=rule.path,
            serial=rule.serial,
            device_class=rule.class_,
            only=rule.only or (),
            port=rule.port,
            blocks=DISK_PORT + places[rule.to] if rule.road is Road.BLOCK else 0,
            name=rule.name or "",
            size=size,
        )
        for rule, size in routed
        if rule.source or exporting
    )


def plan_vswitch(description: Description, guests: tuple[GuestPlan, ...], grants: tuple[Grant, ...]) -> VSwitchPlan:
    """The switch: a port for each guest, and the rules that are written down or that the grants need."""
    wanted = description.network.allow
    if wanted is None:
        needed = dict.fromkeys((grant.to, grant.source, grant.blocks or USBIP_PORT) for grant in grants)
        protocol: Literal["tcp", "vsock"] = "vsock" if description.network.transport is Transport.VSOCK else "tcp"
        wanted = tuple(Allow(client, server, protocol, port) for client, server, port in needed)
    index = {guest.name: guest.index for guest in guests}
    return VSwitchPlan(
        subnet=description.network.subnet,
        mtu=description.network.mtu,
        depth=description.network.queue.depth,
        buffer=description.network.queue.buffer,
        ports=tuple(VSwitchPort(guest.index, guest.name, guest.mac, guest.address, guest.cid) for guest in guests),
        rules=tuple(
            VSwitchRule(index[rule.source], index[rule.destination], rule.protocol, rule.port) for rule in wanted
        ),
    )
