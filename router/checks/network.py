# SPDX-License-Identifier: BSD-2-Clause
"""The virtual Ethernet and the USB grants that go over it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from router.checks.model import Problem, View, guest_path, invariant
from router.description.models import DISK_PORT, ETHERNET_HEADER, USBIP_PORT
from router.plan.models import MAX_CID, MIN_CID, GuestPlan, RegionKind, VirtioKind, VSwitchPort
from router.words import quoted, size_text

DEPTH = (16, 1024)
BUFFER = (2 << 10, 128 << 10)
MIN_POOL = 256 << 10
"""Smallest pool that common/netq.h lays out (`NETQ_MIN_POOL_BYTES`)."""


def ends(of: GuestPlan | VSwitchPort) -> str:
    """Addresses as a message shows them."""
    return f"{of.mac} {of.address}" if of.cid is None else f"with the context ID {of.cid}"


@invariant(
    "port-per-guest",
    "each guest has the switch's port of its own number, with its own addresses",
    after=("guests-numbered",),
)
def port_per_guest(view: View) -> Iterator[Problem]:
    ports = {port.index: port for port in view.plan.vswitch.ports}
    for guest in view.plan.guests:
        port = ports.pop(guest.index, None)
        if port is None:
            yield Problem(f"the guest '{guest.name}' has no port on the switch", guest_path(guest.name))
        elif (port.guest, port.mac, port.address, port.cid) != (guest.name, guest.mac, guest.address, guest.cid):
            yield Problem(
                f"port {port.index} of the switch is for '{port.guest}' {ends(port)}, and the guest there is"
                f" '{guest.name}' {ends(guest)}",
                guest_path(guest.name),
            )
    for index, port in ports.items():
        yield Problem(f"port {index} of the switch is for '{port.guest}', and no guest has that number")


@invariant("address-unique", "every IPv4 address belongs to one guest")
def address_unique(view: View) -> Iterator[Problem]:
    first: dict[object, str] = {}
    for guest in view.plan.guests:
        if guest.address is None:
            continue
        if guest.address in first:
            yield Problem(
                f"the guests {quoted((first[guest.address], guest.name))} both have the address {guest.address}",
                guest_path(guest.name, "address"),
                f"write an 'address' for '{guest.name}' that no guest before it has",
            )
        first.setdefault(guest.address, guest.name)


@invariant("mac-unique", "every Ethernet address is unicast and belongs to one guest", after=("address-unique",))
def mac_unique(view: View) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for guest in view.plan.guests:
        subject = guest_path(guest.name, "mac")
        if guest.mac is None:
            continue
        if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", guest.mac) or int(guest.mac[:2], 16) & 1:
            yield Problem(f"'{guest.name}' has {guest.mac}, which is not a unicast Ethernet address", subject)
        if guest.mac in first:
            yield Problem(
                f"the guests {quoted((first[guest.mac], guest.name))} both have the Ethernet address {guest.mac}",
                subject,
            )
        first.setdefault(guest.mac, guest.name)


@invariant("address-in-subnet", "every guest's IPv4 address is a host address of the subnet")
def address_in_subnet(view: View) -> Iterator[Problem]:
    subnet = view.plan.vswitch.subnet
    for guest in view.plan.guests:
        if guest.address is None:
            continue
        if guest.address not in subnet or guest.address in (subnet.network_address, subnet.broadcast_address):
            yield Problem(
                f"'{guest.name}' has the address {guest.address}, which is not a host address of {subnet}",
                guest_path(guest.name, "address"),
                f"the subnet has {max(subnet.num_addresses - 2, 0)} host addresses for {len(view.plan.guests)} guests",
            )


@invariant("one-way-to-others", "all guests are on the virtual Ethernet, or all have a vsock context ID of their own")
def one_way_to_others(view: View) -> Iterator[Problem]:
    first: dict[int, str] = {}
    vsock = not view.plan.has_ethernet
    for guest in view.plan.guests:
        kinds = {device.kind for device in guest.virtio}
        whole = (guest.cid is not None, guest.address is None, guest.mac is None) == (vsock, vsock, vsock)
        if not whole or (VirtioKind.VSOCK in kinds, VirtioKind.NET in kinds) != (vsock, not vsock):
            yield Problem(
                f"'{guest.name}' is not reached as the others are: {ends(guest)}, devices {quoted(sorted(kinds))}",
                guest_path(guest.name),
            )
        if guest.cid is None:
            continue
        if not MIN_CID <= guest.cid <= MAX_CID:
            yield Problem(
                f"'{guest.name}' has the context ID {guest.cid}, not one of {MIN_CID} to {MAX_CID}",
                guest_path(guest.name),
            )
        if guest.cid in first:
            yield Problem(
                f"the guests {quoted((first[guest.cid], guest.name))} both have the context ID {guest.cid}",
                guest_path(guest.name),
            )
        first.setdefault(guest.cid, guest.name)


@invariant(
    "rules-between-ports", "every rule of the switch goes from one existing port to another, by a known protocol"
)
def rules_between_ports(view: View) -> Iterator[Problem]:
    vswitch = view.plan.vswitch
    name = {port.index: port.guest for port in vswitch.ports}
    vsock = not view.plan.has_ethernet
    for place, rule in enumerate(vswitch.rules):
        subject = ("network", "allow", place)
        for end in (rule.source, rule.destination):
            if end not in name:
                yield Problem(f"rule {place} of the switch names port {end}, and there is none", subject)
        if rule.source == rule.destination:
            yield Problem(f"rule {place} of the switch lets '{name.get(rule.source)}' talk to itself", subject)
        service = f"{rule.protocol}/{rule.port}" if rule.port is not None else rule.protocol
        right = rule.port is None if rule.protocol == "icmp" else rule.port is not None and 1 <= rule.port <= 65535
        known = ("vsock",) if vsock else ("tcp", "udp", "icmp")
        if rule.protocol not in known or not right:
            there_is = "vsock/PORT" if vsock else "tcp/PORT, udp/PORT and icmp"
            yield Problem(f"rule {place} of the switch allows '{service}': there is {there_is}", subject)


@invariant("queue-shape", "queues have 16 to 1024 buffers of 2 to 128 KiB, both powers of two")
def queue_shape(view: View) -> Iterator[Problem]:
    vswitch = view.plan.vswitch
    for field, value, (least, most) in (("depth", vswitch.depth, DEPTH), ("buffer", vswitch.buffer, BUFFER)):
        if not least <= value <= most or value & (value - 1):
            yield Problem(
                f"the queues' {field} is {value}: a power of two from {least} to {most}",
                ("network", "queue", field),
            )


@invariant("mtu-fits-buffer", "a packet of the largest size and its Ethernet header fit in one buffer")
def mtu_fits_buffer(view: View) -> Iterator[Problem]:
    vswitch = view.plan.vswitch
    frame = vswitch.mtu + ETHERNET_HEADER
    if frame > vswitch.buffer:
        best = next((size for shift in range(11, 18) if (size := 1 << shift) >= frame), BUFFER[1])
        yield Problem(
            f"a frame of {frame} bytes (MTU {vswitch.mtu} and the Ethernet header) does not fit in a buffer of"
            f" {size_text(vswitch.buffer)}",
            ("network", "mtu"),
            f"write 'queue: {{buffer: {size_text(best)}}}', or an MTU of at most {vswitch.buffer - ETHERNET_HEADER}",
        )


@invariant("frames-pool", "each sender's pool holds its largest frames: four of 64 KiB")
def frames_pool(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.FRAMES):
        if region.size < MIN_POOL:
            yield Problem(
                f"'{region.name}' is {size_text(region.size)}, and frames of 64 KiB need {size_text(MIN_POOL)}",
                ("network", "queue"),
            )


def written(view: View, place: int) -> tuple[str, tuple[str, int]]:
    """How a grant is called, and where it stands in the description: the USB rules come first, then the disks."""
    grants = view.plan.grants
    if not grants[place].size:
        return f"USB rule {place}", ("usb", place)
    number = sum(bool(grant.size) for grant in grants[:place])
    return f"disk {number}", ("disks", number)


@invariant("grants-between-guests", "every USB device goes from a server guest to another guest")
def grants_between_guests(view: View) -> Iterator[Problem]:
    for place, grant in enumerate(view.plan.grants):
        source, to = view.guests.get(grant.source), view.guests.get(grant.to)
        whole, subject = written(view, place)
        if source is None or source.role != "server":
            yield Problem(f"{whole} takes devices from '{grant.source}', which exports none", (*subject, "from"))
        if to is None or to.role != "client" or grant.to == grant.source:
            yield Problem(f"{whole} gives devices to '{grant.to}', which cannot use them", (*subject, "to"))


@invariant("usb-ports", "every USB rule's port exists on the guest's virtual controller and is given once")
def usb_ports(view: View) -> Iterator[Problem]:
    first: dict[tuple[str, int], int] = {}
    for place, grant in enumerate(view.plan.grants):
        guest = view.guests.get(grant.to)
        if grant.port is None or guest is None:
            continue
        subject = ("usb", place, "port")
        if not 1 <= grant.port <= guest.usb_ports:
            yield Problem(
                f"USB rule {place} names port {grant.port}, and the controller of '{grant.to}' has {guest.usb_ports}",
                subject,
            )
        key = (grant.to, grant.port)
        if key in first:
            yield Problem(f"USB rules {first[key]} and {place} both give port {grant.port} of '{grant.to}'", subject)
        first.setdefault(key, place)


@invariant(
    "grants-have-a-way",
    "the switch lets every guest with USB devices reach the service that has them",
    after=("grants-between-guests",),
)
def grants_have_a_way(view: View) -> Iterator[Problem]:
    vswitch = view.plan.vswitch
    index = {port.guest: port.index for port in vswitch.ports}
    protocol = "tcp" if view.plan.has_ethernet else "vsock"
    open_ways = {(rule.source, rule.destination, rule.port) for rule in vswitch.rules if rule.protocol == protocol}
    needed = dict.fromkeys((grant.to, grant.source, grant.blocks or USBIP_PORT) for grant in view.plan.grants)
    for to, source, port in needed:
        if (index.get(to), index.get(source), port) not in open_ways:
            rule = f"{to} -> {source} {protocol}/{port}"
            yield Problem(
                f"'{to}' gets USB devices from '{source}', and the switch does not let it reach them",
                ("network", "allow"),
                f"add '{rule}' to 'allow', or leave 'allow' out: the USB rules bring theirs",
            )


@invariant(
    "disks-have-one-reader", "each client's disks have a TCP port in the server that the switch opens to it alone"
)
def disks_have_one_reader(view: View) -> Iterator[Problem]:
    owners: dict[tuple[str, int], str] = {}
    for place, grant in enumerate(view.plan.grants):
        if grant.blocks and owners.setdefault((grant.source, grant.blocks), grant.to) != grant.to:
            other = owners[grant.source, grant.blocks]
            yield Problem(
                f"TCP port {grant.blocks} of '{grant.source}' has disks of both '{other}' and '{grant.to}'",
                written(view, place)[1],
            )
    names = {port.index: port.guest for port in view.plan.vswitch.ports}
    exporting = {source for source, _ in owners}
    for rule in view.plan.vswitch.rules:
        server = names.get(rule.destination, "")
        if server in exporting and rule.protocol == "tcp" and rule.port == DISK_PORT + rule.source:
            # A disk can be moved there while the system runs.
            owners.setdefault((server, rule.port), names.get(rule.source, ""))
    for place, rule in enumerate(view.plan.vswitch.rules):
        owner = owners.get((names.get(rule.destination, ""), rule.port or 0))
        if owner is not None and rule.protocol == "tcp" and names.get(rule.source) != owner:
            yield Problem(
                f"'{names.get(rule.source)}' reaches tcp/{rule.port}, where the disks of '{owner}' are",
                ("network", "allow", place),
            )
