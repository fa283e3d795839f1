# SPDX-License-Identifier: BSD-2-Clause
"""The switch's configuration: ports with one MAC and one IPv4 address each, and the conversations that may pass."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal, get_args

from router.description.models import ETHERNET_HEADER
from router.errors import DescriptionError
from router.plan.models import MAX_CID, MIN_CID, VSwitchPlan

Protocol = Literal["icmp", "tcp", "udp"]

MAX_PORTS = 62
"""One bit each in the core's port sets, and Microkit's channel ids 0 to 61."""
MAX_RULES = 4096

MAX_VSOCK_RULES = 256
MAX_VSOCK_PORT = 0xFFFFFFFE
"""The highest 32-bit number is Linux's VMADDR_PORT_ANY."""

FRAME_MAX = ETHERNET_HEADER + 65536
"""Bytes: the largest frame that a sender with segmentation offload hands over."""
MIN_FRAME_LIMIT = ETHERNET_HEADER + 68
"""Bytes: every IPv4 link carries packets of 68 bytes (RFC 791)."""


@dataclass(frozen=True)
class SwitchPort:
    """One guest's connection. The name becomes a file name and a string in C."""

    name: str
    mac: str
    ipv4: IPv4Address


@dataclass(frozen=True)
class SwitchRule:
    """`source` may open conversations with `target` (port names); answers are part of them."""

    source: str
    target: str
    protocol: Protocol
    port: int | None = None
    """Destination port; None for icmp, which means echo."""

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} {self.protocol}" + (f"/{self.port}" if self.port is not None else "")


@dataclass(frozen=True)
class VsockPort:
    """One guest's vsock device. A guest may have an Ethernet port of the same name as well, or this alone."""

    name: str
    cid: int
    """Context id, `MIN_CID` to `MAX_CID`."""


@dataclass(frozen=True)
class VsockRule:
    """`source` may open stream connections to vsock port `port` of `target` (names of vsock ports)."""

    source: str
    target: str
    port: int

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} vsock/{self.port}"


@dataclass(frozen=True)
class SwitchConfig:
    """All that the switch knows. DescriptionError on making one that the core would refuse."""

    ports: tuple[SwitchPort, ...]
    rules: tuple[SwitchRule, ...]
    frame_max: int = FRAME_MAX
    """Bytes of the longest frame that passes, Ethernet header included; a frame with segmentation offload may have
    `FRAME_MAX`, and its segments this."""
    vsock_ports: tuple[VsockPort, ...] = ()
    vsock_rules: tuple[VsockRule, ...] = ()

    def __post_init__(self) -> None:
        if not (self.ports or self.vsock_ports) or max(len(self.ports), len(self.vsock_ports)) > MAX_PORTS:
            most = max(len(self.ports), len(self.vsock_ports))
            raise DescriptionError(f"a switch has 1 to {MAX_PORTS} ports, not {most}")
        if len(self.rules) > MAX_RULES:
            raise DescriptionError(f"a switch has at most {MAX_RULES} rules, not {len(self.rules)}")
        if not MIN_FRAME_LIMIT <= self.frame_max <= FRAME_MAX:
            raise DescriptionError(
                f"a frame limit of {self.frame_max} bytes is not in {MIN_FRAME_LIMIT} to {FRAME_MAX}"
            )
        for port in self.ports:
            check_port(port)
        check_unique("name", (port.name for port in self.ports))
        check_unique("MAC address", (port.mac.lower() for port in self.ports))
        check_unique("IPv4 address", (port.ipv4 for port in self.ports))
        names = {port.name for port in self.ports}
        for rule in self.rules:
            check_rule(rule, names)
        check_vsock(self.vsock_ports, self.vsock_rules)

    def index(self, name: str) -> int:
        """A port's number; KeyError when there is none of that name."""
        for number, port in enumerate(self.ports):
            if port.name == name:
                return number
        raise KeyError(name)


