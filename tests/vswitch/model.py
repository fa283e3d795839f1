# SPDX-License-Identifier: BSD-2-Clause
"""The switch's rules once more, in Python and from their description alone: what the C core is compared with.

A frame is taken apart into whatever it is, and the first objection counts. `Objection` carries the reason's name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from router.vswitch import SwitchConfig, SwitchRule
from tests.vswitch.frames import NO_OFFLOAD, Offload

BROADCAST = b"\xff" * 6


class Objection(Exception):
    """Why a frame is dropped."""


def object_if(wrong: bool, reason: str) -> None:
    if wrong:
        raise Objection(reason)


@dataclass
class Model:
    """The switch's judgement; `down` holds the ports with nobody connected."""

    config: SwitchConfig
    down: set[int] = field(default_factory=set)

    def judge(self, source: int, frame: bytes, offload: Offload = NO_OFFLOAD) -> tuple[set[int], str]:
        """The ports that get the frame, and the reason for dropping it, or "pass"."""
        try:
            wanted = self._receivers(source, frame, offload)
            self._offload(frame, offload)
            object_if(not wanted - self.down, "port-down")
        except Objection as objection:
            return set(), str(objection)
        return wanted - self.down, "pass"

    def asks(self, source: int, frame: bytes) -> bool:
        """Whether a frame that passes does so in its sender's own right, and may expect an answer."""
        if frame[12:14] == b"\x08\x06":
            return frame[21] == 1 and frame[38:42] != self._address(source).packed
        target, first = self._unicast(source, frame[:6]), frame[34:38]
        match frame[23]:
            case 1:
                return first[0] == 8
            case 6:
                return self._asked(source, target, "tcp", first) and not frame[47] & 4
            case _:
                return self._asked(source, target, "udp", first)

    def _asked(self, source: int, target: int, protocol: str, ports: bytes) -> bool:
        return self._rule(source, target, protocol, int.from_bytes(ports[2:4], "big"))

    def _offload(self, frame: bytes, offload: Offload) -> None:
        """A receiver completes only the checksum of the packet, and cuts only TCP into frames within the limit."""
        internet = frame[12:14] == b"\x08\x00"
        place = {6: (34, 16), 17: (34, 6)}.get(frame[23]) if internet else None
        asked = (offload.csum_start, offload.csum_offset)
        object_if(offload.flags not in (0, 1), "checksum-offload")
        object_if(offload.flags == 1 and asked != place, "checksum-offload")
        if offload.gso_type:
            whole = int.from_bytes(frame[16:18], "big") in (len(frame) - 14, 0)
            object_if(
                offload.gso_type != 1 or offload.flags != 1 or place != (34, 16) or not whole, "segmentation-offload"
            )
            headers = 34 + frame[46] // 16 * 4
            object_if(not headers <= offload.hdr_len <= len(frame), "segmentation-offload")
            fits = headers + offload.gso_size <= self.config.frame_max
            object_if(offload.gso_size < 8 or not fits, "segmentation-offload")
            segments = -(-(len(frame) - headers) // offload.gso_size)
            object_if(segments > 133, "segmentation-offload")

    def _mac(self, port: int) -> bytes:
        return bytes(int(pair, 16) for pair in self.config.ports[port].mac.split(":"))

    def _address(self, port: int) -> IPv4Address:
        return self.config.ports[port].ipv4

    def _rule(self, source: int, target: int, protocol: str, port: int | None) -> bool:
        names = [self.config.ports[number].name for number in (source, target)]
        return SwitchRule(names[0], names[1], protocol, port) in self.config.rules  # type: ignore[arg-type]

    def _peers(self, port: int) -> set[int]:
        me = self.config.ports[port].name
        pairs = [{rule.source, rule.target} for rule in self.config.rules]
        met = set().union(*(pair for pair in pairs if me in pair)) - {me}
        return {self.config.index(name) for name in met}

    def _receivers(self, source: int, frame: bytes, offload: Offload) -> set[int]:
        object_if(len(frame) < 14, "runt")
        object_if(len(frame) > (14 + 65536 if offload.gso_type else self.config.frame_max), "oversize")
        object_if(frame[6:12] != self._mac(source), "source-mac")
        kind = frame[12:14].hex()
        if kind == "0800":
            return self._ipv4(source, frame, offload)
        if kind == "0806":
            return self._arp(source, frame)
        raise Objection({"8100": "vlan", "88a8": "vlan", "9100": "vlan", "86dd": "ipv6"}.get(kind, "ethertype"))

    def _unicast(self, source: int, target: bytes) -> int:
        object_if(target == BROADCAST, "broadcast")
        object_if(target[0] % 2 == 1, "multicast")
        owners = [port for port in range(len(self.config.ports)) if self._mac(port) == target]
        object_if(not owners, "destination-mac")
        object_if(owners == [source], "to-itself")
        return owners[0]

    def _arp(self, source: int, frame: bytes) -> set[int]:
        object_if(not 42 <= len(frame) <= 60, "arp-format")
        hardware, protocol, sizes, operation = struct.unpack(">HHHH", frame[14:22])
        object_if((hardware, protocol, sizes) != (1, 0x0800, 0x0604) or operation not in (1, 2), "arp-format")
        object_if(frame[22:28] != self._mac(source), "arp-sender-mac")
        object_if(IPv4Address(frame[28:32]) != self._address(source), "arp-sender-ip")
        asked = IPv4Address(frame[38:42])
        peers = self._peers(source)
        if frame[:6] == BROADCAST:
            wanted = peers if asked == self._address(source) else {p for p in peers if self._address(p) == asked}
            object_if(not wanted, "arp-target")
            return wanted
        target = self._unicast(source, frame[:6])
        object_if(target not in peers, "not-allowed")
        object_if(asked != self._address(target), "arp-target")
        return {target}

    def _ipv4(self, source: int, frame: bytes, offload: Offload) -> set[int]:
        target = self._unicast(source, frame[:6])
        packet = frame[14:]
        object_if(len(packet) < 20 or packet[0] // 16 != 4 or packet[0] % 16 < 5 or packet[6] >= 0x80, "ipv4-header")
        object_if(packet[0] != 0x45, "ipv4-options")
        total = int.from_bytes(packet[2:4], "big")
        if total == 0 and offload.gso_type == 1 and len(packet) > 65535:
            total = len(packet)
        padded = len(frame) <= 60 and total <= len(packet)
        object_if(total <= 20 or not (total == len(packet) or padded), "ipv4-length")
        object_if(IPv4Address(packet[12:16]) != self._address(source), "source-ip")
        object_if(IPv4Address(packet[16:20]) != self._address(target), "destination-ip")
        object_if(int.from_bytes(packet[6:8], "big") & 0x3FFF != 0, "fragment")
        payload = packet[20:total]
        match packet[9]:
            case 1:
                self._icmp(source, target, payload)
            case 6:
                self._tcp(source, target, payload)
            case 17:
                object_if(len(payload) < 8 or int.from_bytes(payload[4:6], "big") != len(payload), "udp-header")
                object_if(not self._conversation(source, target, "udp", payload), "not-allowed")
            case _:
                raise Objection("ip-protocol")
        return {target}

    def _conversation(self, source: int, target: int, protocol: str, ports: bytes) -> bool:
        sent_from, sent_to = struct.unpack(">HH", ports[:4])
        return self._rule(source, target, protocol, sent_to) or self._rule(target, source, protocol, sent_from)

    def _echo(self, source: int, target: int, kind: int) -> bool:
        return (kind == 8 and self._rule(source, target, "icmp", None)) or (
            kind == 0 and self._rule(target, source, "icmp", None)
        )

    def _tcp(self, source: int, target: int, segment: bytes) -> None:
        object_if(len(segment) < 20, "tcp-header")
        object_if(not 20 <= segment[12] // 16 * 4 <= len(segment), "tcp-header")
        object_if(not self._conversation(source, target, "tcp", segment), "not-allowed")
        opens = segment[13] & 0b10010 == 0b00010
        in_its_direction = self._rule(source, target, "tcp", int.from_bytes(segment[2:4], "big"))
        object_if(opens and not in_its_direction, "tcp-open")

    def _icmp(self, source: int, target: int, message: bytes) -> None:
        object_if(len(message) < 8, "icmp-header")
        kind, code = message[0], message[1]
        if kind == 3 and code <= 15:
            object_if(not self._quote(target, source, message[8:]), "icmp-quote")
            return
        object_if(kind not in (0, 8) or code != 0, "icmp-type")
        object_if(not self._echo(source, target, kind), "not-allowed")

    def _quote(self, source: int, target: int, quote: bytes) -> bool:
        """Whether a quoted packet from `source` to `target` belongs to a conversation that may be."""
        if len(quote) < 28 or quote[0] != 0x45 or int.from_bytes(quote[6:8], "big") & 0x1FFF:
            return False
        if (IPv4Address(quote[12:16]), IPv4Address(quote[16:20])) != (self._address(source), self._address(target)):
            return False
        if quote[9] == 1:
            return self._echo(source, target, quote[20])
        protocol = {6: "tcp", 17: "udp"}.get(quote[9])
        return protocol is not None and self._conversation(source, target, protocol, quote[20:24])
