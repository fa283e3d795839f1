# SPDX-License-Identifier: BSD-2-Clause
"""From a file to a description, and the way back from a description to the place in the file."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from router.description.catalogue import Catalogue, find_description, image_catalogue, shipped_descriptions
from router.description.diagnostics import DescriptionErrors
from router.description.load import LoadedDescription, load
from router.description.models import ImageFiles, OnExit, image_names_of
from router.description.sdk_versions import SdkVersion
from router.description.values import Allow, VendorProduct
from router.errors import DescriptionError

CATALOGUE = Catalogue(("maaxboard", "qemu"), {"usb-server": "server", "usb-client": "client"})
ROOT = Path(__file__).parents[2]

GOOD = """\
system: demo
board: qemu
guests:
  server: {image: usb-server, passthrough: [pcie@3f000000]}
  client: {image: usb-client}
"""


def write(tmp_path: Path, content: str) -> Path:
    file = tmp_path / "demo.yaml"
    file.write_text(content, encoding="utf-8")
    return file


def good(tmp_path: Path, more: str = "") -> LoadedDescription:
    return load(write(tmp_path, GOOD + more), CATALOGUE)


def errors(tmp_path: Path, content: str) -> list[str]:
    with pytest.raises(DescriptionErrors) as caught:
        load(write(tmp_path, content), CATALOGUE)
    return [one.message for one in caught.value.diagnostics]


def test_every_field_is_read_as_it_is_meant(tmp_path: Path) -> None:
    text = """\
system: all-of-it
board: maaxboard
microkit: {sdk: 2.2.0, config: smp-release}
guests:
  server:
    image: usb-server
    memory: 1 GiB
    vcpus: 2
    address: 10.0.0.9
    mac: 52:54:00:12:34:5A
    passthrough: [usb@38100000, "&usb3_1", /soc@0/gpio@30200000, ethernet0]
    bootargs: quiet loglevel=3
    smc: [0xC2000000]
    on_exit: stop
    priority: 150
    budget: 5 ms
    period: 10 ms
    cpu: 1
  client:
    image: usb-client
    usb: {version: 3, ports: 4}
network:
  subnet: 10.0.0.0/24
  mtu: 9000
  allow: [client -> server tcp/3240, client->server icmp]
  queue: {depth: 256, buffer: 16 KiB}
usb:
  - {device: "046D:C31C", serial: "0525", to: client, port: 4}
  - {path: 1-1.4, class: hid, from: server, to: client}
