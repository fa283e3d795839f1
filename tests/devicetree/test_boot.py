# SPDX-License-Identifier: BSD-2-Clause
"""Debian's kernel boots on our trees in QEMU's virt machine, with the guests' RAM where seL4 will have it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from router.boards import board
from router.devicetree import (
    AddressRange,
    GuestTreeSpec,
    Tree,
    VirtioSlot,
    base_tree,
    client_tree,
    dependency_closure,
    server_tree,
)
from router.devicetree.guest_tree import GuestGic
from router.errors import HostError
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.qemu, pytest.mark.packages]

SPEC = GuestTreeSpec(
    name="server",
    memory=AddressRange(0x8000_0000, 0x2000_0000),
    vcpus=1,
    gic=GuestGic(2, AddressRange(0x800_0000, 0x1_0000), AddressRange(0x801_0000, 0x1_0000)),
    bootargs="earlycon=pl011,mmio32,0x9000000 keep_bootcon panic=-1",
    virtio=tuple(VirtioSlot(0xA00_0000 + 0x200 * slot, 48 + slot) for slot in range(3)),
)
# ldr x0, <tree>; ldr x4, <kernel>; br x4; nop. arm64's boot protocol: the tree's address in x0, zero in x1 to x3.
STUB = (0x5800_0080, 0x5800_00A4, 0xD61F_0080, 0xD503_201F)
STUB_AT = 0x4800_0000


@pytest.fixture(scope="module")
def kernel() -> Path:
    if shutil.which("qemu-system-aarch64") is None:
        pytest.skip("qemu-system-aarch64 is missing (package qemu-system-arm)")
    from router.guests.image import build_image

    try:
        return build_image("usb-server").kernel
    except HostError as error:
        pytest.skip(f"no kernel package: {error.message}")


def boot(kernel: Path, tree: Tree, spec: GuestTreeSpec, folder: Path, *devices: str) -> str:
    """The kernel's log up to the panic over the missing root file system."""
    tree_at = spec.memory.base + 0x1000_0000
    (folder / "guest.dtb").write_bytes(tree.to_bytes())
    (folder / "stub.bin").write_bytes(struct.pack("<4I2Q", *STUB, tree_at, spec.memory.base))
    stub = folder / "stub.bin"
    loads = ((kernel, spec.memory.base, ""), (folder / "guest.dtb", tree_at, ""), (stub, STUB_AT, ",cpu-num=0"))
    command = ["qemu-system-aarch64", "-machine", "virt,gic-version=2,highmem=off", "-cpu", "cortex-a53", "-m", "2G"]
    command += ["-smp", str(spec.vcpus), "-nographic", "-nic", "none", "-no-reboot", *devices]
    for file, address, more in loads:
        command += ["-device", f"loader,file={file},addr={address:#x},force-raw=on{more}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_kernel_boots_on_a_clients_tree_with_two_cpus(kernel: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, name="client", memory=AddressRange(0xA000_0000, 0x2000_0000), vcpus=2)
    log = boot(kernel, client_tree(spec), spec, tmp_path)
    assert "Machine model: router guest client" in log
    assert "[mem 0x00000000a0000000-0x00000000bfffffff]" in log
    assert "detected in firmware" in log and "psci: probing for conduit method from DT" in log
    assert "Brought up 1 node, 2 CPUs" in log
    assert "arch_timer: cp15 timer(s) running" in log
    assert "Unable to mount root fs" in log


def test_the_kernel_boots_on_the_servers_tree_and_finds_a_usb_controller_on_the_pci_bus(
    kernel: Path, tmp_path: Path
) -> None:
    base = base_tree(board("qemu").tree, lambda name: tmp_path / name)
    tree = server_tree(base, dependency_closure(base, ["pcie"], "server"), SPEC)
    log = boot(kernel, tree, SPEC, tmp_path, "-device", "qemu-xhci")
    assert "Machine model: QEMU virt" in log
    assert "[mem 0x0000000080000000-0x000000009fffffff]" in log
    assert "pci-host-generic 3f000000.pcie: ECAM at [mem 0x3f000000-0x3fffffff]" in log
    assert "[1b36:000d] type 00 class 0x0c0330" in log
    assert "BAR 0 [mem 0x10000000-0x10003fff 64bit]: assigned" in log
    assert "Unable to mount root fs" in log
