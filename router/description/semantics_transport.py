# SPDX-License-Identifier: BSD-2-Clause
"""Rules about `network: {transport: ...}`: what a system without Ethernet cannot have, and rules of the other kind."""

from __future__ import annotations

from collections.abc import Iterator

from router.description.models import Road, Transport
from router.description.parts import Finding, Parts, transport
from router.description.semantics_guests import readable

ETHERNET_ONLY = ("subnet", "mtu", "queue")
"""Fields of `network` that shape the virtual Ethernet."""
WHERE = ("network", "transport")


def fields_of_ethernet(parts: Parts) -> Iterator[Finding]:
    """Without Ethernet there are no addresses, and nothing to shape."""
    if parts.network is None or transport(parts) is not Transport.VSOCK:
        return
    because = ((WHERE, "because of this"),)
    for field in ETHERNET_ONLY:
        if field in parts.network.model_fields_set:
            yield Finding(
                ("network", field),
                f"with transport: vsock there is no virtual Ethernet, so '{field}' has no meaning",
                "remove it, or write transport: tcp",
                key=True,
                related=because,
            )
    for name, guest in readable(parts):
        for field in ("address", "mac"):
            if getattr(guest, field) is not None:
                yield Finding(
                    ("guests", name, field),
                    f"with transport: vsock '{name}' has no network interface, so '{field}' has no meaning",
                    "remove it: the plan gives each guest a context ID; or write transport: tcp",
                    key=True,
                    related=because,
                )


def rules(parts: Parts) -> Iterator[Finding]:
    """Every rule is about what the transport carries."""
    if parts.network is None:
        return
    vsock = transport(parts) is Transport.VSOCK
    for index, rule in (parts.allow or {}).items():
        if (rule.protocol == "vsock") == vsock:
            continue
        path = ("network", "allow", index)
        if vsock:
            port = rule.port if rule.port is not None else "PORT"
            hint = f"write '{rule.source} -> {rule.destination} vsock/{port}', or remove the rule"
            message = f"with transport: vsock the guests have no IP, so nothing can send {rule.protocol}"
            yield Finding(path, message, hint, related=((WHERE, "because of this"),))
        else:
            message = "the guests of this system have no vsock device"
            yield Finding(path, message, f"write tcp/{rule.port}, or transport: vsock in 'network'")


def disks(parts: Parts) -> Iterator[Finding]:
    """Blocks travel by TCP."""
    if transport(parts) is not Transport.VSOCK:
        return
    for path, rule in parts.routes:
        if rule.road is Road.BLOCK:
            whole = path[0] == "usb"
            yield Finding(
                (*path, "as") if whole else path,
                f"with transport: vsock '{rule.to}' has no TCP, which disks as blocks need",
                ("remove it, so that the disk goes by USB/IP" if whole else "remove the disk")
                + "; or write transport: tcp",
                related=((WHERE, "because of this"),),
            )
