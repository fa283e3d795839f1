# SPDX-License-Identifier: BSD-2-Clause
"""`router usb` and `router exec` against running guests: what they say is so, and what they change is changed."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.guest import hid_protocol
from bench.programs import command
from router.control.client import Connection
from router.errors import MachineError
from router.testing import Router
from router.testing.qemu import QemuMachine
from router.usb.steps import SETTLE_TIMEOUT_S
from tests.support.patience import PATIENCE

Says = Callable[..., str]
CONTROLLERS = "cd /sys/bus/platform/drivers/vhci_hcd; echo vhci_hcd.*"
"""In a guest: its virtual controllers."""


@pytest.fixture(autouse=True)
def running(router: Router) -> None:
    """Every test here is about a system that runs."""


def devices(says: Says) -> dict[str, dict[str, Any]]:
    return {row["busid"]: row for row in json.loads(says("usb", "list", "--json"))}


def test_the_list_tells_who_has_each_device_and_by_which_rule(says: Says) -> None:
    seen = devices(says)
    assert {busid: (row["granted"], row["rule"], row["holder"]) for busid, row in seen.items()} == {
        "1-2": (["client"], "path 1-2 port 5", "client"),
        "1-3": ([], None, None),
        "2-1": (["client"], "class mass-storage", "client"),
    }
    assert (seen["1-2"]["port"], seen["1-2"]["name"], seen["2-1"]["speed"]) == (5, "QEMU USB Keyboard", "5G")
    assert "no rule gives it to a guest" in says("usb", "assignable")


def test_a_guest_has_as_many_ports_as_its_description_says(router: Router, says: Says) -> None:
    ports = json.loads(says("usb", "ports", "client", "--json"))
    assert sorted((row["usb"], row["port"]) for row in ports) == [(usb, n) for usb in (2, 3) for n in range(1, 9)]
    ports = json.loads(says("usb", "ports", "stranger", "--json"))
    assert sorted((row["usb"], row["port"]) for row in ports) == [(2, 1), (2, 2), (2, 3)]
    # Of the kernel's eight controllers one is left, and of its 15 ports of either speed the surplus is off.
    assert router.guest("stranger").run(CONTROLLERS).stdout == "vhci_hcd.0\n"
    off = "grep -l 1 /sys/devices/platform/vhci_hcd.0/usb*/*-0:1.0/usb*-port*/disable | wc -l"
    assert tuple(router.guest(name).run(off).stdout for name in ("client", "stranger")) == ("14\n", "27\n")


def test_a_device_moves_between_guests_by_hand_and_never_by_itself(router: Router, says: Says) -> None:
    assert "QEMU USB Mouse is on port 1 of 'stranger'" in says("usb", "attach", "stranger", "mouse")
    router.guest("stranger").wait_for("grep 'QEMU USB Mouse' /proc/bus/input/devices")
    held = says("usb", "attach", "client", "1-3", code=4)
    assert held == (
        "error: 1-3 (QEMU USB Mouse) is held by guest 'stranger', on port 1\n"
        "  to take it: router usb attach client 1-3 --take\n"
    )
    assert "held by guest 'client', on port 5" in says("usb", "attach", "stranger", "keyboard", code=4)
    assert "is a SuperSpeed device, and 'stranger' has a USB 2 controller" in _free_disk(router, says)
    says("usb", "detach", "stranger", "1")
    router.guest("stranger").wait_for("! grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert (devices(says)["1-3"]["holder"], devices(says)["1-3"]["granted"]) == (None, [])
    assert "does not have 'mouse'" in says("usb", "detach", "stranger", "mouse", code=4)


def test_a_device_is_taken_from_one_guest_to_another_in_one_step(router: Router, says: Says) -> None:
    says("usb", "attach", "stranger", "mouse")
    assert "QEMU USB Mouse is on port 1 of 'client'" in says("usb", "attach", "client", "mouse", "--take")
    router.guest("client").wait_for("grep 'QEMU USB Mouse' /proc/bus/input/devices")
    router.guest("stranger").wait_for("! grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert devices(says)["1-3"]["holder"] == "client"
    says("usb", "detach", "client", "mouse")


def test_a_guest_finds_a_device_as_after_power_on_whatever_the_last_one_set(router: Router, says: Says) -> None:
    says("usb", "attach", "stranger", "mouse")
    for value, after in ((-1, "1\n"), (0, "0\n")):
        ask = command(hid_protocol.change, "QEMU USB Mouse", value)
        assert router.guest("stranger").run(ask).stdout == after
    says("usb", "attach", "client", "mouse", "--take")
    assert router.guest("client").run(command(hid_protocol.change, "QEMU USB Mouse", -1)).stdout == "1\n"
    says("usb", "detach", "client", "mouse")


def test_attaching_that_fails_says_which_step_and_what_the_clients_kernel_said(router: Router, says: Says) -> None:
    # A root hub that may not be used does not look at its ports.
    says("usb", "controllers", "client", "create", "--ports", "4", "--usb", "2")
    router.guest("client").run("for hub in /sys/devices/platform/vhci_hcd.1/usb*; do echo 0 >$hub/authorized; done")
    try:
        began = time.monotonic()
        said = says("usb", "attach", "client", "mouse", "--port", "16", code=4)
        assert time.monotonic() - began < SETTLE_TIMEOUT_S + 2 * PATIENCE
    finally:
        says("usb", "detach", "client", "1-3")
        says("usb", "controllers", "client", "destroy", "1")
    assert "'client' does not have 1-3 after 20 s: 'client' has imported it, and its kernel cannot" in said
    assert "vhci_hcd vhci_hcd.0: " in said


def _free_disk(router: Router, says: Says) -> str:
    """What is said when the disk, taken from the client for the moment, is to go to a guest that cannot take it."""
    says("usb", "detach", "client", "HARDDRIVE")
    router.guest("client").wait_for("! ls /dev/sd?")
    said = says("usb", "attach", "stranger", "2-1", code=4)
    says("usb", "attach", "client", "2-1")
    router.guest("client").wait_for("ls /dev/sd?")
    return said


def test_a_device_attached_by_hand_comes_back_to_its_port(router: Router, says: Says) -> None:
    assert "on port 3 of 'client'" in says("usb", "attach", "client", "mouse", "--port", "3")
    assert "port 5 of 'client' is taken by QEMU USB Keyboard" in _moved(says, "5")
    says("usb", "unplug", "3")
    router.guest("client").wait_for("! grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert "on USB port 3" in says("usb", "plug", "mouse")
    router.guest("client").wait_for("grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert devices(says)["1-3"]["port"] == 3
    says("usb", "detach", "client", "3")
    assert devices(says)["1-3"]["holder"] is None


def _moved(says: Says, port: str) -> str:
    """What is said when the mouse is to move to that port of the client; it is on port 3 then as before."""
    says("usb", "detach", "client", "mouse")
    said = says("usb", "attach", "client", "mouse", "--port", port, code=4)
    says("usb", "attach", "client", "mouse", "--port", "3")
    return said


def test_a_watcher_sees_a_device_come_and_go(router: Router, says: Says) -> None:
    seen: list[dict[str, Any]] = []
    watching = threading.Event()

    def watch() -> None:
        with Connection(router.name) as connection:
            for event in connection.watch():
                watching.set()
                if event.get("guest") == "stranger":
                    seen.append(event)
                if len(seen) == 2:
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    assert watching.wait(5)
    says("usb", "attach", "stranger", "mouse")
    says("usb", "detach", "stranger", "mouse")
    thread.join(20)
    assert [(event["event"], event["detail"]) for event in seen] == [
        ("attached", "1-3 port 1"),
        ("detached", "1-3 port 1"),
    ]


def test_controllers_are_created_and_destroyed_while_the_guest_runs(router: Router, says: Says) -> None:
    assert "controller 1: USB 2, 4 ports" in says(
        "usb", "controllers", "client", "create", "--ports", "4", "--usb", "2"
    )
    shown = json.loads(says("usb", "controllers", "client", "--json"))
    assert [(row["usb"], row["ports"]) for row in shown if row["present"]] == [(3, 8), (2, 4)]
    assert "on port 16 of 'client'" in says("usb", "attach", "client", "mouse", "--port", "16")
    router.guest("client").wait_for("grep 'QEMU USB Mouse' /proc/bus/input/devices")
    busy = says("usb", "controllers", "client", "destroy", "1", code=4)
    assert "controller 1 has devices on its ports: 16\n  detach them first" in busy
    says("usb", "detach", "client", "16")
    says("usb", "controllers", "client", "destroy", "1")
    assert "controller 0 cannot go" in says("usb", "controllers", "client", "destroy", "0", code=4)
    assert router.guest("client").run(CONTROLLERS).stdout == "vhci_hcd.0\n"


def test_a_command_in_a_guest_gives_its_output_and_its_code(says: Says) -> None:
    assert says("exec", "client", "echo out; echo err >&2; exit 7", code=7) == "out\nerr\n"
    assert json.loads(says("exec", "--json", "server", "hostname"))["output"] == "server\n"
    assert "no guest 'cliend'" in says("exec", "cliend", "true", code=2)


def test_a_command_that_nobody_waits_for_any_more_is_ended(router: Router) -> None:
    with Connection(router.name) as connection:
        began = threading.Event()

        def run() -> None:
            with pytest.raises(MachineError, match="has stopped"):
                connection.execute("client", "echo go; sleep 777", 600, lambda _: began.set())

        thread = threading.Thread(target=run)
        thread.start()
        assert began.wait(PATIENCE)
        connection._lines.end()
        thread.join(PATIENCE)
    router.guest("client").wait_for("! ps | grep '[s]leep 777'")
    assert router.guest("client").run("echo still here").stdout == "still here\n"


def test_every_qemu_is_in_its_sandbox(router: Router) -> None:
    assert isinstance(router.machine, QemuMachine)
    for guest in router.machine.system.guests.values():
        status = Path(f"/proc/{guest.child.pid}/status").read_text()
        assert re.search(r"^Seccomp:\s2$", status, re.M), status
