# SPDX-License-Identifier: BSD-2-Clause
"""A system on vsock: what its guests and the switch get, what QEMU gets, and that nothing for seL4 is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.boards.model import Range
from router.cli import main
from router.description.load import load
from router.errors import DescriptionError
from router.machines.qemu.command import GuestSockets, guest_command
from router.machines.qemu.mode import check_mode, choose_mode
from router.machines.qemu.split import dead_vsock
from router.pipeline.build import build
from router.pipeline.inputs import Planned, plan_loaded
from router.pipeline.layout import GuestFiles, GuestLayout
from router.pipeline.overlay import overlay_files
from router.vswitch import render_host, switch_config

TEXT = """\
system: quiet
board: qemu
guests:
  server: {image: usb-server, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
  later: {image: usb-client, memory: 112 MiB}
network: {transport: vsock}
usb:
  - {path: 1-1, to: client}
"""
BOARD = TEXT.replace("board: qemu", "board: maaxboard").replace("pcie@3f000000", "usb@38100000")


def planned(folder: Path, text: str = TEXT) -> Planned:
    file = folder / "quiet.yaml"
    file.write_text(text)
    return plan_loaded(load(file), folder / "cache", lambda _: None)


def test_each_guest_has_a_context_id_by_its_place_and_no_address(tmp_path: Path) -> None:
    plan = planned(tmp_path).plan
    assert [(guest.cid, guest.mac, guest.address) for guest in plan.guests] == [(n, None, None) for n in (3, 4, 5)]
    assert [guest.peer for guest in plan.guests] == ["vsock:3", "vsock:4", "vsock:5"]
    assert [device.name for device in plan.guests[1].virtio] == ["vsock", "console", "control"]
    assert any(note.startswith("transport vsock: the guests have no network interface: no ping") for note in plan.notes)


def test_the_switch_gets_vsock_devices_and_the_rules_that_the_usb_rules_need(tmp_path: Path) -> None:
    text = render_host(switch_config(planned(tmp_path).plan.vswitch))
    assert text.splitlines()[1:] == [
        "vsock server 3",
        "vsock client 4",
        "vsock later 5",
        "allow client server vsock 3240",
    ]


def test_rules_that_are_written_out_may_let_other_guests_and_ports_through(tmp_path: Path) -> None:
    allow = "[client -> server vsock/3240, later -> server vsock/3240, later -> client vsock/99]"
    plan = planned(tmp_path, TEXT.replace("vsock}", f"vsock, allow: {allow}}}")).plan
    assert render_host(switch_config(plan.vswitch)).splitlines()[-1] == "allow later client vsock 99"
    assert overlay_files(plan, plan.guest("later"))["etc/router/usb-attach"] == b"server vsock:3\nports 8\nusb 3\n"


def test_guests_are_told_of_vsock_and_of_nothing_that_needs_ip(tmp_path: Path) -> None:
    plan = planned(tmp_path).plan
    server, client = (overlay_files(plan, plan.guest(name)) for name in ("server", "client"))
    assert server["etc/router/usb-policy"].decode().splitlines()[1:] == ["allow vsock:4 path 1-1"]
    assert client["etc/router/usb-attach"].decode().startswith("server vsock:3\n")
    settings = client["etc/router/guest.conf"].decode()
    assert "CID=4\n" in settings and "SERVER=vsock:3\n" in settings
    assert not any(f"{name}=" in settings for name in ("IP", "MAC", "MTU"))
    assert client["etc/router/hosts"] == b"127.0.0.1 localhost\n"


def command(plan: Planned, guest: str) -> str:
    place = Range(0x4000_0000, 0x1000)
    file = Path("/file")
    files = GuestFiles(file, file, file, file, GuestLayout(place, place, place, place))
    sockets = GuestSockets(file, file, file, file, file)
    return " ".join(guest_command("qemu", plan.plan.guest(guest), files, Path("/stub"), sockets))


def test_qemu_shares_the_memory_of_a_guest_on_vsock_with_the_switch_and_of_no_other(tmp_path: Path) -> None:
    vsock, ethernet = (
        command(planned(tmp_path, text), "client") for text in (TEXT, TEXT.replace("transport: vsock", ""))
    )
    assert "memory-backend-memfd,id=ram,size=1664M,share=on" in vsock and "-m 1664M" in vsock
    assert "vhost-user-vsock-device,bus=virtio-mmio-bus.0,chardev=vsock" in vsock
    assert "-netdev" not in vsock and "virtio-net" not in vsock
    assert "memfd" not in ethernet and "vhost" not in ethernet and "virtio-net-device" in ethernet


def test_a_board_is_refused_with_the_field_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "board.yaml"
    file.write_text(BOARD)
    assert main(["check", str(file)]) == 2
    said = capsys.readouterr().err
    assert "board.yaml:7:22: error: board 'maaxboard' cannot have transport: vsock" in said
    assert "write transport: tcp" in said


def test_no_image_for_sel4_is_made_and_no_file_of_one(tmp_path: Path) -> None:
    system = planned(tmp_path)
    with pytest.raises(DescriptionError, match="an image for seL4 cannot have transport: vsock"):
        build(system, tmp_path / "build", tmp_path / "cache", lambda _: None)
    assert not (tmp_path / "build").exists()


def test_it_runs_apart_with_or_without_an_sdk_and_on_sel4_not_at_all(tmp_path: Path) -> None:
    system = planned(tmp_path)
    assert choose_mode("auto", system) == "split"
    check_mode("split", system)
    with pytest.raises(DescriptionError, match="guests on seL4 have no vsock device yet"):
        check_mode("microkit", system)


@pytest.mark.parametrize(
    "line",
    [
        "qemu-system-aarch64: Failed initializing vhost-user memory map, consider using -object memory-backend-file",
        "qemu-system-aarch64: vhost_set_mem_table failed: Invalid argument (22)",
        "qemu-system-aarch64: unable to start vhost-user-vsock: 22",
    ],
)
def test_a_vsock_device_that_does_not_work_is_found_in_what_qemu_prints(line: str) -> None:
    assert dead_vsock(f"something else\n{line}\n") == line
    assert dead_vsock("qemu-system-aarch64: warning: nothing of importance\n") is None
