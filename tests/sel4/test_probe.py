# SPDX-License-Identifier: BSD-2-Clause
"""A guest of a few instructions on seL4, on one core and on several: vCPUs and their interrupts, timers, SMC calls."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from router.microkit.toolchain import FLAGS, find_toolchain
from router.testing import Router, Setup
from router.testing.qemu import QemuMachine
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import set_up

SOURCES = Path(__file__).parent / "probe"
TEXT = """
system: probes
board: qemu
microkit: {{config: {config}}}
guests:
  four:
    image: {image}
    memory: 96 MiB
    vcpus: 4
    smc: [0x95c1ba60]
  two:
    image: {image}
    memory: 96 MiB
    vcpus: 2
network: {{allow: []}}
"""
REFUSED = "ffffffff"
"""NOT_SUPPORTED; QEMU's firmware would say it, too, of what it does not know."""
ALREADY_ON, INVALID_PARAMETERS = "fffffffc", "fffffffe"
"""QEMU's answers to CPU_ON of a core that runs, and of one that does not exist: they show who answers."""


def make_image(folder: Path) -> str:
    """The probe as a raw arm64 Image, as the description's `image` names it."""
    tools = find_toolchain()
    subprocess.run([*tools.compiler, *FLAGS, "-c", str(SOURCES / "probe.c"), "-o", str(folder / "probe.o")], check=True)
    program = folder / "probe.elf"
    script = ["-T", str(SOURCES / "probe.ld"), str(folder / "probe.o")]
    subprocess.run([*tools.linker, *script, "-o", str(program)], check=True)
    # ELF's header says where the program headers are, the first of those where the bytes are (elf(5)).
    elf = program.read_bytes()
    (headers,) = struct.unpack_from("<Q", elf, 32)
    offset, _, _, size = struct.unpack_from("<4Q", elf, headers + 8)
    (folder / "Image").write_bytes(elf[offset : offset + size])
    (folder / "nothing").write_bytes(bytes(512))
    return f"{{kernel: {folder}/Image, initramfs: {folder}/nothing, role: none}}"


@pytest.fixture
def router_setup(config: str, tmp_path: Path) -> Setup:
    """Two probes, of which one has twice as many vCPUs."""
    need_sdk("auto", config=config)
    need_qemu()
    return set_up(tmp_path, TEXT.format(config=config, image=make_image(tmp_path)))


def said(router: Router, guest: str) -> list[str]:
    """What a guest's console has said: all of it, since it counts as up once its probe is done."""
    return [line.strip() for line in router.guest(guest).said().splitlines()]


@pytest.mark.parametrize("config", ["debug", "smp-debug"])
def test_vcpus_interrupts_timers_and_calls_to_the_firmware(config: str, router: Router) -> None:
    assert isinstance(router.machine, QemuMachine)
    plan = router.machine.system.plan
    assert {pd.name: pd.cpu for pd in plan.pds if pd.vm} == (
        {"vmm_four": 1, "vmm_two": 2} if config.startswith("smp-") else {"vmm_four": None, "vmm_two": None}
    )
    four, two = said(router, "four"), said(router, "two")
    for lines, cpus in ((four, 4), (two, 2)):
        assert [line for line in lines if line.startswith("cpu ")] == [f"cpu {n:08x} slept" for n in range(cpus)]
    # `four` may make one call, and the firmware answers it; everything else is refused, and told.
    assert [line for line in four if line.startswith("smc ")] == [
        f"smc 95c1ba60 00000000 = {ALREADY_ON}",
        f"smc 95c1ba60 00000077 = {INVALID_PARAMETERS}",
        f"smc 95c1ba5f 00000000 = {REFUSED}",
        f"smc c2000001 00000000 = {REFUSED}",
    ]
    assert [line for line in two if line.startswith("smc ")] == [
        f"smc 95c1ba60 00000000 = {REFUSED}",
        f"smc 95c1ba60 00000077 = {REFUSED}",
        f"smc 95c1ba5f 00000000 = {REFUSED}",
        f"smc c2000001 00000000 = {REFUSED}",
    ]
    assert [line for line in four if "refused" in line] == [
        "vmm four: refused the guest's SMC call 0x95c1ba5f",
        "vmm four: refused the guest's SMC call 0xc2000001",
    ]
    # The first, the second and the fourth.
    assert [line.rpartition(" ")[2] for line in two if "refused" in line] == ["0x95c1ba60", "0x95c1ba60", "0xc2000001"]
