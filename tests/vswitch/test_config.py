# SPDX-License-Identifier: BSD-2-Clause
"""The switch's configuration in Python: what is refused, how it is rendered, and how the programs are built."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from router.errors import DescriptionError, HostError, MachineError
from router.plan.models import VSwitchPlan, VSwitchPort, VSwitchRule
from router.vswitch import (
    SwitchConfig,
    SwitchPort,
    SwitchRule,
    VsockPort,
    VsockRule,
    build_host_switch,
    render_header,
    render_host,
    switch_config,
)
from router.vswitch import build as builder
from router.vswitch.process import parse_counters
from tests.vswitch.cc import CORE, CORE_UNITS, HOST_UNITS, PROGRAMS, SANITIZE, compile_c
from tests.vswitch.frames import CONFIG

SERVER, CLIENT, *_ = CONFIG.ports


def test_the_host_file_says_what_the_configuration_does() -> None:
    assert render_host(CONFIG) == (
        "frame-max 65550\n"
        "port server 02:00:0a:4d:00:02 10.77.0.2\n"
        "port client 02:00:0a:4d:00:03 10.77.0.3\n"
        "port other 02:00:0a:4d:00:04 10.77.0.4\n"
        "port lonely 02:00:0a:4d:00:05 10.77.0.5\n"
        "allow client server tcp 3240\n"
        "allow client server icmp\n"
        "allow other server tcp 3240\n"
        "allow server other udp 53\n"
    )


def test_the_host_file_names_vsock_devices_and_their_rules() -> None:
    devices = (VsockPort("server", 4), VsockPort("silent", 5))
    config = SwitchConfig((), (), vsock_ports=devices, vsock_rules=(VsockRule("silent", "server", 3240),))
    assert render_host(config) == ("frame-max 65550\nvsock server 4\nvsock silent 5\nallow silent server vsock 3240\n")


@pytest.mark.parametrize(
    ("ports", "rules", "complaint"),
    [
        ([("a", 2)], [], "CID 2 is not in 3"),
        ([("a", 0xFFFFFFFF)], [], "is not in 3 to 4294967294"),
        ([("a", 3), ("b", 3)], [], "the same CID: 3"),
        ([("a", 3), ("a", 4)], [], "the same name: a"),
        ([("a/b", 3)], [], "cannot name a port"),
        ([("a", 3)], [("a", "b", 1)], "'b' has no vsock device"),
        ([("a", 3)], [("a", "a", 1)], "does not talk with itself"),
        ([("a", 3), ("b", 4)], [("a", "b", 0)], "port 0 is not in 1"),
        ([("a", 3), ("b", 4)], [("a", "b", 0xFFFFFFFF)], "is not in 1 to 4294967294"),
        ([("a", 3), ("b", 4)], [("a", "b", 1), ("a", "b", 1)], "rules of the switch are the same"),
        ([(f"p{n}", 3 + n) for n in range(63)], [], "1 to 62 ports"),
        ([("a", 3), ("b", 4)], [("a", "b", n) for n in range(1, 258)], "at most 256 vsock rules"),
    ],
)
def test_a_vsock_configuration_that_the_switch_would_refuse_is_refused(
    ports: list[tuple[str, int]], rules: list[tuple[str, str, int]], complaint: str
) -> None:
    devices = tuple(VsockPort(*each) for each in ports)
    allowed = tuple(VsockRule(*each) for each in rules)
    with pytest.raises(DescriptionError, match=complaint):
        SwitchConfig((), (), vsock_ports=devices, vsock_rules=allowed)


def test_the_header_is_accepted_by_the_core_as_it_was_meant(tmp_path: Path) -> None:
    (tmp_path / "vswitch_config.h").write_text(render_header(CONFIG))
    units = [PROGRAMS / "print_config.c", *CORE_UNITS]
    program = compile_c(tmp_path / "print", units, *SANITIZE, f"-I{tmp_path}")
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [
        "65550",
        "server 02:00:0a:4d:00:02 0a4d0002",
        "client 02:00:0a:4d:00:03 0a4d0003",
        "other 02:00:0a:4d:00:04 0a4d0004",
        "lonely 02:00:0a:4d:00:05 0a4d0005",
        "0 2 2 53",
        "1 0 1 3240",
        "1 0 0 0",
        "2 0 1 3240",
    ]


def test_a_header_without_rules_compiles(tmp_path: Path) -> None:
    (tmp_path / "vswitch_config.h").write_text(render_header(replace(CONFIG, rules=())))
    units = [PROGRAMS / "print_config.c", *CORE_UNITS]
    program = compile_c(tmp_path / "print", units, *SANITIZE, f"-I{tmp_path}")
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == 5


def test_the_same_configuration_renders_to_the_same_bytes() -> None:
    again = SwitchConfig(CONFIG.ports, CONFIG.rules)
    assert (render_host(again), render_header(again)) == (render_host(CONFIG), render_header(CONFIG))


def port(**changes: object) -> SwitchPort:
    return replace(SERVER, **changes)  # type: ignore[arg-type]


TCP = SwitchRule("client", "server", "tcp", 3240)


@pytest.mark.parametrize(
    ("ports", "rules", "message"),
    [
        ((), (), "1 to 62 ports, not 0"),
        (
            tuple(SwitchPort(f"g{n}", f"02:00:00:00:00:{n:02x}", IPv4Address("10.0.0.1") + n) for n in range(1, 64)),
            (),
            "1 to 62 ports, not 63",
        ),
        ((port(name="../x"),), (), "'../x' cannot name a port"),
        ((port(name="a\nb"),), (), "cannot name a port"),
        ((port(name="x" * 65),), (), "cannot name a port"),
        ((port(mac="02:00:0a:4d:00"),), (), "is not a MAC address"),
        ((port(mac="03:00:0a:4d:00:02"),), (), "zero or a group's"),
        ((port(mac="00:00:00:00:00:00"),), (), "zero or a group's"),
        ((port(ipv4=IPv4Address("127.0.0.1")),), (), "not a host's"),
        ((port(ipv4=IPv4Address("255.255.255.255")),), (), "not a host's"),
        ((SERVER, replace(CLIENT, name="server")), (), "the same name: server"),
        ((SERVER, replace(CLIENT, mac=SERVER.mac.upper())), (), "the same MAC address: 02:00:0a:4d:00:02"),
        ((SERVER, replace(CLIENT, ipv4=SERVER.ipv4)), (), "the same IPv4 address: 10.77.0.2"),
        ((SERVER, CLIENT), (replace(TCP, target="nobody"),), "no port of the switch is called 'nobody'"),
        ((SERVER, CLIENT), (replace(TCP, target="client"),), "does not talk with itself"),
        ((SERVER, CLIENT), (replace(TCP, protocol="sctp"),), "unknown protocol"),  # type: ignore[arg-type]
        ((SERVER, CLIENT), (replace(TCP, port=None),), "tcp and udp need a port number"),
        ((SERVER, CLIENT), (replace(TCP, protocol="icmp"),), "icmp has none"),
        ((SERVER, CLIENT), (replace(TCP, port=0),), "port 0 is not in 1 to 65535"),
        ((SERVER, CLIENT), (replace(TCP, port=65536),), "port 65536 is not in 1 to 65535"),
        ((SERVER, CLIENT), (TCP,) * 4097, "at most 4096 rules, not 4097"),
    ],
)
def test_a_switch_that_the_core_would_refuse_cannot_be_made(
    ports: tuple[SwitchPort, ...], rules: tuple[SwitchRule, ...], message: str
) -> None:
    with pytest.raises(DescriptionError) as error:
        SwitchConfig(ports, rules)
    assert message in str(error.value)


@pytest.mark.parametrize("limit", [0, 81, 65551])
def test_a_frame_limit_out_of_range_is_refused(limit: int) -> None:
    with pytest.raises(DescriptionError, match="is not in 82 to 65550"):
        replace(CONFIG, frame_max=limit)


PLAN = VSwitchPlan(
    subnet=IPv4Network("10.77.0.0/24"),
    mtu=1500,
    depth=128,
    buffer=2048,
    ports=(VSwitchPort(1, "client", CLIENT.mac, CLIENT.ipv4), VSwitchPort(0, "server", SERVER.mac, SERVER.ipv4)),
    rules=(VSwitchRule(1, 0, "tcp", 3240), VSwitchRule(1, 0, "icmp", None)),
)


def test_a_plan_becomes_a_configuration_with_ports_in_the_plans_order() -> None:
    config = switch_config(PLAN)
    assert [port.name for port in config.ports] == ["server", "client"]
    assert [str(rule) for rule in config.rules] == ["client -> server tcp/3240", "client -> server icmp"]


@pytest.mark.parametrize(("mtu", "limit"), [(576, 590), (1500, 1514), (65000, 65014)])
@pytest.mark.parametrize("buffer", [2048, 0x20000])
def test_frames_may_be_as_long_as_the_mtu_says_whatever_the_buffers(mtu: int, buffer: int, limit: int) -> None:
    assert switch_config(replace(PLAN, mtu=mtu, buffer=buffer)).frame_max == limit


def test_counters_that_are_cut_short_are_an_error() -> None:
    with pytest.raises(MachineError, match="cannot be read"):
        parse_counters('{"ports": {"server"')


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3"])
def test_the_switch_compiles_without_a_warning(compiler: str, level: str, tmp_path: Path) -> None:
    program = compile_c(tmp_path / "vswitch", HOST_UNITS, level, compiler=compiler)
    assert program.is_file()


def test_the_program_is_built_once_and_again_when_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CORE.parent, tmp_path / "sources")
    monkeypatch.setattr(builder, "SOURCES", tmp_path / "sources")
    program = build_host_switch(tmp_path / "build")
    first = program.stat()
    assert program == tmp_path / "build" / "vswitch"
    assert build_host_switch(tmp_path / "build").stat().st_ino == first.st_ino
    with (tmp_path / "sources" / "core" / "wire.h").open("a") as header:
        header.write("/* changed */\n")
    assert build_host_switch(tmp_path / "build").stat().st_ino != first.st_ino
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"vswitch"}


def test_sources_that_do_not_compile_are_an_error_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(CORE.parent, tmp_path / "sources")
    monkeypatch.setattr(builder, "SOURCES", tmp_path / "sources")
    (tmp_path / "sources" / "host" / "queue.c").write_text("#include <no-such-header.h>\n")
    with pytest.raises(HostError, match="fails at building the switch") as error:
        build_host_switch(tmp_path / "build")
    assert "no-such-header.h" in error.value.message and "libc6-dev" in str(error.value)
    assert list((tmp_path / "build").iterdir()) == []


def test_a_missing_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(HostError, match="there is no C compiler") as error:
        build_host_switch(tmp_path)
    assert error.value.hint == "apt-get install gcc libc6-dev"


def test_the_compiler_that_cc_names_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(HostError, match="'no-such-compiler', which CC names"):
        build_host_switch(tmp_path)
    monkeypatch.setenv("CC", "gcc -DNAMED_BY_CC")
    program = build_host_switch(tmp_path)
    assert os.access(program, os.X_OK)


def test_a_package_without_the_sources_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SOURCES", tmp_path / "elsewhere")
    with pytest.raises(HostError, match="sources are not at"):
        build_host_switch(tmp_path)