"""
    description = load(write(tmp_path, text), CATALOGUE).description
    server, client = description.guests["server"], description.guests["client"]
    assert description.microkit.sdk is SdkVersion.V2_2_0
    assert (server.memory, client.memory, server.vcpus) == (1 << 30, 512 << 20, 2)
    assert (server.address, server.mac) == (IPv4Address("10.0.0.9"), "52:54:00:12:34:5a")
    assert server.passthrough == ("usb@38100000", "&usb3_1", "/soc@0/gpio@30200000", "ethernet0")
    assert (server.bootargs, server.smc, server.on_exit) == ("quiet loglevel=3", (0xC2000000,), OnExit.STOP)
    assert (server.priority, server.budget, server.period, server.cpu) == (150, 5000, 10000, 1)
    assert (client.usb.version, client.usb.ports) == (3, 4)
    assert description.network.allow == (
        Allow("client", "server", "tcp", 3240),
        Allow("client", "server", "icmp", None),
    )
    assert (description.network.mtu, description.network.queue.depth, description.network.queue.buffer) == (
        9000,
        256,
        16384,
    )
    first, second = description.usb
    assert (first.device, first.serial, first.port) == (VendorProduct(0x046D, 0xC31C), "0525", 4)
    assert (second.path, second.class_, second.source) == ("1-1.4", 3, "server")


def test_a_description_cannot_be_changed_after_it_is_read(tmp_path: Path) -> None:
    loaded = good(tmp_path)
    with pytest.raises(Exception, match="frozen"):
        loaded.description.guests["server"].memory = 1  # type: ignore[misc]
    with pytest.raises(AttributeError):
        loaded.path = Path("other")  # type: ignore[misc]


def test_later_stages_report_at_the_right_line(tmp_path: Path) -> None:
    loaded = good(tmp_path)
    error = loaded.error(("guests", "server", "passthrough", 0), "no node 'pcie@3f000000'", hint="did you mean 'x'?")
    lines = str(error).splitlines()
    assert lines[0] == f"{loaded.name}:4:45: error: no node 'pcie@3f000000'"
    assert lines[2].index("^") == lines[1].index("pcie@")
    assert loaded.place(("guests", "client", "memory")) == f"{loaded.name}:5:11"


def test_several_findings_of_a_later_stage_are_raised_at_once_and_none_is_no_error(tmp_path: Path) -> None:
    loaded = good(tmp_path)
    loaded.raise_if([])
    found = [loaded.diagnostic(("guests", name), f"{name} is wrong") for name in ("client", "server")]
    with pytest.raises(DescriptionErrors) as caught:
        loaded.raise_if(found)
    assert [one.message for one in caught.value.diagnostics] == ["server is wrong", "client is wrong"]


def test_a_slip_in_one_guest_does_not_hide_what_is_wrong_elsewhere(tmp_path: Path) -> None:
    text = GOOD.replace("usb-client}", "usb-client, memroy: 1 GiB}") + (
        "network: {mtu: fast, allow: [client -> sever icmp, nonsense]}\n"
        "usb:\n  - {class: hid, to: clint}\n  - {class: hid}\n"
    )
    assert errors(tmp_path, text) == [
        "unknown field 'memroy'",
        "'mtu' must be a whole number, not the string 'fast'",
        "there is no guest 'sever'",
        "invalid rule 'nonsense'",
        "there is no guest 'clint'",
        "'to' is missing",
    ]


def test_what_is_reported_once_is_not_reported_again_in_other_words(tmp_path: Path) -> None:
    assert len(errors(tmp_path, GOOD + "usb:\n  - {class: hid, to: no}\n")) == 1
    assert len(errors(tmp_path, GOOD + "network:\n  allow:\n")) == 1
    assert len(errors(tmp_path, GOOD.replace("usb-server", "usb-sevrer"))) == 1


def test_an_error_in_an_anchored_value_is_told_once(tmp_path: Path) -> None:
    text = GOOD.replace("{image: usb-client}", "&c {image: usb-client, vcpus: 9}") + "  other: *c\n"
    assert errors(tmp_path, text) == ["9 is out of range"]


def test_an_empty_allow_list_is_an_answer_but_a_missing_value_is_not(tmp_path: Path) -> None:
    assert good(tmp_path, "network: {allow: []}\n").description.network.allow == ()
    assert good(tmp_path).description.network.allow is None
    assert errors(tmp_path, GOOD + "network: {allow: }\n") == ["'allow' has no value"]


def test_an_image_of_ones_own_is_checked_beside_the_description(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(struct.pack("<16xQ", 64).ljust(56, b"\0") + b"ARMd" + bytes(4))
    (tmp_path / "root.cpio").write_bytes(b"070701")
    more = "  own: {image: {kernel: Image, initramfs: root.cpio, role: client}}\n"
    image = good(tmp_path, more).description.guests["own"].image
    assert isinstance(image, ImageFiles)
    assert image.role == "client"
    (tmp_path / "root.cpio").unlink()
    assert errors(tmp_path, GOOD + more) == ["there is no file 'root.cpio'"]


def test_own_files_of_equal_content_get_one_name(tmp_path: Path) -> None:
    image = struct.pack("<16xQ", 64).ljust(56, b"\0") + b"ARMd"
    for name, content in (("Image", image + b"1234"), ("Copy", image + b"1234"), ("Other", image + b"4321")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "root.cpio").write_bytes(b"070701")
    (tmp_path / "same.cpio").write_bytes(b"070701")
    pairs = {"a": ("Image", "root.cpio"), "b": ("Copy", "same.cpio"), "c": ("Other", "same.cpio")}
    more = "".join(f"  {name}: {{image: {{kernel: {one}, initramfs: {two}}}}}\n" for name, (one, two) in pairs.items())
    guests = good(tmp_path, more).description.guests
    images = [guest.image for guest in guests.values() if isinstance(guest.image, ImageFiles)]
    assert [(str(image.kernel), str(image.initramfs)) for image in images] == [
        ("Image", "root.cpio"),
        ("Image", "root.cpio"),
        ("Other", "root.cpio"),
    ]
    names = image_names_of(good(tmp_path, more).description)
    assert [names[name] for name in pairs] == ["files:a", "files:a", "files:c+a"]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="there is no file") as missing:
        load(tmp_path / "dmeo.yaml", CATALOGUE)
    assert missing.value.hint is None
    write(tmp_path, GOOD)
    with pytest.raises(DescriptionError) as near:
        load(tmp_path / "dmeo.yaml", CATALOGUE)
    assert near.value.hint == "did you mean 'demo.yaml'?"
    with pytest.raises(DescriptionError, match="is a folder"):
        load(tmp_path, CATALOGUE)
    (tmp_path / "big.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    with pytest.raises(DescriptionError, match="larger than 256 KiB"):
        load(tmp_path / "big.yaml", CATALOGUE)
    with pytest.raises(DescriptionError, match="cannot read"):
        load(Path("nul\0byte.yaml"), CATALOGUE)


def test_every_shipped_description_is_right_and_fits_on_a_screen() -> None:
    shipped = shipped_descriptions()
    assert {"maaxboard.yaml", "qemu.yaml", "qemu-three-guests.yaml"} <= set(shipped)
    for name, path in shipped.items():
        assert load(path).description.guests, name
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 30, name


def test_a_shipped_description_is_found_by_its_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        find_description("maaxboard")
        == find_description("maaxboard.yaml")
        == ROOT / "system-descriptions/maaxboard.yaml"
    )
    monkeypatch.chdir(ROOT)
    assert find_description("qemu") == Path("system-descriptions/qemu.yaml")


def test_a_file_of_ones_own_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qemu.yaml").write_text(GOOD, encoding="utf-8")
    assert find_description("qemu.yaml") == Path("qemu.yaml")


def test_a_name_that_is_nothing_lists_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DescriptionError) as caught:
        find_description("maxboard.yaml")
    known = "imx8mp_evk.yaml, maaxboard.yaml, qemu"
    assert str(caught.value.hint).startswith(f"did you mean 'maaxboard.yaml'?  shipped: {known}")


def test_an_image_has_the_role_of_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "common.yaml").write_text("packages: [busybox-static]\n")
    (tmp_path / "first.yaml").write_text("extends: [common]\nrole: server\nsummary: one\n")
    (tmp_path / "second.yaml").write_text("extends: [first]\nsummary: two\n")
    (tmp_path / "plain.yaml").write_text("extends: [common]\nsummary: three\n")
    assert image_catalogue((), tmp_path).images == {"first": "server", "plain": "none", "second": "server"}


def test_an_image_that_extends_itself_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "round.yaml").write_text("extends: [round]\nsummary: four\n")
    with pytest.raises(DescriptionError, match=r"round\.yaml: error: extends itself"):
        image_catalogue((), tmp_path)


def test_an_image_has_the_boot_sizes_of_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("summary: one\nboot_sizes: {kernel: 33, initramfs: 6}\n")
    (tmp_path / "second.yaml").write_text("extends: [first]\nsummary: two\n")
    (tmp_path / "plain.yaml").write_text("summary: three\n")
    known = image_catalogue((), tmp_path)
    assert known.boot_memory("second") == known.boot_memory("first") == 106 << 20  # 33 + 6 + 64 + 2, and 64 KiB
    assert known.boot_memory("plain") is None


def test_the_example_of_the_reference_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/description.md").read_text(encoding="utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    description = load(write(tmp_path, example), CATALOGUE).description
    assert (description.system, len(description.guests), len(description.usb)) == ("maaxboard-usb", 2, 2)


def test_the_reference_names_every_field() -> None:
    from router.description.fields import PLACES, names

    page = (ROOT / "docs/reference/description.md").read_text(encoding="utf-8")
    assert [field for _, model in PLACES for field in names(model) if f"{field}" not in page] == []
