# SPDX-License-Identifier: BSD-2-Clause
"""Two Linux guests on cores of their own: they come up, talk, and one has the other's disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from router.testing import Router, Setup
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import Booted, MiB, set_up

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


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Two guests; the server has a disk."""
    need_sdk("auto", config="smp-release")
    need_qemu()
    return set_up(tmp_path_factory.mktemp("cores"), TEXT, MiB)


def test_two_linux_guests_on_cores_of_their_own_route_a_disk(router: Router, booted: Booted, disk: Path) -> None:
    plan = booted.system.plan
    assert {pd.name: pd.cpu for pd in plan.pds if pd.vm} == {"vmm_server": 1, "vmm_client": 2}
    assert b"yield-" in Path(f"/proc/{booted.system.guests['server'].child.pid}/cmdline").read_bytes()
    client = router.guest("client")
    assert "2 packets received" in client.run("ping -c 2 -W 10 10.77.0.2").stdout
    assert client.sha256("/dev/sda") == hashlib.sha256(disk.read_bytes()).hexdigest()
