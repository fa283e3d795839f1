# SPDX-License-Identifier: BSD-2-Clause
"""Where the rules across fields draw the line: what is just right is accepted, one step further is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.description.catalogue import Catalogue, image_catalogue
from router.description.diagnostics import DescriptionErrors
from router.description.guest_image import BootSizes, extend_definitions
from router.description.load import load
from router.description.sdk_versions import KNOWN, SdkVersion
from router.description.values import (
    InvalidValue,
    check_mac,
    check_name,
    check_path,
    parse_allow,
    parse_class,
    parse_duration,
    parse_size,
)
from router.words import size_text

SIZES = {"usb-client": BootSizes(kernel=33, initramfs=6)}
CATALOGUE = Catalogue(("qemu",), {"usb-server": "server", "usb-client": "client", "plain": "none"}, SIZES)


def findings(
    tmp_path: Path,
    server: str = "",
    client: str = "",
    network: str = "",
    usb: str = "",
    more: str = "",
    catalogue: Catalogue = CATALOGUE,
) -> list[str]:
    """The messages for a description of two guests with these additions."""
    text = "system: demo\nboard: qemu\n"
    text += f"guests:\n  server: {{image: usb-server, passthrough: [pcie@3f000000]{server}}}\n"
    text += f"  client: {{image: usb-client{client}}}\n{more}"
    text += f"network: {{{network}}}\n" if network else ""
    text += f"usb: [{usb}]\n" if usb else ""
    file = tmp_path / "demo.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        load(file, catalogue)
    except DescriptionErrors as errors:
        return [one.message for one in errors.diagnostics]
    return []


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        ("memory", "106 MiB", "104 MiB"),
        ("memory", "108 MiB", "107 MiB"),
        ("memory", "1 GiB", "1048577 KiB"),
        ("vcpus", "4", "5"),
        ("priority", "199", "200"),
        ("address", "10.77.0.254", "10.77.0.255"),
        ("address", "10.77.0.2", "10.77.0.1"),
        ("smc", "[0xFFFFFFFF]", "[0x100000000]"),
        ("usb", "{ports: 15}", "{ports: 16}"),
    ],
)
def test_a_guests_limits_are_where_they_are_said_to_be(field: str, right: str, wrong: str, tmp_path: Path) -> None:
    assert findings(tmp_path, client=f", {field}: {right}") == []
    assert len(findings(tmp_path, client=f", {field}: {wrong}")) == 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mtu: 2034", "mtu: 2035"),
        ("mtu: 65000, queue: {buffer: 64 KiB}", "mtu: 65000, queue: {buffer: 32 KiB}"),
        ("queue: {depth: 1024}", "queue: {depth: 2048}"),
        ("queue: {buffer: 128 KiB}", "queue: {buffer: 256 KiB}"),
        ("subnet: 10.0.0.0/29", "subnet: 10.0.0.0/31"),
        ("subnet: 192.168.5.0/24", "subnet: 127.0.0.0/8"),
        ("allow: [client -> server udp/65535]", "allow: [client -> server udp/65536]"),
    ],
)
def test_the_networks_limits_are_where_they_are_said_to_be(right: str, wrong: str, tmp_path: Path) -> None:
    assert findings(tmp_path, network=right) == []
    assert len(findings(tmp_path, network=wrong)) == 1


@pytest.mark.parametrize(
    "usb",
    [
        "{class: hid, to: client}, {class: 8, to: client}, {class: 0x0e, to: client}",
        "{path: 1-1, to: client, port: 8}, {path: 1-2, to: client, port: 1}",
        "{path: 1-1, to: client}, {path: 1-1, class: hid, to: client}",
        "{device: 046d:c31c, to: client}, {device: 046d:c31c, serial: A1, to: client}",
        "{device: 046d:c31c, from: server, to: client}",
        "{path: 1-1, only: hid, to: client}, {path: 1-1, only: [hid, audio], to: client}",
        "{only: hid, to: client}",
    ],
)
def test_rules_that_differ_are_no_duplicates(usb: str, tmp_path: Path) -> None:
    assert findings(tmp_path, usb=usb) == []


def test_a_rule_without_from_and_one_with_the_only_server_are_the_same_rule(tmp_path: Path) -> None:
    usb = "{device: 046d:c31c, from: server, to: client}, {device: 046d:c31c, to: client}"
    assert findings(tmp_path, usb=usb) == ["duplicate rule"]


def test_the_same_socket_of_two_servers_are_two_sockets(tmp_path: Path) -> None:
    more = "  other: {image: usb-server, passthrough: [usb@38200000]}\n"
    usb = "{path: 1-1, from: server, to: client}, {path: 1-1, from: other, to: client}"
    assert findings(tmp_path, more=more, usb=usb) == []


def test_the_same_port_of_two_clients_are_two_ports(tmp_path: Path) -> None:
    more = "  other: {image: usb-client}\n"
    usb = "{path: 1-1, port: 1, to: client}, {path: 1-2, port: 1, to: other}"
    assert findings(tmp_path, more=more, usb=usb) == []


def test_each_conversation_that_an_allow_list_lacks_is_named_once(tmp_path: Path) -> None:
    more = "  other: {image: usb-client}\n"
    usb = "{path: 1-1, to: client}, {path: 1-2, to: client}, {path: 1-3, to: other}"
    lacking = findings(tmp_path, more=more, usb=usb, network="allow: []")
    assert lacking == [
        f"'{name}' is not allowed to reach the USB/IP service of 'server'" for name in ("client", "other")
    ]
    assert findings(tmp_path, more=more, usb=usb) == []
    network = "allow: [client -> server tcp/3240, other -> server tcp/3240]"
    assert findings(tmp_path, more=more, usb=usb, network=network) == []


def test_the_answer_of_the_server_needs_no_rule_but_its_direction_counts(tmp_path: Path) -> None:
    found = findings(tmp_path, usb="{path: 1-1, to: client}", network="allow: [server -> client tcp/3240]")
    assert found == ["'client' is not allowed to reach the USB/IP service of 'server'"]


def test_a_guest_without_a_part_in_usb_is_no_receiver(tmp_path: Path) -> None:
    more = "  third: {image: plain}\n"
    assert findings(tmp_path, more=more) == []
    assert len(findings(tmp_path, more=more, usb="{path: 1-1, to: third}")) == 1


def test_a_server_may_not_use_the_devices_of_another(tmp_path: Path) -> None:
    more = "  other: {image: usb-server, passthrough: [usb@38200000]}\n"
    assert len(findings(tmp_path, more=more, usb="{path: 1-1, from: other, to: server}")) == 1


@pytest.mark.parametrize("closed", [True, False])
def test_a_guest_of_a_read_only_image_does_not_go_on_in_a_root_of_its_own(tmp_path: Path, closed: bool) -> None:
    own = f"summary: of my own\nextends: [usb-client]\nread_only: {str(closed).lower()}\n"
    catalogue = image_catalogue(("qemu",), extend_definitions(tmp_path / "definitions", {"own-client": own}))
    more = "  other: {image: {extends: own-client, packages: [nano]}, root: {label: HOME}}\n"
    usb = "{path: 1-1, to: client}, {path: 1-2, to: other}"
    found = findings(tmp_path, client=", root: {label: HOME}", more=more, usb=usb, catalogue=catalogue)
    expected = "'other' cannot go on in a root of its own: its image 'own-client' is read-only"
    assert found == ([expected] if closed else [])


def test_a_core_may_be_named_when_the_configuration_has_several(tmp_path: Path) -> None:
    more = "microkit: {config: smp-debug}\n"
    assert findings(tmp_path, client=", cpu: 3", more=more) == []


@pytest.mark.parametrize("name", ["a", "usb-server_2", "x" * 32])
def test_names_that_serve_everywhere_are_accepted(name: str, tmp_path: Path) -> None:
    assert findings(tmp_path, more=f"  {name}: {{image: usb-client}}\n") == []


@pytest.mark.parametrize("name", ["A", "-a", "1a", "a.b", "a/b", "ä", "", "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "size"), [("512 MiB", 512 << 20), ("2KiB", 2048), ("1 GiB", 1 << 30), ("4096 B", 4096), ("0 B", 0)]
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(size_text(size)) == size


@pytest.mark.parametrize(
    "value", [512, "512", "1.5 GiB", "-1 MiB", "MiB", "512 mib", "512  MiB", True, None, [], "٣ MiB"]
)
def test_anything_else_is_no_size(value: object) -> None:
    with pytest.raises(InvalidValue):
        parse_size(value)


def test_a_duration_is_kept_in_microseconds() -> None:
    assert [parse_duration(text) for text in ("100 us", "10 ms", "1s")] == [100, 10_000, 1_000_000]
    for wrong in ("99 us", 10, "10", "1 min", -1):
        with pytest.raises(InvalidValue):
            parse_duration(wrong)


@pytest.mark.parametrize("text", ["1-1", "12-10.4", "1-1.2.3.4.5.6"])
def test_a_usb_path_is_linuxs(text: str) -> None:
    assert check_path(text) == text


@pytest.mark.parametrize("text", ["0-1", "1-0", "1", "1-1.", "1-1.2.3.4.5.6.7", "usb1", "1-1:1.0"])
def test_other_paths_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        check_path(text)


def test_a_class_is_a_name_or_a_number_from_1_to_255() -> None:
    assert [parse_class(value) for value in ("hid", "mass-storage", 14, 255)] == [3, 8, 14, 255]
    for wrong in (0, 256, True, "HID ", 1.0, None):
        with pytest.raises(InvalidValue):
            parse_class(wrong)


def test_an_ethernet_address_is_unicast_and_kept_in_lower_case() -> None:
    assert check_mac("52:54:00:AB:CD:EF") == "52:54:00:ab:cd:ef"
    for wrong in ("01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "52:54:00:12:34", "52-54-00-12-34-56"):
        with pytest.raises(InvalidValue):
            check_mac(wrong)


def test_a_switch_rule_reads_as_it_is_written() -> None:
    for text in ("client -> server tcp/3240", "a -> b icmp", "a -> b udp/53"):
        assert str(parse_allow(text)) == text
    assert str(parse_allow("a->b  udp:53")) == "a -> b udp/53"


def test_only_takes_classes_and_must_have_the_rules_own(tmp_path: Path) -> None:
    assert len(findings(tmp_path, usb="{path: 1-1, only: keyboard, to: client}")) == 1
    assert len(findings(tmp_path, usb="{path: 1-1, only: [], to: client}")) == 1
    assert findings(tmp_path, usb="{class: hid, only: [mass-storage], to: client}") == [
        "no device fits: its class is not among those that it may have"
    ]


def test_only_a_guest_that_exports_devices_can_be_one_that_is_not_trusted(tmp_path: Path) -> None:
    more = "  third: {image: usb-client, trusted: false}\n"
    assert findings(tmp_path, more=more) == ["'third' exports no devices, so no guest depends on what it answers"]
    more = "  third: {image: usb-server, passthrough: [usb@38200000], trusted: false}\n"
    assert findings(tmp_path, more=more, usb="{path: 1-1, from: server, to: client}") == []


def test_every_sdk_version_that_can_be_asked_for_has_its_features_in_the_one_table() -> None:
    assert [version.value for version in SdkVersion if version is not SdkVersion.AUTO] == [
        each.version for each in KNOWN
    ]
