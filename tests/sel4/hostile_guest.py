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


def macros(plan: SystemPlan, seed: int, seconds: int) -> dict[str, str]:
    """What the program is told of its machine."""
    guest = plan.guest(NAME)
    peer = plan.guests[0]
    net, _, _ = guest.virtio
    interface = plan.board.gic.cpu_interface
    assert interface is not None
    return {
        "NAME": NAME,
        "NET": f"{net.address:#x}UL",
        "STRIDE": f"{net.size:#x}u",
        "GICD": f"{plan.board.gic.distributor.start:#x}UL",
        "GICC": f"{interface.start:#x}UL",
        "UART": f"{plan.board.early_console.start:#x}UL",
        "RAM_BASE": f"{guest.ram.start:#x}UL",
        "RAM_SIZE": f"{guest.ram.size:#x}UL",
        "MAC": "{" + ",".join(f"0x{byte}" for byte in (guest.mac or "").split(":")) + "}",
        "OWN_IP": "{" + str(guest.address).replace(".", ",") + "}",
        "PEER_IP": "{" + str(peer.address).replace(".", ",") + "}",
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
    """Compile the attacker's kernel, `folder`/hostile.image, for the description `folder`/description.yaml: its text.

    system: a description with CONFIG for the configuration; source: the attacker's program.
    """
    image = folder / "hostile.image"
    # The plan says where the program goes, and asks for a kernel before it says anything.
    image.write_bytes(struct.pack("<2I6QII", 0, 0, 0, 4096, 0, 0, 0, 0, 0x644D5241, 0))
    (folder / "nothing").write_bytes(bytes(4))
    description = folder / "description.yaml"
    text = system.replace("CONFIG", config)
    description.write_text(text)
    plan = plan_loaded(load(description), files.cache_folder(), lambda _: None).plan
    compiler = find_toolchain().compiler
    program = folder / "hostile.elf"
    words = [f"-D{name}={value}" for name, value in macros(plan, seed, seconds).items()]
    script = f"-Wl,-T,{SOURCE.with_suffix('.ld')}"
    subprocess.run([*compiler, *FLAGS, *words, script, str(source), str(START), "-o", str(program)], check=True)
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", str(program), str(image)], check=True)
    return text


@contextmanager
def trapping() -> Iterator[None]:
    """What is built meanwhile has its protection domains compiled with TRAPPING."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toolchain, "HARDENING", (*toolchain.HARDENING, *TRAPPING))
        yield
