# SPDX-License-Identifier: BSD-2-Clause
"""Rules about the virtual Ethernet: addresses, queues and who may talk."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from router.description.models import ETHERNET_HEADER
from router.description.parts import Finding, Parts
from router.description.semantics_guests import readable
from router.words import nearest, size_text

BUFFER_MIN, BUFFER_MAX = 2 << 10, 128 << 10


def subnet(parts: Parts) -> Iterator[Finding]:
    """The subnet is one for hosts and has room for every guest."""
    if parts.network is None:
        return
    net, path = parts.network.subnet, ("network", "subnet")
    if (
        net.is_multicast
        or net.is_loopback
        or net.is_unspecified
        or net.is_link_local
        or net.network_address.is_reserved
    ):
        yield Finding(path, f"{net} cannot be used for hosts", "use a private subnet, such as 10.77.0.0/24")
        return
    room = max(0, net.num_addresses - 3)
    if room < len(parts.guests):
        given = "subnet" in parts.network.model_fields_set
        yield Finding(
            path if given else ("network",),
            f"{net} has room for {room} guest{'' if room == 1 else 's'}, but there are {len(parts.guests)}",
            "use a shorter prefix; the network, broadcast and first host addresses are reserved",
        )


def queues(parts: Parts) -> Iterator[Finding]:
    """Queues are powers of two within limits, and a buffer holds the largest frame."""
    if parts.network is None:
        return
    queue, mtu = parts.network.queue, parts.network.mtu
    if queue.depth & (queue.depth - 1):
        lower = 1 << (queue.depth.bit_length() - 1)
        yield Finding(
            ("network", "queue", "depth"), f"{queue.depth} is not a power of two", f"write {lower} or {lower * 2}"
        )
    path = ("network", "queue", "buffer")
    if not BUFFER_MIN <= queue.buffer <= BUFFER_MAX:
        yield Finding(path, f"a buffer of {size_text(queue.buffer)} is out of range", "write 2 KiB to 128 KiB")
    elif queue.buffer & (queue.buffer - 1):
        lower = 1 << (queue.buffer.bit_length() - 1)
        hint = f"write {size_text(lower)} or {size_text(lower * 2)}"
        yield Finding(path, f"a buffer of {size_text(queue.buffer)} is not a power of two", hint)
    elif (frame := mtu + ETHERNET_HEADER) > queue.buffer:
        enough = 1 << (frame - 1).bit_length()
        yield Finding(
            ("network", "mtu") if "mtu" in parts.network.model_fields_set else path,
            f"a frame of MTU {mtu} takes {frame} bytes, more than a buffer of {size_text(queue.buffer)}",
            f"write queue: {{buffer: {size_text(enough)}}}, or mtu: {queue.buffer - frame + mtu} or less",
        )


def addresses(parts: Parts) -> Iterator[Finding]:
    """Addresses lie in the subnet, are free for guests and are given once."""
    if parts.network is None:
        return
    net = parts.network.subnet
    if net.num_addresses < 4:
        return
    unused = {
        net.network_address: "the network's own address",
        net.broadcast_address: "the broadcast address",
        net.network_address + 1: "the first host address, which is reserved",
    }
    taken: dict[IPv4Address, str] = {}
    for name, guest in readable(parts):
        address, path = guest.address, ("guests", name, "address")
        if address is None:
            continue
        example = f"such as {net.network_address + 2}"
        if address not in net:
            yield Finding(path, f"{address} is not in the subnet {net}", f"choose an address in the subnet, {example}")
        elif address in unused:
            yield Finding(path, f"{address} is {unused[address]}", f"choose another address, {example}")
        elif address in taken:
            yield twice("address", str(address), taken[address], name)
        taken.setdefault(address, name)


def ethernet_addresses(parts: Parts) -> Iterator[Finding]:
    """Ethernet addresses are given once."""
    taken: dict[str, str] = {}
    for name, guest in readable(parts):
        if guest.mac is not None and guest.mac in taken:
            yield twice("mac", guest.mac, taken[guest.mac], name)
        elif guest.mac is not None:
            taken[guest.mac] = name


def twice(field: str, value: str, first: str, second: str) -> Finding:
    """Two guests with one address."""
    return Finding(
        ("guests", second, field),
        f"{value} is assigned to both '{first}' and '{second}'",
        f"remove one: a guest without '{field}' gets a free one",
        related=((("guests", first, field), "first"),),
    )


def allow_rules(parts: Parts) -> Iterator[Finding]:
    """Rules name two different guests that exist, and no rule stands twice."""
    known = list(parts.guests)
    seen: dict[str, int] = {}
    for index, rule in (parts.allow or {}).items():
        path = ("network", "allow", index)
        strangers = [name for name in dict.fromkeys((rule.source, rule.destination)) if name not in parts.guests]
        for name in strangers:
            near = nearest(name, known)
            hint = f"did you mean '{near}'?" if near else f"the guests are: {', '.join(known) or 'none'}"
            yield Finding(path, f"there is no guest '{name}'", hint)
        if not strangers and rule.source == rule.destination:
            yield Finding(path, f"'{rule.source}' needs no rule to reach itself", "remove the rule")
        first = seen.setdefault(str(rule), index)
        if first != index:
            yield Finding(
                path,
                f"duplicate rule '{rule}'",
                "remove one of them",
                related=((("network", "allow", first), "first"),),
            )
