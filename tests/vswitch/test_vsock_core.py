# SPDX-License-Identifier: BSD-2-Clause
"""The vsock core and an independent model in Python decide the same sequences of packets alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.vswitch import SwitchConfig, VsockPort, VsockRule, render_host
from tests.vswitch.cc import CORE, HOST, PROGRAMS, ROOT, SANITIZE, compile_c
from tests.vswitch.runner import Runner
from tests.vswitch.vhost import (
    CREDIT_UPDATE,
    HEADER,
    REQUEST,
    RESPONSE,
    RST,
    RW,
    SHUTDOWN,
    STREAM,
    Header,
)
from tests.vswitch.vsock_model import LINKS, VsockModel
from tests.vswitch.vsock_switch import CLIENT, OTHER, SERVER, VSOCK

PORTS = (99, 3240)
CIDS = [port.cid for port in VSOCK.vsock_ports]
BOTH_WAYS = SwitchConfig(
    (),
    (),
    vsock_ports=(VsockPort("a", 3), VsockPort("b", 2**32 - 2)),
    vsock_rules=(VsockRule("a", "b", 99), VsockRule("b", "a", 99), VsockRule("a", "b", 3240)),
)


class Core(Runner):
    """The core behind the line protocol of c/vsock_runner.c."""

    def packet(self, port: int, header: Header, payload: int | None = None) -> tuple[str, str, int, Header]:
        """Action, reason, receiver, and the header that goes on, or that answers."""
        length = header.length if payload is None else payload
        action, reason, to, left = self.ask(f"packet {port} {header.pack().hex()} {length}").split()
        return action, reason, int(to), Header(*HEADER.unpack(bytes.fromhex(left)))

    def resets(self, port: int) -> list[Header]:
        return [Header(*HEADER.unpack(bytes.fromhex(each))) for each in self.ask(f"resets {port}").split()]


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    folder = tmp_path_factory.mktemp("vsock")
    units = [PROGRAMS / "vsock_runner.c", HOST / "config.c", CORE / "vsock.c", CORE / "vsock_init.c"]
    with Core(compile_c(folder / "runner", units, *SANITIZE), folder) as running:
        yield running


def header(source: int, target: int, operation: int, **fields: int) -> Header:
    """Of a connection from port 1024 of one guest to 3240 of the other, if `ports` says nothing else."""
    ports = (3240, 1024) if source == SERVER else (1024, 3240)
    made = Header(source, target, *ports, 0, STREAM, operation, 0, 65536)
    return made._replace(**fields)


def opened(core: Core) -> None:
    core.configure(VSOCK)
    assert core.packet(1, header(CLIENT, SERVER, REQUEST))[:3] == ("forward", "pass", 0)
    assert core.packet(0, header(SERVER, CLIENT, RESPONSE))[:3] == ("forward", "pass", 1)


def test_what_passes_is_passed_on_as_it_is_but_for_its_flags(core: Core) -> None:
    opened(core)
    sent = header(CLIENT, SERVER, RW, length=100, flags=0xFFFF, fwd_cnt=0, buf_alloc=12345)
    assert core.packet(1, sent) == ("forward", "pass", 0, sent._replace(flags=0))
    sent = header(CLIENT, SERVER, SHUTDOWN, flags=1)
    assert core.packet(1, sent) == ("forward", "pass", 0, sent)


def test_credit_is_counted_across_32_bits(core: Core) -> None:
    opened(core)
    turn = 65536 - 16
    total = 0
    while total < 2**32 + 2**20:
        sent = header(CLIENT, SERVER, RW, length=turn)
        assert core.packet(1, sent)[1] == "pass", total
        total += turn
        assert core.packet(0, header(SERVER, CLIENT, CREDIT_UPDATE, fwd_cnt=total % 2**32))[1] == "pass", total
    assert core.packet(1, header(CLIENT, SERVER, RW, length=65536))[1] == "pass"
    assert core.packet(1, header(CLIENT, SERVER, RW, length=1))[1] == "credit"


def test_an_older_announcement_does_not_take_back_credit_that_was_given(core: Core) -> None:
    """Packets may overtake each other within a kernel, and a buffer may be made smaller."""
    opened(core)
    assert core.packet(1, header(CLIENT, SERVER, RW, length=1000))[1] == "pass"
    assert core.packet(0, header(SERVER, CLIENT, CREDIT_UPDATE, fwd_cnt=1000))[1] == "pass"
    assert core.packet(0, header(SERVER, CLIENT, CREDIT_UPDATE, fwd_cnt=500))[1] == "pass"
    assert core.packet(0, header(SERVER, CLIENT, CREDIT_UPDATE, fwd_cnt=500, buf_alloc=1))[1] == "pass"
    assert core.packet(1, header(CLIENT, SERVER, RW, length=65536))[1] == "pass"
    assert core.packet(1, header(CLIENT, SERVER, RW, length=1))[:2] == ("drop", "credit")
    assert [each.operation for each in core.resets(0) + core.resets(1)] == [RST, RST]


def test_a_reset_is_never_answered(core: Core) -> None:
    core.configure(VSOCK)
    for bent in ({}, {"type": 2}, {"destination_cid": 2}, {"destination_cid": OTHER}, {"length": 5}, {"flags": 7}):
        assert core.packet(1, header(CLIENT, SERVER, RST)._replace(**bent), 0)[:2] == ("drop", "reset")


def test_every_reason_has_a_name_and_is_in_the_manual(core: Core) -> None:
    *names, unknown = core.ask("reasons").split()
    assert unknown == "unknown"
    assert len(set(names)) == len(names)
    manual = (ROOT / "docs/reference/vswitch.md").read_text()
    section = manual[manual.index("## Why a vsock packet") :]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE)) == set(names) - {"pass"}


def test_a_configuration_of_both_directions_keeps_the_connections_apart(core: Core) -> None:
    core.configure(BOTH_WAYS)
    high = 2**32 - 2
    assert core.packet(0, Header(3, high, 99, 99, 0, STREAM, REQUEST))[1] == "pass"
    assert core.packet(1, Header(high, 3, 99, 99, 0, STREAM, REQUEST))[:2] == ("drop", "state")
    assert [len(core.resets(port)) for port in (0, 1)] == [1, 1]
    assert core.packet(1, Header(high, 3, 99, 99, 0, STREAM, REQUEST))[1] == "pass"
    assert core.packet(0, Header(3, high, 99, 99, 0, STREAM, RESPONSE))[1] == "pass"


@st.composite
def honest(draw: st.DrawFn, model: VsockModel, cids: list[int]) -> tuple[int, Header]:
    """A packet of a connection that there is, or one that opens a connection."""
    live = [each for each in model.connections if each.owed is None]
    if not live or draw(st.integers(0, 4)) == 0:
        source, target, port = draw(st.sampled_from(sorted(model.rules)))
        own = draw(st.sampled_from([1024, 1025, *PORTS]))
        return source, Header(source, target, own, port, 0, STREAM, REQUEST, 0, draw(st.sampled_from([0, 10, 65536])))
    connection = draw(st.sampled_from(live))
    me, peer = connection.ends if draw(st.booleans()) else connection.ends[::-1]
    half = 3 in {side.shutdown for side in connection.sides.values()}
    operation = draw(st.sampled_from([SHUTDOWN] * 3 if half else [RW, RW, RW, SHUTDOWN, CREDIT_UPDATE, 7]))
    if not connection.answered:
        (me, peer), operation = connection.ends[::-1], RESPONSE
    mine, other = connection.sides[me], connection.sides[peer]
    room = mine.limit - mine.sent
    length = 0
    if operation == RW:
        length = draw(st.sampled_from([1, 10, 48, 65536, max(1, min(room, 65536)), max(1, min(room + 1, 65536))]))
    taken = draw(st.sampled_from([other.sent, other.sent // 2, 0, other.sent + 1]) if other.sent else st.just(0))
    flags = draw(st.sampled_from([0, 1, 2, 3, 3, 3, 3, 3])) if operation == SHUTDOWN else 0
    window = draw(st.sampled_from([10, 65536, 200_000]))
    return me[0], Header(me[0], peer[0], me[1], peer[1], length, STREAM, operation, flags, window, taken)


@st.composite
def bent(draw: st.DrawFn, sent: Header, cids: list[int]) -> Header:
    """The packet with one field changed, if at all."""
    change = draw(
        st.sampled_from(
            [
                *[{}] * 10,
                {"source_cid": draw(st.sampled_from(cids))},
                {"destination_cid": draw(st.sampled_from([*cids, 2, 99, 2**32 + cids[0]]))},
                {"destination_port": draw(st.sampled_from([*PORTS, 1024, 22]))},
                {"source_port": draw(st.sampled_from([*PORTS, 1024]))},
                {"operation": draw(st.integers(0, 8))},
                {"type": 2},
                {"flags": draw(st.sampled_from([1, 4, 2**31]))},
                {"length": draw(st.sampled_from([0, 1, 65536, 65537]))},
                {"fwd_cnt": draw(st.sampled_from([1, 2**31, 2**32 - 1]))},
                {"operation": RST},
            ]
        )
    )
    return sent._replace(**change)


def test_the_core_agrees_with_the_model(core: Core) -> None:
    """Same action, same reason, same RSTs owed; over the run, every reason must have come up."""
    seen: Counter[tuple[str, str]] = Counter()
    owed = 0

    @settings(max_examples=200, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from([VSOCK, BOTH_WAYS]), st.data())
    def agree(config: SwitchConfig, data: st.DataObject) -> None:
        nonlocal owed
        core.configure(config)
        model = VsockModel(config)
        cids = model.cids
        for _ in range(data.draw(st.integers(5, 40))):
            step = data.draw(st.integers(0, 11))
            if step == 0:
                cid = data.draw(st.sampled_from(cids))
                link = data.draw(st.sampled_from([*LINKS, "up", "up", "up"]))
                assert core.ask(f"link {cids.index(cid)} {LINKS.index(link)}") == "ok"
                model.set_link(cid, link)
            elif step == 1:
                cid = data.draw(st.sampled_from(cids))
                found = core.resets(cids.index(cid))
                expected = model.resets(cid)
                assert sorted(each[:4] for each in found) == sorted((a[0], b[0], a[1], b[1]) for a, b in expected)
                assert all(each[4:] == (0, STREAM, RST, 0, 0, 0) for each in found)
                owed += len(found)
            else:
                cid, sent = data.draw(honest(model, cids))
                sent = data.draw(bent(sent, cids))
                payload = sent.length + data.draw(st.sampled_from([0] * 15 + [1]))
                expected_verdict = model.judge(cid, sent, payload)
                action, reason, to, after = core.packet(cids.index(cid), sent, payload)
                assert (action, reason) == expected_verdict, (cid, sent, payload)
                seen[action, reason] += 1
                if action == "forward":
                    assert cids[to] == sent.destination_cid
                    assert after[:4] == sent[:4]
                elif action == "answer":
                    assert after == Header(
                        sent.destination_cid,
                        sent.source_cid,
                        sent.destination_port,
                        sent.source_port,
                        0,
                        sent.type,
                        RST,
                    )

    agree()
    reasons = {reason for _, reason in seen}
    *names, _ = core.ask("reasons").split()
    # The caller names no wrong port here, and a full table is a test of its own.
    assert reasons == set(names) - {"no-port", "connections"}, seen
    assert seen["forward", "pass"] > 500, seen
    assert seen["drop", "pass"] >= 5, seen
    assert owed > 100


def test_a_rules_table_that_is_full_refuses_and_each_end_frees_an_entry(core: Core) -> None:
    core.configure(VSOCK)
    model = VsockModel(VSOCK)
    for port in range(1, 80):
        sent = header(CLIENT, SERVER, REQUEST, source_port=port)
        expected = model.judge(CLIENT, sent, 0)
        assert core.packet(1, sent)[:2] == expected
        assert expected[1] == ("pass" if port <= 64 else "connections")
    assert core.packet(2, header(OTHER, SERVER, REQUEST))[1] == "pass"
    assert core.packet(0, Header(SERVER, CLIENT, 3240, 7, 0, STREAM, RST))[:2] == ("forward", "pass")
    assert core.packet(1, header(CLIENT, SERVER, REQUEST, source_port=100))[1] == "pass"


def test_an_unknown_port_of_the_caller_is_refused(core: Core) -> None:
    core.configure_text(render_host(VSOCK))
    assert core.packet(4, header(CLIENT, SERVER, REQUEST))[:2] == ("drop", "no-port")
