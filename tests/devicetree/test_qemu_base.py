# SPDX-License-Identifier: BSD-2-Clause
"""Our tree of QEMU's virt machine says what QEMU itself says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from router.boards import board
from router.devicetree import Tree, base_tree, dependency_closure
from router.devicetree.address import Registers, bridge_windows, registers
from router.devicetree.interrupts import GicInput, interrupts_of, line_of
from router.devicetree.node import Node
from router.errors import DescriptionError, HostError
from tests.support.patience import PATIENCE

MACHINE = "virt,virtualization=on,highmem=off,secure=off,gic-version=2"


def no_kernel(name: str) -> Path:
    raise AssertionError(f"the kernel package was asked for {name}")


@pytest.fixture(scope="module")
def ours() -> Tree:
    return base_tree(board("qemu").tree, no_kernel)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    qemu = shutil.which("qemu-system-aarch64")
    if qemu is None:
        pytest.skip("qemu-system-aarch64 is missing (package qemu-system-arm)")
    file = tmp_path_factory.mktemp("qemu") / "virt.dtb"
    command = [qemu, "-machine", f"{MACHINE},dumpdtb={file}", "-cpu", "cortex-a53", "-m", "2G", "-display", "none"]
    subprocess.run([*command, "-nic", "none"], check=True, capture_output=True, timeout=2 * PATIENCE)
    return Tree.read(file)


def lines(tree: Tree, node: Node) -> set[GicInput]:
    return {line for interrupt in interrupts_of(tree, node) if (line := line_of(tree, interrupt)) is not None}


def one(tree: Tree, name: str) -> Node:
    (node,) = tree.compatible_with(name)
    return node


@pytest.mark.parametrize("kind", ["arm,pl011", "arm,pl031", "arm,pl061", "qemu,fw-cfg-mmio", "arm,armv8-timer"])
def test_a_device_is_where_qemu_puts_it(ours: Tree, theirs: Tree, kind: str) -> None:
    mine, its = one(ours, kind), one(theirs, kind)
    assert registers(mine) == registers(its)
    assert lines(ours, mine) == lines(theirs, its) and (lines(ours, mine) or kind == "qemu,fw-cfg-mmio")


def test_the_virtio_transports_are_qemus(ours: Tree, theirs: Tree) -> None:
    def transports(tree: Tree) -> set[tuple[Registers, frozenset[GicInput]]]:
        nodes = tree.compatible_with("virtio,mmio")
        return {(registers(node)[0], frozenset(lines(tree, node))) for node in nodes}

    assert len(transports(ours)) == 32 and transports(ours) == transports(theirs)


def test_the_interrupt_controller_is_qemus(ours: Tree, theirs: Tree) -> None:
    assert registers(one(ours, "arm,cortex-a15-gic")) == registers(one(theirs, "arm,cortex-a15-gic"))


def test_the_pci_host_is_qemus_with_a_smaller_window(ours: Tree, theirs: Tree) -> None:
    mine, its = one(ours, "pci-host-ecam-generic"), one(theirs, "pci-host-ecam-generic")
    assert registers(mine) == registers(its)
    assert lines(ours, mine) == lines(theirs, its) == {GicInput(intid, "level") for intid in range(35, 39)}
    assert mine.cells("bus-range") == its.cells("bus-range")
    ports, memory = bridge_windows(mine)
    their_ports, their_memory = bridge_windows(its)
    assert ports == their_ports
    assert their_memory.address == memory.address and memory.end <= their_memory.end


def test_each_slot_and_pin_gets_qemus_line(ours: Tree, theirs: Tree) -> None:
    def routes(tree: Tree) -> dict[tuple[int, ...], int]:
        host = one(tree, "pci-host-ecam-generic")
        cells, gic = host.cells("interrupt-map"), one(tree, "arm,cortex-a15-gic")
        step = 4 + 1 + gic.u32("#address-cells") + 3
        return {tuple(cells[at : at + 4]): cells[at + step - 2] for at in range(0, len(cells), step)}

    assert len(routes(ours)) == 16 and routes(ours) == routes(theirs)


def test_memory_starts_where_qemus_does(ours: Tree, theirs: Tree) -> None:
    assert registers(ours.node("/memory@40000000")) == registers(theirs.node("/memory@40000000"))


def test_the_pci_host_can_be_passed_through_with_its_windows(ours: Tree) -> None:
    closure = dependency_closure(ours, ["pcie"], "server")
    assert [(region.base, region.size) for region in closure.regions] == [
        (0x1000_0000, 0x200_0000),
        (0x3EFF_0000, 0x1_0000),
        (0x3F00_0000, 0x100_0000),
    ]
    assert [irq.intid for irq in closure.irqs] == [35, 36, 37, 38]
    assert [advice.argument for advice in closure.bootargs] == ["pci=nomsi"] and closure.dma


def test_an_override_is_taken_as_it_is(toy_blob: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mine.dtb"
    file.write_bytes(toy_blob)
    assert base_tree(board("qemu").tree, no_kernel, override=file).root.string("model") == "toy"
    file.write_bytes(toy_blob[:-9])
    with pytest.raises(DescriptionError, match="truncated") as caught:
        base_tree(board("maaxboard").tree, no_kernel, override=file)
    assert caught.value.where == str(file)


def test_an_unknown_board_names_the_known_ones() -> None:
    with pytest.raises(DescriptionError, match="no board 'pi'") as caught:
        board("pi")
    assert caught.value.hint == "boards: imx8mm_evk, imx8mp_evk, imx8mq_evk, maaxboard, qemu"


def test_a_missing_dtc_says_which_package_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.requirements.look_for", lambda program: None)
    with pytest.raises(HostError, match="dtc is not installed") as caught:
        base_tree(board("qemu").tree, no_kernel)
    assert caught.value.hint == "apt-get install device-tree-compiler"
