# SPDX-License-Identifier: BSD-2-Clause
"""A system on vsock: what its guests and the switch get, in split runs and on seL4, and what QEMU gets."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from router.boards.model import Range
from router.description.load import load
from router.machines.qemu.command import GuestSockets, guest_command
from router.machines.qemu.mode import choose_mode
from router.machines.qemu.split import dead_vsock
from router.microkit.configuration import Loaded, render_configuration
from router.pipeline.inputs import Planned, plan_loaded
from router.pipeline.layout import GuestFiles, GuestLayout
from router.pipeline.overlay import overlay_files
from router.plan.models import SystemPlan
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


def test_a_board_may_have_guests_without_a_network(tmp_path: Path) -> None:
    plan = planned(tmp_path, BOARD).plan
    assert plan.board.name == "maaxboard" and [guest.cid for guest in plan.guests] == [3, 4, 5]


def sources(plan: SystemPlan) -> dict[str, str]:
    """The generated C files, with images of no size."""
    nowhere = Range(0x4000_0000, 0x1000)
    return render_configuration(plan, {guest.name: Loaded(0, nowhere, nowhere, nowhere) for guest in plan.guests})


def test_on_sel4_the_switch_gets_the_same_ports_and_rules_and_no_ethernet(tmp_path: Path) -> None:
    text = sources(planned(tmp_path).plan)["vswitch.c"]
    for line in ('{3, "server"},', '{5, "later"},', "{1, 0, 3240} /* client -> server vsock/3240 */,"):
        assert line in text
    assert ".port_count = 3," in text and ".rule_count = 1," in text
    assert "vswitch_config = NULL;" in text and "vswitch_vsock = &vsock;" in text and "struct vswitch_port" not in text
    with_ethernet = sources(planned(tmp_path, TEXT.replace("transport: vsock", "")).plan)["vswitch.c"]
    assert "vswitch_config = &ethernet;" in with_ethernet and "vswitch_vsock = NULL;" in with_ethernet
    assert "struct vsock_state state;" not in with_ethernet


def test_on_sel4_a_vmm_reads_packets_of_those_guests_that_a_rule_pairs_with_its_own(tmp_path: Path) -> None:
    files = sources(planned(tmp_path).plan)
    client, later = files["vmm_client.c"], files["vmm_later.c"]
    assert ".cid = 4," in client and ".mac" not in client and ".mtu" not in client
    assert re.findall(r"^    \{(\d+), \(void \*\)\w+, \w+, (\d+)\},$", client, re.MULTILINE) == [("0", "3")]
    assert "struct vmm_peer" not in later and ".peers = 0," in later


def test_it_runs_on_sel4_where_there_is_an_sdk_and_else_as_a_split_run(tmp_path: Path) -> None:
    system = planned(tmp_path)
    assert choose_mode("auto", dataclasses.replace(system, sdk=None)) == "split"
    assert choose_mode("auto", dataclasses.replace(system, sdk=object())) == "microkit"  # type: ignore[arg-type]


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
