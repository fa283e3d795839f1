# SPDX-License-Identifier: BSD-2-Clause
"""What the switch lets through, and what it drops for which reason, frame by frame."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.skips import need
from tests.vswitch.cc import CORE, CORE_UNITS, ROOT, WARNINGS
from tests.vswitch.frames import (
    ACK,
    BROADCAST,
    CLIENT,
    CONFIG,
    ECHO_REPLY,
    ECHO_REQUEST,
    LONELY,
    OTHER,
    REDIRECT,
    RST,
    SERVER,
    SYN,
    TIME_EXCEEDED,
    address,
    arp,
    ethernet,
    icmp,
    icmp_frame,
    ipv4,
    mac,
    packet,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
    unreachable,
)
from tests.vswitch.runner import Runner

PASSED = "pass"


def dropped(reason: str) -> tuple[set[int], str]:
    return set(), reason


def test_a_client_reaches_the_port_that_its_rule_names(runner: Runner) -> None:
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, SYN)) == ({SERVER}, PASSED)
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, b"data")) == ({SERVER}, PASSED)


def test_the_answer_comes_back(runner: Runner) -> None:
    for flags in (SYN | ACK, ACK, RST, RST | ACK):
        assert runner.judge(SERVER, tcp_frame(SERVER, CLIENT, 3240, 40000, flags)) == ({CLIENT}, PASSED)


@pytest.mark.parametrize("flags", [SYN, SYN | RST, SYN | 1, SYN | 0xC0])
def test_the_server_cannot_open_a_connection_back(runner: Runner, flags: int) -> None:
    assert runner.judge(SERVER, tcp_frame(SERVER, CLIENT, 3240, 40000, flags)) == dropped("tcp-open")


@pytest.mark.parametrize(
    ("source", "target", "source_port", "target_port"),
    [
        (CLIENT, SERVER, 40000, 22),  # another port
        (CLIENT, SERVER, 3240, 40000),  # the rule's port as the source: that is the server's answer
        (SERVER, CLIENT, 40000, 3240),  # the rule backwards
        (CLIENT, OTHER, 40000, 3240),  # two that share no rule
        (LONELY, SERVER, 40000, 3240),  # one that no rule names
        (SERVER, LONELY, 3240, 40000),
    ],
)
def test_tcp_that_no_rule_names_is_denied(
    runner: Runner, source: int, target: int, source_port: int, target_port: int
) -> None:
    assert runner.judge(source, tcp_frame(source, target, source_port, target_port)) == dropped("not-allowed")


def test_udp_passes_to_the_port_of_its_rule_and_back(runner: Runner) -> None:
    assert runner.judge(SERVER, udp_frame(SERVER, OTHER, 5000, 53, b"question")) == ({OTHER}, PASSED)
    assert runner.judge(OTHER, udp_frame(OTHER, SERVER, 53, 5000, b"answer")) == ({SERVER}, PASSED)
    assert runner.judge(OTHER, udp_frame(OTHER, SERVER, 5000, 53)) == dropped("not-allowed")
    assert runner.judge(SERVER, udp_frame(SERVER, OTHER, 5000, 3240)) == dropped("not-allowed")
    assert runner.judge(CLIENT, udp_frame(CLIENT, SERVER, 40000, 3240)) == dropped("not-allowed")


def test_echo_requests_go_one_way_and_replies_the_other(runner: Runner) -> None:
    assert runner.judge(CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, b"ping")) == ({SERVER}, PASSED)
    assert runner.judge(SERVER, icmp_frame(SERVER, CLIENT, ECHO_REPLY, 0, b"ping")) == ({CLIENT}, PASSED)
    assert runner.judge(SERVER, icmp_frame(SERVER, CLIENT, ECHO_REQUEST)) == dropped("not-allowed")
    assert runner.judge(CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REPLY)) == dropped("not-allowed")
    assert runner.judge(OTHER, icmp_frame(OTHER, SERVER, ECHO_REQUEST)) == dropped("not-allowed")


@pytest.mark.parametrize(
    ("kind", "code"), [(REDIRECT, 1), (TIME_EXCEEDED, 0), (13, 0), (9, 0), (ECHO_REQUEST, 1), (3, 16)]
)
def test_other_icmp_is_dropped(runner: Runner, kind: int, code: int) -> None:
    quote = ipv4(address(CLIENT), address(SERVER), 6, tcp(40000, 3240)[:8])
    assert runner.judge(SERVER, icmp_frame(SERVER, CLIENT, kind, code, quote)) == dropped("icmp-type")


@pytest.mark.parametrize("code", [1, 3, 4, 13, 15])
def test_an_error_about_an_allowed_conversation_passes(runner: Runner, code: int) -> None:
    about_tcp = tcp(40000, 3240)[:8]
    assert runner.judge(SERVER, unreachable(SERVER, CLIENT, 6, about_tcp, code)) == ({CLIENT}, PASSED)
    about_the_answer = tcp(3240, 40000)
    assert runner.judge(CLIENT, unreachable(CLIENT, SERVER, 6, about_the_answer, code)) == ({SERVER}, PASSED)
    assert runner.judge(OTHER, unreachable(OTHER, SERVER, 17, udp(5000, 53), code)) == ({SERVER}, PASSED)
    assert runner.judge(SERVER, unreachable(SERVER, OTHER, 17, udp(53, 5000), code)) == ({OTHER}, PASSED)
    assert runner.judge(SERVER, unreachable(SERVER, CLIENT, 1, icmp(ECHO_REQUEST), code)) == ({CLIENT}, PASSED)
    assert runner.judge(CLIENT, unreachable(CLIENT, SERVER, 1, icmp(ECHO_REPLY), code)) == ({SERVER}, PASSED)


def test_an_error_about_anything_else_is_dropped(runner: Runner) -> None:
    allowed = tcp(40000, 3240)[:8]
    wrong = [
        unreachable(SERVER, CLIENT, 6, tcp(40000, 22)[:8]),  # another port
        unreachable(SERVER, CLIENT, 17, udp(40000, 3240)),  # another protocol
        unreachable(SERVER, CLIENT, 1, icmp(ECHO_REPLY)),  # the wrong way
        unreachable(SERVER, CLIENT, 1, icmp(3, 3)),  # an error about an error
        unreachable(SERVER, CLIENT, 47, bytes(8)),  # a protocol that never passes
        unreachable(SERVER, CLIENT, 6, allowed[:7]),  # cut short
        unreachable(SERVER, CLIENT, 6, allowed, first=0x65),  # not IPv4
        unreachable(SERVER, CLIENT, 6, bytes(4) + allowed, first=0x46),  # options
        unreachable(SERVER, CLIENT, 6, allowed, fragment=0x0010),  # a later fragment
        icmp_frame(SERVER, CLIENT, 3, 3, ipv4(address(SERVER), address(CLIENT), 6, allowed)),  # its own packet
        icmp_frame(SERVER, CLIENT, 3, 3, ipv4(address(CLIENT), address(OTHER), 6, allowed)),  # to somebody else
        icmp_frame(SERVER, CLIENT, 3, 3),  # nothing quoted
    ]
    for frame in wrong:
        assert runner.judge(SERVER, frame) == dropped("icmp-quote"), frame.hex()


def test_a_forged_source_is_dropped(runner: Runner) -> None:
    forged_mac = mac(SERVER) + mac(OTHER) + tcp_frame(CLIENT, SERVER, 40000, 3240)[12:]
    assert runner.judge(CLIENT, forged_mac) == dropped("source-mac")
    forged_ip = ethernet(CLIENT, SERVER, 0x0800, ipv4(address(OTHER), address(SERVER), 6, tcp(40000, 3240)))
    assert runner.judge(CLIENT, forged_ip) == dropped("source-ip")
    assert runner.judge(OTHER, tcp_frame(CLIENT, SERVER, 40000, 3240)) == dropped("source-mac")


def test_a_forged_arp_sender_is_dropped(runner: Runner) -> None:
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, sender_mac=mac(OTHER))) == dropped("arp-sender-mac")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, sender=address(OTHER))) == dropped("arp-sender-ip")
    poison = arp(CLIENT, SERVER, operation=2, to=mac(SERVER), sender=address(OTHER))
    assert runner.judge(CLIENT, poison) == dropped("arp-sender-ip")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, sender=bytes(4))) == dropped("arp-sender-ip")


def test_an_arp_request_goes_to_its_target_alone(runner: Runner) -> None:
    assert runner.judge(SERVER, arp(SERVER, CLIENT)) == ({CLIENT}, PASSED)
    assert runner.judge(CLIENT, arp(CLIENT, SERVER) + bytes(18)) == ({SERVER}, PASSED)  # padded to 60 bytes
    assert runner.judge(SERVER, arp(SERVER, OTHER, to=mac(OTHER))) == ({OTHER}, PASSED)
    assert runner.judge(OTHER, arp(OTHER, SERVER, operation=2, to=mac(SERVER))) == ({SERVER}, PASSED)


def test_arp_passes_only_between_ports_that_may_talk(runner: Runner) -> None:
    assert runner.judge(CLIENT, arp(CLIENT, OTHER)) == dropped("arp-target")
    assert runner.judge(CLIENT, arp(CLIENT, OTHER, to=mac(OTHER))) == dropped("not-allowed")
    assert runner.judge(LONELY, arp(LONELY, SERVER)) == dropped("arp-target")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, asked=bytes([10, 77, 0, 99]))) == dropped("arp-target")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, to=mac(SERVER), asked=address(OTHER))) == dropped("arp-target")


def test_an_announcement_goes_to_all_who_may_talk_with_the_sender(runner: Runner) -> None:
    for operation in (1, 2):
        assert runner.judge(SERVER, arp(SERVER, SERVER, operation=operation)) == ({CLIENT, OTHER}, PASSED)
        assert runner.judge(CLIENT, arp(CLIENT, CLIENT, operation=operation)) == ({SERVER}, PASSED)
    assert runner.judge(LONELY, arp(LONELY, LONELY)) == dropped("arp-target")


@pytest.mark.parametrize(
    "frame",
    [
        arp(CLIENT, SERVER, operation=3),
        arp(CLIENT, SERVER, operation=0),
        arp(CLIENT, SERVER, head=b"\x00\x06\x08\x00\x06\x04"),
        arp(CLIENT, SERVER, head=b"\x00\x01\x86\xdd\x06\x10"),
        arp(CLIENT, SERVER)[:-1],
        arp(CLIENT, SERVER) + bytes(19),  # over 60 bytes: something rides behind
    ],
)
def test_malformed_arp_is_dropped(runner: Runner, frame: bytes) -> None:
    assert runner.judge(CLIENT, frame) == dropped("arp-format")


@pytest.mark.parametrize(
    ("fragment", "why"), [(0x2000, "first"), (0x2001, "middle"), (0x0001, "last"), (0x6000, "first, and not to be")]
)
def test_no_fragment_passes(runner: Runner, fragment: int, why: str) -> None:
    frame = packet(CLIENT, SERVER, 6, tcp(40000, 3240), fragment=fragment)
    assert runner.judge(CLIENT, frame) == dropped("fragment"), why


def test_ipv4_headers_are_checked(runner: Runner) -> None:
    segment = tcp(40000, 3240)
    assert runner.judge(CLIENT, packet(CLIENT, SERVER, 6, segment, first=0x65)) == dropped("ipv4-header")
    assert runner.judge(CLIENT, packet(CLIENT, SERVER, 6, segment, first=0x44)) == dropped("ipv4-header")
    assert runner.judge(CLIENT, packet(CLIENT, SERVER, 6, segment, fragment=0x8000)) == dropped("ipv4-header")
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240)[:33]) == dropped("ipv4-header")
    source_route = packet(CLIENT, SERVER, 6, segment, first=0x47, options=b"\x83\x07\x04" + address(OTHER) + b"\x00")
    assert runner.judge(CLIENT, source_route) == dropped("ipv4-options")


def test_the_total_length_has_to_match_the_frame(runner: Runner) -> None:
    segment = tcp(40000, 3240, ACK, bytes(100))
    for total in (0, 19, 20, 139, 141, 65535):
        frame = packet(CLIENT, SERVER, 6, segment, total=total)
        assert runner.judge(CLIENT, frame) == dropped("ipv4-length"), total


def test_a_short_frame_may_be_padded_to_60_bytes_and_no_more(runner: Runner) -> None:
    frame = tcp_frame(CLIENT, SERVER, 40000, 3240)
    assert runner.judge(CLIENT, frame + bytes(60 - len(frame))) == ({SERVER}, PASSED)
    assert runner.judge(CLIENT, frame + bytes(61 - len(frame))) == dropped("ipv4-length")


def test_frames_of_64_kib_pass_and_longer_ones_do_not(runner: Runner) -> None:
    largest = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(65535 - 40))
    assert len(largest) == 14 + 65535
    assert runner.judge(CLIENT, largest) == ({SERVER}, PASSED)
    assert runner.judge(CLIENT, largest + bytes(2)) == dropped("oversize")


def test_the_frame_limit_is_the_configurations(runner: Runner) -> None:
    limited = type(CONFIG)(CONFIG.ports, CONFIG.rules, frame_max=1514)
    runner.configure(limited)
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(1460))) == ({SERVER}, PASSED)
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, bytes(1461))) == dropped("oversize")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (0x8100, "vlan"),
        (0x88A8, "vlan"),
        (0x9100, "vlan"),
        (0x86DD, "ipv6"),
        (0x88CC, "ethertype"),
        (0x0040, "ethertype"),  # an IEEE 802.3 length
    ],
)
@pytest.mark.parametrize("to", [mac(SERVER), BROADCAST, b"\x33\x33\x00\x00\x00\x01"])
def test_only_arp_and_ipv4_pass(runner: Runner, kind: int, reason: str, to: bytes) -> None:
    assert runner.judge(CLIENT, ethernet(CLIENT, SERVER, kind, bytes(46), to=to)) == dropped(reason)


def test_group_addresses_are_for_arp_broadcasts_alone(runner: Runner) -> None:
    body = tcp_frame(CLIENT, SERVER, 40000, 3240)[14:]
    assert runner.judge(CLIENT, ethernet(CLIENT, SERVER, 0x0800, body, to=BROADCAST)) == dropped("broadcast")
    group = b"\x01\x00\x5e\x00\x00\x01"
    assert runner.judge(CLIENT, ethernet(CLIENT, SERVER, 0x0800, body, to=group)) == dropped("multicast")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, to=group)) == dropped("multicast")


def test_a_frame_goes_nowhere_but_to_its_mac_and_address(runner: Runner) -> None:
    body = tcp_frame(CLIENT, SERVER, 40000, 3240)[14:]
    assert runner.judge(CLIENT, ethernet(CLIENT, SERVER, 0x0800, body, to=b"\x02" * 6)) == dropped("destination-mac")
    assert runner.judge(CLIENT, ethernet(CLIENT, OTHER, 0x0800, body)) == dropped("destination-ip")
    assert runner.judge(CLIENT, tcp_frame(CLIENT, CLIENT, 40000, 3240)) == dropped("to-itself")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER, to=mac(CLIENT))) == dropped("to-itself")


@pytest.mark.parametrize(
    ("protocol", "payload", "reason"),
    [
        (6, tcp(40000, 3240)[:19], "tcp-header"),
        (6, tcp(40000, 3240, offset=4), "tcp-header"),
        (6, tcp(40000, 3240, offset=6), "tcp-header"),
        (17, udp(40000, 3240)[:7], "udp-header"),
        (17, udp(40000, 3240, b"1234", length=11), "udp-header"),
        (17, udp(40000, 3240, b"1234", length=13), "udp-header"),
        (1, icmp(ECHO_REQUEST)[:7], "icmp-header"),
        (47, bytes(20), "ip-protocol"),
        (0, bytes(20), "ip-protocol"),
    ],
)
def test_transport_headers_are_checked(runner: Runner, protocol: int, payload: bytes, reason: str) -> None:
    assert runner.judge(CLIENT, packet(CLIENT, SERVER, protocol, payload)) == dropped(reason)


def test_a_runt_is_dropped(runner: Runner) -> None:
    frame = tcp_frame(CLIENT, SERVER, 40000, 3240)
    for length in range(14):
        assert runner.judge(CLIENT, frame[:length]) == dropped("runt")


def test_no_prefix_of_a_good_frame_is_read_beyond_its_end(runner: Runner) -> None:
    """Each lies in a block of its own size under the address sanitizer; only whole frames pass."""
    whole = [
        tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, b"0123456789"),
        unreachable(CLIENT, SERVER, 6, tcp(3240, 40000)),
        icmp_frame(CLIENT, SERVER, ECHO_REQUEST, 0, b"ping"),
        arp(CLIENT, SERVER),
    ]
    for frame in whole:
        assert runner.judge(CLIENT, frame) == ({SERVER}, PASSED)
        for length in range(len(frame)):
            assert runner.judge(CLIENT, frame[:length])[0] == set()


def test_a_port_that_is_down_gets_nothing(runner: Runner) -> None:
    runner.link(SERVER, False)
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240)) == dropped("port-down")
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 22)) == dropped("not-allowed")
    runner.link(SERVER, True)
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240)) == ({SERVER}, PASSED)
    runner.link(CLIENT, False)
    assert runner.judge(SERVER, arp(SERVER, SERVER)) == ({OTHER}, PASSED)


def test_a_port_that_does_not_exist_sends_nothing(runner: Runner) -> None:
    for port in (4, 61, 62, 2**31):
        assert runner.judge(port, tcp_frame(CLIENT, SERVER, 40000, 3240)) == dropped("no-port")


def test_counters_add_up(runner: Runner) -> None:
    good = tcp_frame(CLIENT, SERVER, 40000, 3240)
    for frame in (good, good, good[:10], tcp_frame(CLIENT, SERVER, 40000, 22), good[:5]):
        runner.judge(CLIENT, frame)
    assert runner.counters(CLIENT) == (5, 3 * len(good) + 15, {"runt": 2, "not-allowed": 1})
    assert runner.counters(SERVER) == (0, 0, {})


def test_reasons_have_distinct_plain_names(runner: Runner) -> None:
    *names, beyond = runner.ask("reasons").split()
    assert len(set(names)) == len(names) == 34
    assert beyond == "unknown"
    assert all(name.replace("-", "").isalnum() and name == name.lower() for name in names)


def test_the_manual_explains_every_reason(runner: Runner) -> None:
    manual = (ROOT / "docs" / "reference" / "vswitch.md").read_text()
    section = manual.split("## Why a frame was dropped")[1].split("\n## ")[0]
    explained = re.findall(r"^\| `([a-z0-9-]+)` \| ", section, re.MULTILINE)
    assert ["pass", *explained, "unknown"] == runner.ask("reasons").split()


def test_without_rules_nothing_passes(runner: Runner) -> None:
    runner.configure(type(CONFIG)(CONFIG.ports, ()))
    assert runner.judge(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 3240)) == dropped("not-allowed")
    assert runner.judge(CLIENT, icmp_frame(CLIENT, SERVER, ECHO_REQUEST)) == dropped("not-allowed")
    assert runner.judge(CLIENT, arp(CLIENT, SERVER)) == dropped("arp-target")


def test_the_core_needs_no_library(tmp_path: Path) -> None:
    """A freestanding gcc may still call these four (GCC manual, "Standards"); everything else is its own."""
    compilers = [["cc"], ["aarch64-linux-gnu-gcc", "-mno-outline-atomics", "-mstrict-align"]]
    for unit in CORE_UNITS:
        for compiler, *flags in compilers:
            built = tmp_path / "core.o"
            command = [
                need(compiler),
                *WARNINGS,
                *flags,
                "-ffreestanding",
                "-O2",
                f"-I{CORE}",
                "-c",
                str(unit),
                "-o",
                str(built),
            ]
            subprocess.run(command, check=True)
            listed = subprocess.run(["nm", "-u", built], capture_output=True, text=True, check=True).stdout
            missing = set(listed.split()) - {"U", "memcpy", "memmove", "memset", "memcmp"}
            own = {"vswitch_init", "vswitch_decide"}
            assert not missing - own, f"{unit.name} needs {missing}"


def test_only_what_a_port_may_send_on_its_own_asks_for_an_answer(runner: Runner) -> None:
    for asking in (
        arp(CLIENT, SERVER),
        arp(SERVER, CLIENT, to=mac(CLIENT)),
        icmp_frame(CLIENT, SERVER, ECHO_REQUEST),
        tcp_frame(CLIENT, SERVER, 40000, 3240, SYN),
        tcp_frame(CLIENT, SERVER, 40000, 3240, ACK),
    ):
        port = CLIENT if asking[6:12] == mac(CLIENT) else SERVER
        assert runner.asks(port, asking), asking.hex()
    for silent in (
        arp(CLIENT, CLIENT),
        arp(SERVER, CLIENT, operation=2, to=mac(CLIENT)),
        icmp_frame(SERVER, CLIENT, ECHO_REPLY),
        tcp_frame(SERVER, CLIENT, 3240, 40000, SYN | ACK),
        tcp_frame(CLIENT, SERVER, 40000, 3240, RST),
        unreachable(SERVER, CLIENT, 6, tcp(40000, 3240)),
    ):
        port = CLIENT if silent[6:12] == mac(CLIENT) else SERVER
        assert runner.judge(port, silent)[1] == PASSED
        assert not runner.asks(port, silent), silent.hex()
    assert not runner.asks(CLIENT, tcp_frame(CLIENT, SERVER, 40000, 81, SYN))
