# SPDX-License-Identifier: BSD-2-Clause
"""`--usb KIND[:ARGUMENT]` plugs in what it says, or tells what to write; rules tell where a device goes."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.errors import DescriptionError
from router.machines.qemu import usb
from router.machines.qemu.host_device import HostDevice
from router.machines.qemu.usb import KINDS, LISTENER, arguments, grant_of, parse_plug, parse_plugs
from router.plan.models import Grant


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("keybord", "no USB device of kind 'keybord'", "kinds: storage, "),
        ("keyboard:x", "'keyboard' takes no argument", "write --usb keyboard"),
        ("storage", "'storage' needs a disk image", "write --usb storage:PATH"),
        (
            "serial:/no/such/socket",
            "/no/such/socket: no such file or folder",
            "'serial' needs the path of a unix socket",
        ),
        ("redir", "'redir' needs the path of a unix socket on which a program listens", "write --usb redir:PATH"),
        ("redir:/dev/null", "/dev/null is not a unix socket", "'redir' needs the path of a unix socket"),
        ("serial:/", "/ is not a unix socket", "'serial' needs the path of a unix socket"),
        ("storage:/no/such/file", "/no/such/file: no such file or folder", "'storage' needs a disk image"),
    ],
)
def test_a_wrong_plug_says_what_to_write(text: str, message: str, hint: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_plug(text, 1)
    assert caught.value.message == message
    assert (caught.value.hint or "").startswith(hint)


def test_devices_get_ports_in_order_and_buses_by_speed(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"x")
    assert [plug.path for plug in parse_plugs(["keyboard", f"storage:{disk}", "mouse"])] == ["1-1", "2-2", "1-3"]


def test_a_comma_in_a_path_does_not_become_an_option(tmp_path: Path) -> None:
    disk = tmp_path / "a,readonly=on.img"
    disk.write_bytes(b"x")
    drive = next(word for word in arguments(parse_plugs([f"storage:{disk}"])) if word.startswith("if=none"))
    assert f"file={tmp_path}/a,,readonly=on.img" in drive


@pytest.fixture
def listener() -> Iterator[str]:
    """The path of a unix socket; it is short, as such paths must be."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{folder}/socket")
        yield f"{folder}/socket"


def test_every_kind_has_a_device_argument(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb, "find_host_device", lambda text: HostDevice(1, 2, "Thing", (8,), False, Path("/dev/null")))
    paths = {None: "", LISTENER: f":{listener}"}
    plugs = parse_plugs([f"{kind}{paths.get(facts.argument, ':/tmp')}" for kind, facts in KINDS.items()])
    words = arguments(plugs)
    for plug in plugs:
        assert any(word.startswith(f"{plug.facts.device},") and f"port={plug.port}" in word for word in words)


@pytest.mark.parametrize(
    ("grant", "to"),
    [
        (Grant("server", "client", device_class=3), "client"),
        (Grant("server", "client", device_class=8), None),
        (Grant("server", "client", vendor=0x0627, product=1), "client"),
        (Grant("server", "client", vendor=0x0627, product=2), None),
        (Grant("server", "client", path="1-1"), "client"),
        (Grant("server", "client", path="1-2"), None),
        (Grant("server", "client", path="1-1", device_class=8), None),
    ],
)
def test_a_rule_routes_what_all_its_fields_match(grant: Grant, to: str | None) -> None:
    given = grant_of(parse_plug("keyboard", 1), (grant,))
    assert (given and given.to) == to


def test_what_stands_behind_a_device_can_be_named(tmp_path: Path, listener: str) -> None:
    plugs = parse_plugs([f"serial:{listener}", f"ccid:{listener}", f"audio:{tmp_path}/new.wav", f"redir:{listener}"])
    words = arguments(plugs)
    assert f"socket,path={listener},server=off,id=plug1" in words
    assert "ccid-card-passthru,bus=plug2.0,chardev=plug2" in words
    assert f"wav,path={tmp_path}/new.wav,out.frequency=48000,id=plug3" in words
    assert f"socket,path={listener},server=off,id=plug4" in words
    assert "usb-redir,bus=usb.0,port=4,id=plug4,chardev=plug4" in words


@pytest.mark.parametrize(
    ("grant", "to"),
    [
        (Grant("server", "client", path="1-1"), "client"),
        (Grant("server", "client", path="1-1", device_class=3), None),
        (Grant("server", "client", path="1-1", only=(3,)), None),
        (Grant("server", "client", vendor=0x0627, product=1), None),
    ],
)
def test_a_device_of_unknown_identity_goes_where_a_rule_sends_whatever_is_in_its_port(
    grant: Grant, to: str | None, listener: str
) -> None:
    given = grant_of(parse_plug(f"redir:{listener}", 1), (grant,))
    assert (given and given.to) == to
