# SPDX-License-Identifier: BSD-2-Clause
"""The kernel as the server of disks sees it: its target in a folder, and a sysfs with disks that are plugged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import Device
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.server import disks
from router.usbip.server.disks import DiskServer
from router.usbip.server.lanes import target_call
from router.usbip.server.nvmet import Nvmet
from tests.usbip.disk_samples import POLICY


class FakeNvmet(Nvmet):
    """configfs makes a folder's attributes with it and takes them with it."""

    ATTRIBUTES: ClassVar = {
        "subsystems": ("attr_allow_any_host", "attr_serial", "attr_model"),
        "ports": ("addr_trtype", "addr_adrfam", "addr_traddr", "addr_trsvcid"),
        "namespaces": ("device_path", "device_uuid", "device_nguid", "enable"),
    }
    refuses = ""

    def _folder(self, name: str) -> str:
        path = super()._folder(name)
        kind = path.split("/")[-2]
        for attribute in self.ATTRIBUTES[kind]:
            Path(path, attribute).touch()
        for inner in {"subsystems": ["namespaces"], "ports": ["subsystems"]}.get(kind, []):
            Path(path, inner).mkdir(exist_ok=True)
        return path

    def _set(self, folder: str, attribute: str, text: str) -> None:
        if self.refuses == attribute:
            raise OSError(16, "Device or resource busy")
        Path(folder, attribute).write_text(text)

    def _drop(self, folder: str) -> None:
        shutil.rmtree(folder)


class Lanes:
    """Runs each request at once, except in lanes that are `held`: those wait until they are let go."""

    def __init__(self, target: Nvmet) -> None:
        self._target = target
        self.held: set[int] = set()
        self.waiting: dict[int, tuple[list[str], Callable[[OSError | None], None]]] = {}

    def idle(self, lane: int) -> bool:
        return lane not in self.waiting

    def start(self, lane: int, words: list[str], done: Callable[[OSError | None], None]) -> None:
        assert self.idle(lane)
        if lane in self.held:
            self.waiting[lane] = (words, done)
            return
        try:
            target_call(self._target, words)
        except OSError as error:
            done(error)
        else:
            done(None)

    def let_go(self, lane: int) -> None:
        """The kernel is done with what it was at."""
        self.held.discard(lane)
        words, done = self.waiting.pop(lane)
        self.start(lane, words, done)


class World:
    """A server's sysfs with USB disks that can be plugged."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sysfs = Sysfs(str(root / "sys"))
        self.root = root
        self.devices: dict[str, Device] = {}
        (root / "sys/bus/scsi/devices").mkdir(parents=True)
        self.now = 100.0
        self.late: set[str] = set()
        self.hold: set[int] = set()
        """Lanes that are held from the start."""
        monkeypatch.setattr(disks, "find_devices", self.find)
        monkeypatch.setattr(disks, "time", SimpleNamespace(monotonic=lambda: self.now))

    def find(self, sysfs: Sysfs, known: dict[str, Device], late: set[str]) -> dict[str, Device]:
        late |= self.late
        return {busid: one for busid, one in self.devices.items() if busid not in self.late}

    def plug(self, one: Device, block: str = "sda", sectors: int = 2048, address: str = "0:0:0:0") -> None:
        real = self.root / f"sys/devices/usb1/{one.busid}/{one.busid}:1.0/host/target/{address}"
        one.path = str(self.root / f"sys/devices/usb1/{one.busid}")
        (real / "block" / block).mkdir(parents=True)
        (real / "type").write_text("0\n")
        (real / f"block/{block}/size").write_text(f"{sectors}\n")
        (real / f"block/{block}/ro").write_text("0\n")
        (self.root / "sys/bus/scsi/devices" / address).symlink_to(real)
        self.devices[one.busid] = one

    def unplug(self, busid: str) -> None:
        for link in (self.root / "sys/bus/scsi/devices").iterdir():
            if f"/{busid}/" in str(link.readlink()):
                link.unlink()
        shutil.rmtree(self.root / f"sys/devices/usb1/{busid}")
        del self.devices[busid]

    def server(self, target: Nvmet, policy: str = POLICY) -> DiskServer:
        self.lanes = Lanes(target)
        self.lanes.held |= self.hold
        server = DiskServer(self.sysfs, target, parse_policy(policy), self.lanes)
        server.start()
        return server
