# SPDX-License-Identifier: BSD-2-Clause
"""The policy's rules, and how they decide. Their text form is `policy`'s business."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from router.usbip.protocol.descriptors import Triple
from router.usbip.protocol.device import Device

# A triple in which None stands for any number.
Pattern = tuple[int | None, int | None, int | None]
MARK = "# at run time"
"""How a line ends that was added while the daemon ran: see `edit`."""
# path, serial, product, vendor, interface, class, only: how exactly a rule describes a device; greater is more exact
Rank = tuple[int, int, int, int, int, int, int]


class Rule:
    """One line of the policy. A matcher that is None matches everything; `port` 0 is any port.

    tcp: the client's TCP port for its disks: the device goes there as blocks. 0: it goes by USB/IP.
    name: what the client calls such a disk; empty for a name made from its USB port.
    size: bytes of the partition with that name, which the client gets instead of the whole disk; 0: the whole disk.
    owner: what the partition's name ends with behind a colon, which says whose it is; empty where that is left open.

    line: its number in the file, for messages.
    only: the device may have interfaces of these patterns and no others, in whatever configuration or alternate
    setting; empty for no such limit.
    """

    __slots__ = (
        "allow",
        "client",
        "cls",
        "interface",
        "line",
        "name",
        "only",
        "owner",
        "path",
        "pid",
        "port",
        "rank",
        "serial",
        "size",
        "tcp",
        "text",
        "vid",
    )

    def __init__(
        self,
        allow: bool,
        client: str,
        path: str | None = None,
        serial: str | None = None,
        vid: int | None = None,
        pid: int | None = None,
        interface: Pattern | None = None,
        cls: Pattern | None = None,
        port: int = 0,
        line: int = 0,
        text: str = "",
        only: tuple[Pattern, ...] = (),
        tcp: int = 0,
        name: str = "",
        size: int = 0,
        owner: str = "",
    ) -> None:
        self.allow = allow
        self.client = client
        self.path = path
        self.serial = serial
        self.vid = vid
        self.pid = pid
        self.interface = interface
        self.cls = cls
        self.port = port
        self.line = line
        self.text = text
        self.only = only
        self.tcp = tcp
        self.name = name
        self.size = size
        self.owner = owner
        self.rank: Rank = (
            path is not None,
            serial is not None,
            pid is not None,
            vid is not None,
            _width(interface),
            _width(cls),
            len(only) > 0,
        )

    @property
    def at_run_time(self) -> bool:
        """Whether it was added while the daemon ran."""
        return self.text.endswith(MARK)

    def describes(self, device: Device) -> bool:
        """Whether all of the rule's matchers fit the device."""
        return (
            (self.path is None or self.path in (device.busid, device.peer, *device.sockets))
            and (self.serial is None or self.serial == device.serial)
            and (self.vid is None or self.vid == device.vid)
            and (self.pid is None or self.pid == device.pid)
            and (self.interface is None or any(_fits(self.interface, triple) for triple in device.interfaces))
            and (self.cls is None or any(_fits(self.cls, t) for t in (device.triple, *device.interfaces)))
            and (not self.only or self._has_no_others(device))
        )

    def _has_no_others(self, device: Device) -> bool:
        """Whether `only` covers every interface that the device has; false where that is not known."""
        return bool(device.all_interfaces) and all(
            any(_fits(pattern, triple) for pattern in self.only) for triple in device.all_interfaces or ()
        )

    def concerns(self, client: str) -> bool:
        """Whether the rule speaks of this client."""
        return self.client == "any" or self.client == client or ("/" in self.client and _within(client, self.client))

    def client_rank(self) -> int:
        """How exactly the rule names its client, for the choice between rules of the same rank."""
        if self.client == "any":
            return 0
        return int(self.client.rpartition("/")[2]) + 1 if _is_network(self.client) else 256

    def __repr__(self) -> str:
        return f"Rule({self.text!r} line {self.line})"


class Decision:
    """The policy's answer for one client and one device; `reason` is one line for the log."""

    __slots__ = ("allowed", "port", "reason", "rule")

    def __init__(self, allowed: bool, rule: Rule | None, reason: str) -> None:
        self.allowed = allowed
        self.rule = rule
        self.port = rule.port if allowed and rule else 0
        self.reason = reason