def check_name(name: str) -> None:
    """DescriptionError unless it can be a file name of the switch."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", name):
        raise DescriptionError(
            f"'{name}' cannot name a port of the switch",
            hint="use 1 to 64 letters, digits, '-', '_' and '.', with no dot in front",
        )


def check_port(port: SwitchPort) -> None:
    """A plain name, a unicast MAC and a host's IPv4 address, or a DescriptionError."""
    check_name(port.name)
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", port.mac):
        raise DescriptionError(
            f"{port.name}: '{port.mac}' is not a MAC address", hint="write it like 02:00:0a:4d:00:02"
        )
    if int(port.mac[:2], 16) & 1 or port.mac == "00:00:00:00:00:00":
        raise DescriptionError(f"{port.name}: the MAC address {port.mac} is zero or a group's, not a host's")
    # 0.0.0.0/8 and 127.0.0.0/8 name no other host, 224.0.0.0/4 groups; 240.0.0.0/4 is reserved (RFC 6890).
    if port.ipv4.packed[0] in (0, 127) or port.ipv4.packed[0] >= 224:
        raise DescriptionError(f"{port.name}: the IPv4 address {port.ipv4} is not a host's")


def check_unique(what: str, values: Iterable[Hashable]) -> None:
    """DescriptionError when a value comes twice."""
    seen: set[Hashable] = set()
    for value in values:
        if value in seen:
            raise DescriptionError(f"two ports of the switch have the same {what}: {value}")
        seen.add(value)


def check_rule(rule: SwitchRule, names: set[str]) -> None:
    """Two known ports, a protocol, and a port number where the protocol has one; or a DescriptionError."""
    for name in (rule.source, rule.target):
        if name not in names:
            raise DescriptionError(f"rule '{rule}': no port of the switch is called '{name}'")
    if rule.source == rule.target:
        raise DescriptionError(f"rule '{rule}': a guest does not talk with itself through the switch")
    if rule.protocol not in get_args(Protocol):
        raise DescriptionError(f"rule '{rule}': unknown protocol", hint="write icmp, tcp or udp")
    if (rule.port is None) != (rule.protocol == "icmp"):
        raise DescriptionError(f"rule '{rule}': tcp and udp need a port number, icmp has none")
    if rule.port is not None and not 1 <= rule.port <= 65535:
        raise DescriptionError(f"rule '{rule}': port {rule.port} is not in 1 to 65535")


def check_vsock(ports: tuple[VsockPort, ...], rules: tuple[VsockRule, ...]) -> None:
    """Plain names, CIDs and vsock ports that the core takes, each only once; or a DescriptionError."""
    if len(rules) > MAX_VSOCK_RULES:
        raise DescriptionError(f"a switch has at most {MAX_VSOCK_RULES} vsock rules, not {len(rules)}")
    for port in ports:
        check_name(port.name)
        if not MIN_CID <= port.cid <= MAX_CID:
            raise DescriptionError(f"{port.name}: the CID {port.cid} is not in {MIN_CID} to {MAX_CID}")
    check_unique("name", (port.name for port in ports))
    check_unique("CID", (port.cid for port in ports))
    names = {port.name for port in ports}
    for rule in rules:
        for name in (rule.source, rule.target):
            if name not in names:
                raise DescriptionError(f"rule '{rule}': '{name}' has no vsock device at the switch")
        if rule.source == rule.target:
            raise DescriptionError(f"rule '{rule}': a guest does not talk with itself through the switch")
        if not 1 <= rule.port <= MAX_VSOCK_PORT:
            raise DescriptionError(f"rule '{rule}': port {rule.port} is not in 1 to {MAX_VSOCK_PORT}")
    if len(set(rules)) < len(rules):
        raise DescriptionError("two vsock rules of the switch are the same")


def switch_config(plan: VSwitchPlan) -> SwitchConfig:
    """The switch of a planned system."""
    ports = sorted(plan.ports, key=lambda port: port.index)
    names = {port.index: port.guest for port in ports}
    rules, vsock_rules = [], []
    for rule in plan.rules:
        if rule.protocol == "vsock" and rule.port is not None:
            vsock_rules.append(VsockRule(names[rule.source], names[rule.destination], rule.port))
            continue
        if rule.protocol not in get_args(Protocol):
            raise DescriptionError(f"the switch does not know the protocol '{rule.protocol}'")
        protocol: Protocol = rule.protocol  # type: ignore[assignment]
        rules.append(SwitchRule(names[rule.source], names[rule.destination], protocol, rule.port))
    return SwitchConfig(
        ports=tuple(
            SwitchPort(port.guest, port.mac, port.address)
            for port in ports
            if port.mac is not None and port.address is not None
        ),
        rules=tuple(rules),
        frame_max=plan.frame_max,
        vsock_ports=tuple(VsockPort(port.guest, port.cid) for port in ports if port.cid is not None),
        vsock_rules=tuple(vsock_rules),
    )
