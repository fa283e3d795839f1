# SPDX-License-Identifier: BSD-2-Clause
"""The C core and an independent model in Python judge the same frames alike, for random switches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.vswitch import SwitchConfig, SwitchPort, SwitchRule
from tests.vswitch.frames import BROADCAST, NO_OFFLOAD, Offload, ethernet, icmp, ipv4, tcp, udp
from tests.vswitch.model import Model
from tests.vswitch.runner import Runner

NUMBERS = st.sampled_from([53, 3240, 40000])
"""Few port numbers, so that rules and frames often meet."""
SIZES = st.sampled_from([0, 0, 0, 1, 7, 100, 1460, 1461, 1473, 65495, 65496, 65497])
WHOLE = st.none()


@st.composite
def configs(draw: st.DrawFn) -> SwitchConfig:
    """Two to four guests with addresses like those of vswitch_frames, and a handful of rules."""
    count = draw(st.integers(2, 4))
    ports = tuple(
        SwitchPort(f"guest{n}", f"02:00:0a:4d:00:{2 + n:02x}", IPv4Address("10.77.0.2") + n) for n in range(count)
    )
    rules = []
    for _ in range(draw(st.integers(0, 8))):
        source, target = draw(st.permutations(range(count)))[:2]
        protocol = draw(st.sampled_from(["icmp", "tcp", "udp"]))
        number = None if protocol == "icmp" else draw(NUMBERS)
        rules.append(SwitchRule(f"guest{source}", f"guest{target}", protocol, number))  # type: ignore[arg-type]
    return SwitchConfig(ports, tuple(rules), draw(st.sampled_from([65550, 65550, 1514, 82])))


def transport(draw: st.DrawFn, protocol: int) -> bytes:
    data = bytes(draw(SIZES))
    if protocol == 6:
        offset = draw(st.sampled_from([5, 5, 5, 5, 4, 6, 15]))
        return tcp(
            draw(NUMBERS), draw(NUMBERS), draw(st.sampled_from([0x02, 0x12, 0x10, 0x04, 0, 0xFF])), data, offset=offset
        )
    if protocol == 17:
        return udp(draw(NUMBERS), draw(NUMBERS), data, length=draw(WHOLE | st.sampled_from([0, 8, 108, 65535])))
    return icmp(draw(st.sampled_from([0, 8, 8, 5, 11])), draw(st.sampled_from([0, 0, 0, 1])), data[:500])


def address_of(port: int) -> bytes:
    return bytes([10, 77, 0, 2 + port])


def mac_of(port: int) -> bytes:
    return b"\x02\x00" + address_of(port)


def internet(draw: st.DrawFn, source: int, target: int) -> bytes:
    """An IPv4 packet, mostly honest; every third or so quotes another one in an ICMP error."""
    protocol = draw(st.sampled_from([1, 6, 17, 6, 17, 6, 47]))
    payload = transport(draw, protocol)
    if draw(st.integers(0, 2)) == 0:
        quoted = ipv4(address_of(target), address_of(source), protocol, payload[: draw(st.sampled_from([8, 7, 20]))])
        kind, code = draw(st.sampled_from([(3, 3), (3, 4), (3, 15), (3, 16), (11, 0)]))
        protocol, payload = 1, icmp(kind, code, quoted)
    return ipv4(
        address_of(draw(st.sampled_from([source] * 12 + [target]))),
        address_of(draw(st.sampled_from([target] * 8 + [source, 9]))),
        protocol,
        payload,
        total=draw(st.sampled_from([None] * 8 + [0, 20, 28, 65535])),
        fragment=draw(st.sampled_from([0x4000, 0] * 6 + [0x2000, 0x0001, 0x8000])),
        first=draw(st.sampled_from([0x45] * 15 + [0x46])),
    )


def resolution(draw: st.DrawFn, source: int, target: int) -> bytes:
    sender = draw(st.sampled_from([source, source, source, target]))
    body = b"\x00\x01\x08\x00\x06\x04\x00" + bytes([draw(st.sampled_from([1, 2, 1, 2, 3]))])
    asked = draw(st.sampled_from([source, target, target, 9]))
    return body + mac_of(sender) + address_of(draw(st.sampled_from([sender, source]))) + bytes(6) + address_of(asked)


@st.composite
def frames(draw: st.DrawFn, count: int) -> tuple[int, bytes]:
    """A port and a frame from it to another one: built honestly, and then sometimes bent in one place."""
    source, target = draw(st.permutations(range(count)))[:2]
    target = draw(st.sampled_from([target] * 15 + [source, 9]))
    if draw(st.integers(0, 3)) == 0:
        kind, body = 0x0806, resolution(draw, source, target)
        to = draw(st.sampled_from([BROADCAST, mac_of(target)]))
    else:
        kind, body = 0x0800, internet(draw, source, target)
        to = mac_of(target)
    kind = draw(st.sampled_from([kind] * 20 + [0x8100, 0x86DD, 0x88CC]))
    to = draw(st.sampled_from([to] * 20 + [BROADCAST, b"\x01\x00\x5e\x00\x00\x01", b"\x02" * 6]))
    frame = bytearray(ethernet(source, target, kind, body, to=to))
    bend = draw(st.integers(0, 14))
    if bend == 0:
        del frame[draw(st.integers(0, min(len(frame) - 1, 90))) :]
    elif bend == 1:
        frame += bytes(draw(st.sampled_from([1, 2, 6, 18, 19])))
    elif bend == 2:
        frame[draw(st.integers(0, min(len(frame), 70) - 1))] ^= 1 << draw(st.integers(0, 7))
    return draw(st.sampled_from([source] * 15 + [target % count])), bytes(frame)


@st.composite
def conversations(draw: st.DrawFn, config: SwitchConfig) -> tuple[int, bytes]:
    """An honest packet of a rule, in either direction, or an ICMP error about one with at most one byte wrong."""
    rule = draw(st.sampled_from(config.rules))
    ends = config.index(rule.source), config.index(rule.target)
    number, other = rule.port or 0, draw(NUMBERS)
    back = draw(st.booleans())
    source, target = ends[::-1] if back else ends
    ports = (number, other) if back else (other, number)
    flags = draw(st.sampled_from([0x02, 0x12, 0x10, 0x06, 0x42]))
    protocol, payload = {
        "icmp": (1, icmp(draw(st.sampled_from([0, 8])))),
        "tcp": (6, tcp(*ports, flags)),
        "udp": (17, udp(*ports)),
    }[rule.protocol]
    if draw(st.booleans()):
        quoted = bytearray(ipv4(address_of(source), address_of(target), protocol, payload))
        quoted[draw(st.sampled_from([0, 6, 9, 12, 15, 19, 20, 21, 22, 23]))] ^= draw(st.sampled_from([0, 0, 1, 3, 6]))
        source, target = target, source
        protocol, payload = 1, icmp(3, draw(st.integers(0, 16)), bytes(quoted))
    packet = ipv4(address_of(source), address_of(target), protocol, payload)
    return source, ethernet(source, target, 0x0800, packet, to=mac_of(target))


@st.composite
def offloads(draw: st.DrawFn, frame: bytes) -> Offload:
    """Mostly what an honest driver asks of such a frame, with at most one field wrong."""
    offset = {6: 16, 17: 6}.get(frame[23] if len(frame) > 23 else 0, 0)
    if draw(st.integers(0, 2)) == 0:
        return NO_OFFLOAD
    honest = Offload(1, 0, 0, 0, 34, offset)
    if draw(st.booleans()):
        headers = 34 + (frame[46] // 16 * 4 if len(frame) > 46 else 20)
        honest = honest._replace(gso_type=1, hdr_len=headers, gso_size=draw(st.sampled_from([8, 28, 1460])))
    field = draw(st.sampled_from(Offload._fields))
    bent = honest._replace(**{field: draw(st.sampled_from([0, 1, 2, 3, 4, 6, 7, 16, 33, 53, 55, 129, 1461, 65535]))})
    return draw(st.sampled_from([honest, honest, bent]))


@pytest.fixture(scope="module")
def core(runner_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    with Runner(runner_program, tmp_path_factory.mktemp("model")) as runner:
        yield runner


def test_the_core_agrees_with_the_model(core: Runner) -> None:
    """Same ports, same reason; over the run, most reasons and many passing frames must have come up."""
    seen: Counter[str] = Counter()
    questions: Counter[bool] = Counter()

    @settings(max_examples=1200, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(configs(), st.data())
    def agree(config: SwitchConfig, data: st.DataObject) -> None:
        core.configure(config)
        model = Model(config, data.draw(st.sets(st.integers(0, 1), max_size=1)))
        for port in model.down:
            core.link(port, False)
        sent = frames(len(config.ports)) | conversations(config) if config.rules else frames(len(config.ports))
        for port, frame in data.draw(st.lists(sent, min_size=4, max_size=12)):
            offload = data.draw(offloads(frame))
            # Two fields of one byte each in the header.
            offload = offload._replace(flags=offload.flags & 255, gso_type=offload.gso_type & 255)
            expected = model.judge(port, frame, offload)
            seen[expected[1]] += 1
            assert core.judge(port, frame, offload) == expected, (port, frame[:90].hex(), len(frame), offload)
            asks = expected[1] == "pass" and model.asks(port, frame)
            assert core.asks(port, frame, offload) == asks, (port, frame[:90].hex(), len(frame), offload)
            questions[asks] += expected[1] == "pass"

    agree()
    assert seen["pass"] > 500, seen
    assert min(questions[True], questions[False]) > 100, questions
    assert len(seen) >= 30, seen
