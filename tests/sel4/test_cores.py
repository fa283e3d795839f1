# SPDX-License-Identifier: BSD-2-Clause
"""Two Linux guests on cores of their own: they come up, talk, and one has the other's disk."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from router.control.timeline import Timeline
from router.machines.qemu.session import microkit_run
from router.machines.qemu.usb import parse_plugs
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import Booted, MiB, build_text

TEXT = """
system: cores
board: qemu
microkit: {config: smp-release}
guests:
  server:
    image: usb-server
    memory: 256 MiB
    passthrough: [pcie@3f000000]
  client:
    image: usb-client
    memory: 256 MiB
network: {allow: [client -> server tcp/3240, client -> server icmp]}
usb:
  - {class: mass-storage, to: client}
"""
SECONDS = 240.0
"""For coming up: on a quiet machine of two cores it takes a tenth."""


def test_two_linux_guests_on_cores_of_their_own_route_a_disk(tmp_path: Path) -> None:
    need_sdk("auto", config="smp-release")
    need_qemu()
    disk = tmp_path / "disk.img"
    disk.write_bytes(os.urandom(MiB))
    built = build_text(TEXT, tmp_path, loader_image=True)
    assert {pd.name: pd.cpu for pd in built.plan.pds if pd.vm} == {"vmm_server": 1, "vmm_client": 2}
    with microkit_run(built, parse_plugs([f"storage:{disk}"]), tmp_path / "logs", Timeline()) as system:
        assert b"yield-" in Path(f"/proc/{system.pid}/cmdline").read_bytes()
        system.wait_ready(SECONDS)
        booted = Booted(system, disk)
        assert "2 packets received" in booted.run("client", "ping -c 2 -W 10 10.77.0.2", 60)
        shown = booted.run("client", "sha256sum /dev/sda", 120)
        assert shown.split()[0] == hashlib.sha256(disk.read_bytes()).hexdigest()
