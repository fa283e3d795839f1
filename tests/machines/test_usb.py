# SPDX-License-Identifier: BSD-2-Clause
"""`--usb KIND[:ARGUMENT]` plugs in what it says, or tells what to write; rules tell where a device goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import DescriptionError
from router.machines.qemu.usb import KINDS, arguments, granted_to, parse_plug, parse_plugs
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


def test_every_kind_has_a_device_argument() -> None:
    plugs = parse_plugs([f"{kind}:/tmp" if facts.argument else kind for kind, facts in KINDS.items()])
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
    assert granted_to(parse_plug("keyboard", 1), (grant,)) == to


def test_what_stands_behind_a_device_can_be_named(tmp_path: Path) -> None:
    plugs = parse_plugs([f"serial:{tmp_path}", f"ccid:{tmp_path}", f"audio:{tmp_path}/new.wav"])
    words = arguments(plugs)
    assert f"socket,path={tmp_path},server=off,id=plug1" in words
    assert "ccid-card-passthru,bus=plug2.0,chardev=plug2" in words
    assert f"wav,path={tmp_path}/new.wav,out.frequency=48000,id=plug3" in words
