# SPDX-License-Identifier: BSD-2-Clause
"""What the vsock core must decide, written without a look at how it does: a dictionary of connections by their ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.vswitch import SwitchConfig
from tests.vswitch.vhost import (
    CREDIT_REQUEST,
    REQUEST,
    RESPONSE,
    RST,
    RW,
    SHUTDOWN,
    STREAM,
    Header,
)

End = tuple[int, int]
"""A CID and a port."""
CONNECTIONS = 64
"""At once under one rule."""
LINKS = ("up", "stalled", "paused", "detached")


@dataclass
class Side:
    """What one end has sent, how far it may, and what it has shut down."""

    sent: int = 0
    limit: int = 0
    shutdown: int = 0


@dataclass
class Connection:
    """Ends are (opener, listener). `owed`: the connection is over, and these ends are still to get their RST."""

    ends: tuple[End, End]
    answered: bool = False
    owed: set[End] | None = None
    sides: dict[End, Side] = field(default_factory=dict)


class VsockModel:
    """A switch, from what its guests may send to each other."""

    def __init__(self, config: SwitchConfig) -> None:
        self.cids = [port.cid for port in config.vsock_ports]
        self.names = {port.name: port.cid for port in config.vsock_ports}
        self.rules = {(self.names[rule.source], self.names[rule.target], rule.port) for rule in config.vsock_rules}
        self.links = dict.fromkeys(self.cids, "up")
        self.connections: list[Connection] = []

    def find(self, one: End, other: End) -> Connection | None:
        return next((each for each in self.connections if set(each.ends) == {one, other}), None)

    def end(self, connection: Connection, owed: set[End]) -> None:
        connection.owed = owed
        self.sweep()

    def sweep(self) -> None:
        self.connections = [each for each in self.connections if each.owed is None or each.owed]

    def set_link(self, cid: int, link: str) -> None:
        ends = self.links[cid] == "up" and link != "up"
        self.links[cid] = link
        for connection in list(self.connections):
            mine = {end for end in connection.ends if end[0] == cid}
            if mine and connection.owed is None and (ends or link == "detached"):
                connection.owed = set(connection.ends)
            if mine and connection.owed is not None and link == "detached":
                connection.owed -= mine
        self.sweep()

    def resets(self, cid: int) -> list[tuple[End, End]]:
        """The RSTs that a guest is owed, as (from, to); it has them now."""
        found = []
        for connection in self.connections:
            for end in list(connection.owed or ()):
                if end[0] == cid:
                    (other,) = set(connection.ends) - {end}
                    found.append((other, end))
                    assert connection.owed is not None
                    connection.owed.discard(end)
        self.sweep()
        return found

    def judge(self, cid: int, header: Header, payload: int) -> tuple[str, str]:
        """What happens to the packet (drop, answer, forward), and why."""
        if header.source_cid != cid:
            return "drop", "source-cid"
        me, peer = (cid, header.source_port), (header.destination_cid, header.destination_port)
        connection = self.find(me, peer) if peer[0] in self.cids and peer[0] != cid else None
        if header.operation == RST:
            if connection is None:
                return "drop", "reset"
            if connection.owed is not None:
                connection.owed.discard(me)
                self.sweep()
                return "drop", "reset"
            self.connections.remove(connection)
            return "forward", "pass"
        reason = self.why_not(connection, me, peer, header, payload)
        if reason == "pass":
            if connection is not None and all(side.shutdown == 3 for side in connection.sides.values()):
                self.end(connection, set(connection.ends))
                return "drop", "pass"
            return "forward", "pass"
        if connection is not None and connection.owed is None:
            self.end(connection, set(connection.ends))
            return "drop", reason
        if connection is not None and connection.owed is not None and me in connection.owed:
            return "drop", reason
        return "answer", reason

    def why_not(self, connection: Connection | None, me: End, peer: End, header: Header, payload: int) -> str:
        if peer[0] == me[0] or peer[0] not in self.cids:
            return "destination-cid"
        if header.type != STREAM:
            return "type"
        if header.operation not in range(REQUEST, CREDIT_REQUEST + 1):
            return "operation"
        if header.operation == SHUTDOWN and header.flags > 3:
            return "operation"
        if payload != header.length or payload > 65536 or (payload > 0) != (header.operation == RW):
            return "length"
        if header.operation == REQUEST:
            return self.open(connection, me, peer, header)
        if connection is None or connection.owed is not None:
            return "no-connection"
        if not connection.answered:
            if header.operation != RESPONSE or me != connection.ends[1]:
                return "state"
        elif header.operation == RESPONSE:
            return "state"
        mine, other = connection.sides[me], connection.sides[peer]
        if header.operation == RW and mine.shutdown & 2:
            return "state"
        # The number of bytes that I took, of all that the other has sent: the nearest below, modulo 2^32.
        taken = next((n for n in range(other.sent, -1, -1) if n % 2**32 == header.fwd_cnt), None)
        if taken is None:
            return "credit"
        other.limit = max(other.limit, taken + header.buf_alloc)
        if header.operation == RW:
            if mine.sent + payload > mine.limit:
                return "credit"
            mine.sent += payload
        elif header.operation == RESPONSE:
            connection.answered = True
        elif header.operation == SHUTDOWN:
            mine.shutdown |= header.flags
        return "pass"

    def open(self, connection: Connection | None, me: End, peer: End, header: Header) -> str:
        if connection is not None:
            return "state"
        rule = (me[0], *peer)
        if rule not in self.rules:
            return "not-allowed"
        for cid in (peer[0], me[0]):
            if self.links[cid] != "up":
                return "stalled" if self.links[cid] == "stalled" else "port-down"
        if header.fwd_cnt:
            return "credit"
        used = [each for each in self.connections if (each.ends[0][0], *each.ends[1]) == rule]
        if len(used) == CONNECTIONS:
            return "connections"
        self.connections.append(
            Connection((me, peer), sides={me: Side(), peer: Side(limit=header.buf_alloc)}),
        )
        return "pass"
