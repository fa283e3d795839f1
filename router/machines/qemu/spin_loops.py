# SPDX-License-Identifier: BSD-2-Clause
"""Emulated cores that wait for each other: where seL4 does so in a loop, and the plugin that lets the others run.

seL4's cores wait for its one lock, and for each other's answers, in loops that neither pause nor sleep. QEMU runs each
emulated core in a thread; with fewer real cores than emulated ones those loops use up the time of the very thread that
they wait for, and two guests on different cores hardly get anywhere. `yield.c` is a plugin for QEMU that makes them
yield. The kernel is the SDK's own, unchanged; the loops are found in its program.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from router.cbuild import host_step, run_steps
from router.elf import segments
from router.errors import HostError
from router.machines.qemu.tool import Qemu
from router.machines.qemu.usb import escape

SOURCE = Path(__file__).with_name("yield.c")
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
VERSIONS = (1, 2, 7)
"""Of QEMU's plugin interface, those that differ in what is used here: QEMU 7 and 8 take 1, 9 and 10 take 2 to 5."""

ACQUIRE = 0xD50339BF
"""`dmb ishld`: what __atomic_thread_fence(__ATOMIC_ACQUIRE) becomes, which each of the loops has once a round."""
NEAR = 8
"""Instructions between that and the ends of its loop, at most."""


def branch(word: int) -> int | None:
    """How many instructions a branch goes on or back (ARM DDI 0487: B, CBZ, CBNZ, B.cond); None: it is none."""
    if word >> 26 == 0b000101:
        bits, offset = 26, word & 0x3FFFFFF
    elif word >> 24 & 0x7E == 0x34 or word >> 24 == 0x54:
        bits, offset = 19, word >> 5 & 0x7FFFF
    else:
        return None
    return offset - (offset >> (bits - 1) << bits)


def loops(words: Sequence[int]) -> list[tuple[int, int]]:
    """First instruction and the one behind the last, of each short loop around an acquire fence; none overlap."""
    found: list[tuple[int, int]] = []
    for fence in (at for at, word in enumerate(words) if word == ACQUIRE):
        for end in range(fence + 1, min(fence + NEAR, len(words))):
            start = end + (branch(words[end]) or 0)
            if fence - NEAR < start <= fence:
                found.append((start, end + 1))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if merged and start < merged[-1][1]:
            start, stop = merged[-1][0], max(stop, merged.pop()[1])
        merged.append((start, stop))
    return merged


def wait_loops(elf: bytes) -> list[range]:
    """The addresses of such loops in a 64-bit little-endian ELF program."""
    out: list[range] = []
    for segment in segments(elf):
        if segment.executable:
            words = struct.unpack_from(f"<{len(segment.data) // 4}I", segment.data)
            out += [range(segment.address + 4 * first, segment.address + 4 * end) for first, end in loops(words)]
    return out


def build_plugin(folder: Path, version: int) -> Path:
    """The plugin for that version of QEMU's interface, compiled unless it is there; HostError when it cannot be."""
    plugin = folder / f"yield-{version}.so"
    run_steps([host_step("the plugin for QEMU", plugin, (*FLAGS, f"-DAPI={version}"), [SOURCE])])
    return plugin


def takes(qemu: Qemu, plugin: Path) -> bool:
    """Whether this QEMU loads the plugin. It starts without a machine and ends at once."""
    bare = ("-nodefaults", "-no-user-config", "-display", "none", "-serial", "none", "-machine", "none")
    command = [qemu.path, *bare, "-monitor", "stdio", "-plugin", f"file={escape(plugin)}"]
    try:
        run = subprocess.run(command, input=b"quit\n", capture_output=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0


def yielding(qemu: Qemu, kernel: Path, folder: Path) -> list[str]:
    """QEMU's words for cores that yield while they wait in this kernel; HostError when it cannot be had here.

    folder: for the compiled plugin.
    """
    places = wait_loops(kernel.read_bytes())
    for version in VERSIONS:
        plugin = build_plugin(folder, version)
        if takes(qemu, plugin):
            arguments = "".join(f",at={place.start:#x}-{place.stop:#x}" for place in places)
            return ["-plugin", f"file={escape(plugin)}{arguments}"]
    raise HostError(f"QEMU {'.'.join(map(str, qemu.version))} takes no plugin of ours", where=qemu.path)
