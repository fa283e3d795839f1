# SPDX-License-Identifier: BSD-2-Clause
"""A guest kernel of our own that attacks its monitor (c/hostile.c), compiled for the place that the plan gives it."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router import files
from router.description.load import load
from router.microkit import toolchain
from router.microkit.toolchain import find_toolchain
from router.pipeline.inputs import plan_loaded
from router.plan.models import SystemPlan

SOURCE = Path(__file__).parent / "c" / "hostile.c"
VSOCK_SOURCE = SOURCE.with_name("hostile_vsock.c")
WITNESS = SOURCE.with_name("witness.c")
START = SOURCE.with_name("hostile_start.c")
NAME = "attacker"
FLAGS = (
    *("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-ffreestanding", "-nostdlib", "-static"),
    *("-mgeneral-regs-only", "-mstrict-align", "-fno-pic", "-fno-stack-protector", "-fno-jump-tables"),
    *("-fno-tree-loop-distribute-patterns", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments"),
)
TRAPPING = ("-fsanitize=undefined", "-fsanitize-trap=undefined", "-fsanitize-undefined-trap-on-error")
"""For the protection domains: what C leaves undefined ends a domain, which the console multiplexer notices. One of
the last two words is known to each compiler."""
TEXT = """
system: hostile
board: qemu
microkit: {config: CONFIG}
guests:
  server:
    image: usb-server
    memory: 256 MiB
    passthrough: [pcie@3f000000]
  client:
    image: usb-client
    memory: 256 MiB
  attacker:
    image: {kernel: hostile.image, initramfs: nothing}
    memory: 96 MiB
network:
  allow:
    - client -> server tcp/3240
    - client -> server icmp
    - attacker -> server tcp/3240
usb:
  - {class: mass-storage, to: client}
"""

SMALL = """
system: hostile-small
board: qemu
microkit: {config: CONFIG}
guests:
  client:
    image: usb-client
    memory: 256 MiB
  attacker:
    image: {kernel: hostile.image, initramfs: nothing}
    memory: 96 MiB
network: {allow: [attacker -> client icmp]}
"""
"""One neighbour without devices: boots in a few seconds."""


VSOCK = """
system: hostile-vsock
board: qemu
microkit: {config: CONFIG}
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB}
  witness:
    image: {kernel: witness.image, initramfs: nothing}
    memory: 96 MiB
  attacker:
    image: {kernel: hostile.image, initramfs: nothing}
    memory: 96 MiB
network:
  transport: vsock
  allow:
    - client -> server vsock/3240
    - attacker -> server vsock/3240
    - attacker -> witness vsock/5000
usb:
  - {class: mass-storage, to: client}
"""
"""The attacker is c/hostile_vsock.c; the witness, c/witness.c, judges what arrives."""
IMAGES = {NAME: "hostile.image", "witness": "witness.image"}
"""Guests whose kernels are ours, and where descriptions have these."""


def macros(plan: SystemPlan, name: str, seed: int, seconds: int) -> dict[str, str]:
    """What a guest's program is told of its machine."""
    guest = plan.guest(name)
    peer = plan.guests[0]
    first, _, _ = guest.virtio
    own: dict[str, str]
    if guest.cid is None:
        own = {
            "MAC": "{" + ",".join(f"0x{byte}" for byte in (guest.mac or "").split(":")) + "}",
            "OWN_IP": "{" + str(guest.address).replace(".", ",") + "}",
            "PEER_IP": "{" + str(peer.address).replace(".", ",") + "}",
        }
    else:
        own = {f"{each.name.upper()}_CID": f"{each.cid}u" for each in plan.guests}
        own["VSOCK_IRQ"] = f"{first.irq}u"
    interface = plan.board.gic.cpu_interface
    assert interface is not None
    return {
        "NAME": name,
        "NET": f"{first.address:#x}UL",
        "STRIDE": f"{first.size:#x}u",
        "GICD": f"{plan.board.gic.distributor.start:#x}UL",
        "GICC": f"{interface.start:#x}UL",
        "UART": f"{plan.board.early_console.start:#x}UL",
        "RAM_BASE": f"{guest.ram.start:#x}UL",
        "RAM_SIZE": f"{guest.ram.size:#x}UL",
        **own,
        "SEED": str(seed),
        "SECONDS": f"{seconds}u",
    }


def prepare(
    folder: Path,
    *,
    seed: int,
    seconds: int,
    config: str = "debug",
    system: str = TEXT,
    source: Path = SOURCE,
) -> str:
    """Compile the kernels of IMAGES for the description `folder`/description.yaml: its text.

    system: a description with CONFIG for the configuration; source: the attacker's program.
    """
    text = system.replace("CONFIG", config)
    programs = {NAME: source, "witness": WITNESS}
    guests = [name for name, image in IMAGES.items() if image in text]
    for name in guests:
        # The plan says where the program goes, and asks for a kernel before it says anything.
        (folder / IMAGES[name]).write_bytes(struct.pack("<2I6QII", 0, 0, 0, 4096, 0, 0, 0, 0, 0x644D5241, 0))
    (folder / "nothing").write_bytes(bytes(4))
    description = folder / "description.yaml"
    description.write_text(text)
    plan = plan_loaded(load(description), files.cache_folder(), lambda _: None).plan
    compiler = find_toolchain().compiler
    for name in guests:
        image = folder / IMAGES[name]
        program = image.with_suffix(".elf")
        words = [f"-D{macro}={value}" for macro, value in macros(plan, name, seed, seconds).items()]
        script = f"-Wl,-T,{SOURCE.with_suffix('.ld')}"
        command = [*compiler, *FLAGS, *words, script, str(programs[name]), str(START), "-o", str(program)]
        subprocess.run(command, check=True)
        subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", str(program), str(image)], check=True)
    return text


@contextmanager
def trapping() -> Iterator[None]:
    """What is built meanwhile has its protection domains compiled with TRAPPING."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolchain, "HARDENING", (*toolchain.HARDENING, *TRAPPING))
        yield
