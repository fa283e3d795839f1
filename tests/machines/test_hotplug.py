# SPDX-License-Identifier: BSD-2-Clause
"""Plugging in while the guest runs: ports are given out and come back, and nothing is left behind in QEMU."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.errors import DescriptionError, MachineError
from router.machines.qemu import hotplug, usb
from router.machines.qemu.host_device import HostDevice
from router.machines.qemu.hotplug import UsbPorts
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.usb import KINDS, LISTENER, parse_plugs


class Monitor(threading.Thread):
    """The other end of a monitor: knows devices and what stands behind them, and who needs whom."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__()
        self._stream = stream
        self.devices: dict[str, dict[str, Any]] = {}
        self.behind: set[str] = set()
        self.refuses = ""
        self.busy = 0

    def run(self) -> None:
        with self._stream, self._stream.makefile("rwb") as file:
            file.write(b'{"QMP": {}}\n')
            file.flush()
            for line in file:
                request = json.loads(line)
                error = self.obey(request["execute"], request["arguments"])
                file.write(json.dumps({"error": {"desc": error}} if error else {"return": {}}).encode() + b"\n")
                file.flush()

    def obey(self, command: str, words: dict[str, Any]) -> str | None:
        name = words.get("id", words.get("node-name", ""))
        if command == self.refuses:
            return "refused"
        if command == "device_add":
            self.devices[words.get("id", "child")] = words
        elif command == "device_del":
            gone = self.devices.pop(name)
            if gone.get("driver") == "usb-redir":
                self.behind.remove(gone["chardev"])
        elif command in ("blockdev-add", "chardev-add", "netdev_add", "audiodev-add"):
            self.behind.add(name)
        elif command in ("blockdev-del", "chardev-remove", "netdev_del"):
            if self.busy:
                self.busy -= 1
                return f"{name} is in use"
            self.behind.remove(name)
        return None


@pytest.fixture
def monitor() -> Iterator[tuple[Qmp, Monitor]]:
    ours, theirs = socket.socketpair()
    thread = Monitor(theirs)
    thread.start()
    qmp = Qmp(ours)
    yield qmp, thread
    qmp.close()
    thread.join(5)


def test_devices_get_the_first_free_port_and_give_it_back(monitor: tuple[Qmp, Monitor], tmp_path: Path) -> None:
    qmp, other = monitor
    disk = tmp_path / "disk,img"
    disk.write_bytes(b"x")
    ports = UsbPorts(qmp, parse_plugs(["keyboard", "mouse"]))
    other.devices["plug1"] = {}
    assert ports.plug(f"storage:{disk}").path == "2-3"
    device = other.devices["plug3"]
    assert (device["driver"], device["port"], device["serial"]) == ("usb-storage", "3", "ROUTER0003")
    assert other.behind == {device["drive"]}
    assert ports.unplug(1).kind == "keyboard"
    assert ports.plug("tablet").port == 1
    other.busy = 2
    assert ports.unplug(3).kind == "storage"
    assert other.behind == set()
    assert [(plug.port, plug.kind) for plug in ports.plugged()] == [(1, "tablet"), (2, "mouse")]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_plugged_in_and_leaves_nothing(
    kind: str, monitor: tuple[Qmp, Monitor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usb, "find_host_device", lambda text: HostDevice(1, 2, "Thing", (8,), False, Path("/dev/null")))
    qmp, other = monitor
    ports = UsbPorts(qmp, ())
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        paths = {None: "", LISTENER: f":{folder}/socket"}
        plug = ports.plug(f"{kind}{paths.get(KINDS[kind].argument, f':{tmp_path}')}")
    assert other.devices["plug1"]["driver"] == KINDS[kind].device
    ports.unplug(plug.port)
    # QEMU has no command that removes an audio back end.
    assert len(other.behind) == (1 if kind == "audio" else 0)


def test_what_qemu_refuses_is_not_plugged_in(monitor: tuple[Qmp, Monitor], tmp_path: Path) -> None:
    qmp, other = monitor
    ports = UsbPorts(qmp, ())
    other.refuses = "device_add"
    with pytest.raises(MachineError, match="QEMU refuses device_add: refused"):
        ports.plug(f"storage:{tmp_path}")
    assert (ports.plugged(), other.behind) == ([], set())


def test_a_full_controller_and_an_empty_port_say_so(
    monitor: tuple[Qmp, Monitor], monkeypatch: pytest.MonkeyPatch
) -> None:
    qmp, _ = monitor
    monkeypatch.setattr(hotplug, "port_count", lambda plugs, buses: 1)
    ports = UsbPorts(qmp, ())
    ports.plug("mouse")
    with pytest.raises(MachineError, match="all 1 USB ports are taken"):
        ports.plug("mouse")
    with pytest.raises(DescriptionError) as caught:
        ports.unplug(2)
    assert (caught.value.message, caught.value.hint) == (
        "nothing is plugged into USB port 2",
        "ports in use: 1 (mouse)",
    )


def test_each_of_a_boards_own_controllers_has_one_port(monitor: tuple[Qmp, Monitor]) -> None:
    qmp, other = monitor
    buses = ("usb-bus.0", "usb-bus.1")
    ports = UsbPorts(qmp, parse_plugs(["keyboard"], buses), buses)
    assert ports.plug("mouse").path == "3-1"
    assert (other.devices["plug2"]["bus"], other.devices["plug2"]["port"]) == ("usb-bus.1", "1")
    with pytest.raises(MachineError, match="all 2 USB ports are taken"):
        ports.plug("mouse")
