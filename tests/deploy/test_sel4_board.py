# SPDX-License-Identifier: BSD-2-Clause
"""The whole way onto a board: `router build`, U-Boot, TFTP, seL4 with two guests, and a USB disk in the right one."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.boards import board
from router.errors import HostError
from router.machines.qemu.usb import arguments, parse_plugs
from router.microkit.sdk import require_sdk
from router.microkit.toolchain import find_toolchain
from tests.deploy.machines import Namespace, lab_file, namespace, qemu, router
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.deploy, pytest.mark.sel4, pytest.mark.packages, pytest.mark.timeout(20 * PATIENCE)]

MiB = 1 << 20
TWO = """
system: on-a-board
board: qemu
microkit: {config: debug}
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
usb:
  - {class: mass-storage, to: client}
  - {class: hid, to: client}
"""


@pytest.fixture
def net() -> Iterator[Namespace]:
    try:
        require_sdk("auto", "qemu_virt_aarch64", "debug")
        find_toolchain()
    except HostError as error:
        pytest.skip(error.message)
    with namespace() as one:
        yield one


def test_a_built_system_is_deployed_by_u_boot_and_its_disk_is_in_the_client(net: Namespace, tmp_path: Path) -> None:
    disk, build = tmp_path / "disk.img", tmp_path / "build"
    disk.write_bytes(os.urandom(4 * MiB))
    (tmp_path / "two.yaml").write_text(TWO)
    environment = {"ROUTER_LOCK_DIR": str(tmp_path / "locks"), "XDG_STATE_HOME": str(tmp_path / "state")}
    built = router(None, "build", str(tmp_path / "two.yaml"), "-o", str(build), "--require-image", env=environment)
    assert built.returncode == 0
    emulated = board("qemu").emulated
    assert emulated is not None
    usb = arguments(parse_plugs([f"storage:{disk}", "keyboard"]))

    def on_board(*words: str, timeout: float = 10 * PATIENCE) -> subprocess.CompletedProcess[str]:
        return router(net, *words, "--lab", str(lab), timeout=timeout, env=environment)

    power_on = time.monotonic()
    with qemu(net, *usb, machine=emulated.machine, memory=f"{emulated.memory // MiB}M") as serial:
        lab = lab_file(tmp_path, serial)
        deployed = on_board("deploy", str(build), "--json", "--timeout", "400")
        assert deployed.returncode == 0, deployed.stderr
        client = ["--on", "virt", "--lab", str(lab), "client"]
        there = "until true </dev/sda; do usleep 100000; done 2>/dev/null"
        reading = f"{there}; dd if=/dev/sda bs=1M count=4 2>/dev/null | sha256sum"
        read = router(net, "exec", "--timeout", "200", *client, reading, env=environment)
        print(f"from power-on to the disk read in the client: {time.monotonic() - power_on:.1f} s")
        assert read.stdout.split()[:1] == [hashlib.sha256(disk.read_bytes()).hexdigest()]
        listed = json.loads(on_board("usb", "list", "--on", "virt", "--json").stdout)
        assert {row["name"]: row["holder"] for row in listed} == {
            "QEMU USB HARDDRIVE": "client",
            "QEMU USB Keyboard": "client",
        }
        keyboard = next(row["busid"] for row in listed if "Keyboard" in row["name"])
        assert on_board("usb", "detach", "--on", "virt", "client", keyboard).returncode == 0
        assert on_board("usb", "attach", "--on", "virt", "client", keyboard, "--port", "3").returncode == 0
        ports = json.loads(on_board("usb", "ports", "--on", "virt", "client", "--json").stdout)
        assert [row["port"] for row in ports if row["device"] and "Keyboard" in str(row["device"])] == [3]
        assert router(net, "exec", *client, "exit 7", env=environment).returncode == 7
        names = [json.loads(line)["name"] for line in deployed.stdout.splitlines() if '"milestone"' in line]
        assert names[:2] == ["loader", "seL4"] and {"server up", "client up", "server listening"} <= set(names)