class Policy:
    """An ordered set of rules. places: TCP ports for the disks of clients to which no rule gives one yet."""

    def __init__(self, rules: list[Rule] | tuple[Rule, ...] = (), places: Mapping[str, int] | None = None) -> None:
        self.rules = tuple(rules)
        self.places = dict(places or {}) | {rule.client: rule.tcp for rule in self.rules if rule.tcp}
        """The TCP port of each client that can have disks as blocks."""
        made = [rule for rule in self.rules if not rule.at_run_time]
        self._made = self if len(made) == len(self.rules) else Policy(made, places)
        """Without what was added at run time."""

    def disk_rule(self, device: Device) -> Rule | None:
        """The rule that sends the whole device as blocks; None where it goes by USB/IP or in parts.

        A disk that was taken from its client at run time does not change its road: what the file said before counts.
        """
        decisions = self._made.blocks(device) or self.blocks(device)
        return decisions[0].rule if decisions else None

    def decide(self, client: str, device: Device) -> Decision:
        """Whether the client may import the device by USB/IP, and on which port. A disk goes one way only."""
        decision = self._judge(client, device)
        if decision.allowed and (rule := self._as_blocks(device)):
            return Decision(False, rule, f"line {rule.line} gives it as blocks: {rule.text}")
        return decision

    def _as_blocks(self, device: Device) -> Rule | None:
        return self.disk_rule(device) or next((one.rule for one in self.parts(device)), None)

    def blocks(self, device: Device) -> list[Decision]:
        """What gives the device to clients as blocks; the rule of each has the client, its TCP port and the name."""
        clients = dict.fromkeys(rule.client for rule in self.rules if rule.tcp and rule.describes(device))
        decisions = [self._judge(client, device) for client in clients]
        return [one for one in decisions if one.allowed and one.rule and one.rule.tcp and not one.rule.size]

    def parts(self, device: Device) -> list[Decision]:
        """What gives parts of the device to clients; the rule of each has the client, its TCP port, name and size."""
        found = []
        for rule in self.rules:
            if rule.size and rule.describes(device):
                judged = self._judge(rule.client, device)
                # Where another line describes the device more exactly for this client, this one is about other disks.
                if judged.allowed and judged.rule and judged.rule.rank == rule.rank:
                    found.append(Decision(True, rule, f"line {rule.line} allows it: {rule.text}"))
        return found

    def _judge(self, client: str, device: Device) -> Decision:
        """Whether the client may have the device, one way or the other.

        Of the rules that describe the device and concern the client the most specific one counts; deny before allow
        where two are equally specific. An allow is void where another allow describes the device more exactly for
        another client: what was said of one port goes before what was said of a whole class.
        """
        describing = [rule for rule in self.rules if rule.describes(device)]
        mine = [rule for rule in describing if rule.concerns(client)]
        if not mine:
            return Decision(False, None, "no rule allows it")
        best = max(mine, key=lambda rule: (rule.rank, rule.client_rank(), not rule.allow, -rule.line))
        if not best.allow:
            return Decision(False, best, f"line {best.line} denies it: {best.text}")
        for rule in describing:
            if rule.allow and rule.rank > best.rank and not rule.concerns(client):
                return Decision(False, rule, f"line {rule.line} gives it to {rule.client}: {rule.text}")
        return Decision(True, best, f"line {best.line} allows it: {best.text}")

    def is_granted(self, device: Device) -> bool:
        """Whether some client could import the device by USB/IP: then it is taken from its driver and exported."""
        return not self._as_blocks(device) and any(rule.allow and self._could(rule, device) for rule in self.rules)

    def _could(self, rule: Rule, device: Device) -> bool:
        if not rule.describes(device):
            return False
        # For a network or for "any" it is enough that some address in it is not denied: the import decides.
        return rule.client == "any" or _is_network(rule.client) or self.decide(rule.client, device).allowed


def _width(pattern: Pattern | None) -> int:
    return sum(part is not None for part in pattern) if pattern else 0


def _fits(pattern: Pattern, triple: Triple) -> bool:
    return all(want is None or want == have for want, have in zip(pattern, triple, strict=True))


def _is_network(client: str) -> bool:
    return "/" in client and not client.startswith("unix:")


def address_bits(address: str) -> tuple[int, int] | None:
    """(number, width in bits) of an IPv4 or IPv6 address, or None."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        packed = socket.inet_pton(family, address)
    except (OSError, ValueError):
        # ValueError: a NUL, or what is not Unicode.
        return None
    return int.from_bytes(packed, "big"), len(packed) * 8


def _within(address: str, network: str) -> bool:
    base, _, prefix = network.partition("/")
    have, want = address_bits(address), address_bits(base)
    if have is None or want is None or have[1] != want[1]:
        return False
    shift = want[1] - int(prefix)
    return have[0] >> shift == want[0] >> shift
