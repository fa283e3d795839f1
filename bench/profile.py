# SPDX-License-Identifier: BSD-2-Clause
"""Where the time of a start goes, from the loader to the disk in the client: on seL4, then as a split run.

On seL4 QEMU counts instructions (2 ns each), so a second here is 500 million instructions of the one emulated core that
all share, and other load on this computer changes nothing. A split run is shown in seconds of a real clock: its guests
run side by side. What happens when comes from the kernel log of each guest, and from the VMMs' counts.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.counters import VIRTUAL, Counters
from bench.counts import DISK, TIMEOUT_S, build_counted
from bench.report import Row
from bench.systems import Progress, run_in, scratch_disk
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.microkit import MicrokitRun
from router.machines.qemu.running import Run
from router.machines.qemu.session import sandboxed, split_run
from router.machines.qemu.tool import find_qemu
from router.machines.qemu.usb import parse_plugs

STAGES = (
    ("kernel, until it unpacks the initramfs", r"Trying to unpack rootfs image"),
    ("initramfs unpacked, and drivers meanwhile", r"Freeing initrd memory"),
    ("built-in drivers, self-tests, certificates", r"Run /init as init process"),
    ("init, and modules of the first stage", r"router: guest \S+: userspace up"),
    ("network", r"router: guest \S+: eth0 has"),
    ("Python, and the daemon until it listens", r"router: guest \S+: usbipd listening"),
    ("the device exported", r"router: guest \S+: exported"),
    ("Python, the client, the device attached", r"router: guest \S+: attached"),
    ("the disk found and read", r"sd \S+ \[sda\] Attached SCSI"),
)
"""What has happened by the time of a line of the kernel log. Each stage starts where the one before it ended."""
PYTHON = """
now() {{ read -r now _ </proc/uptime; echo "$now"; }}
now; for n in 1 2 3 4 5; do python3 -I -S -c pass; done
now; for n in 1 2 3 4 5; do python3 -I -S /usr/lib/router/usbip.py {verb} --help >/dev/null; done
now
"""
"""/proc/uptime has hundredths of a second, so each is done five times. A verb's help imports the verb's modules; the
program's own help would import none.
"""
VERBS = {"server": "serve", "client": "keep-attached"}
"""The daemon of each guest of the system that is profiled."""


def conditions() -> tuple[str, ...]:
    """The conditions of the profile."""
    return ("seL4: release, seconds of 500 million instructions, both guests on one core; split run: real seconds",)


def stages(log: str, start: float = 0.0) -> Iterator[tuple[str, float, float]]:
    """What a kernel log (dmesg) shows: stage, its seconds, its end. start: of the guest's clock, in seconds."""
    before = start
    for name, pattern in STAGES:
        found = re.search(rf"^\[ *(\d+\.\d+)\] .*?{pattern}", log, re.MULTILINE)
        if found:
            at = start + float(found[1])
            yield name, at - before, at
            before = at


def guest_rows(system: Run, guest: str, of: str, start: float = 0.0) -> Iterator[Row]:
    """The stages of one guest. MachineError when its log has not even the first."""
    log = run_in(system.execute, guest, "dmesg", TIMEOUT_S)
    found = list(stages(log, start))
    if not found or found[0][0] != STAGES[0][0]:
        raise MachineError(f"the kernel log of '{guest}' does not begin with its start", hint=log[:300])
    for name, seconds, at in found:
        yield Row(f"{guest}: {name}", seconds, f"s, until {at:.2f}", of)
    times = [float(word) for word in run_in(system.execute, guest, PYTHON.format(verb=VERBS[guest]), TIMEOUT_S).split()]
    yield Row(f"{guest}: of it, Python starts", (times[1] - times[0]) / 5, "s", of)
    yield Row(f"{guest}: of it, Python with the daemon's imports", (times[2] - times[1]) / 5, "s", of)


def machine_rows(counters: Counters) -> tuple[list[Row], dict[str, float]]:
    """What is before the guests' kernels, and when each guest's clock starts."""
    counts, hertz, of = counters.read(), counters.hertz, "seL4"
    first = min(each["AT_START"] for name, each in counts.items() if name != "qemu") / hertz
    out = [Row("loader, seL4 and its initialiser", first, f"s, until {first:.2f}", of)]
    starts = {}
    for name, each in counts.items():
        if name.startswith("vmm_"):
            guest, at = name.removeprefix("vmm_"), each["AT_GUEST"] / hertz
            out += [
                Row(f"{guest}: its VMM copies the images", each["LOADED_BYTES"] / 1e6, f"MB, until {at:.2f}", of),
                Row(f"{guest}: traps of the early console", each["TRAP_EARLY"], "", of),
                Row(f"{guest}: work for traps until the disk", each["TICKS_TRAPS"] / hertz, "s", of),
            ]
            starts[guest] = at
    return out, starts


def profile(progress: Progress) -> tuple[Row, ...]:
    """The figures."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_counted(folder, "release", progress)
        assert built.loader_image is not None
        plugs = parse_plugs([f"storage:{scratch_disk(folder / 'disk.img', DISK)}"])
        qemu = find_qemu()
        out: list[Row] = []
        progress("booting two guests on seL4, instructions counted")
        image, words = built.loader_image.path, (*sandboxed(qemu), *VIRTUAL)
        with MicrokitRun(built.plan, image, qemu, folder / "logs", Timeline(), plugs, words) as system:
            system.wait_ready(TIMEOUT_S)
            rows, starts = machine_rows(Counters(system, folder))
            out += rows
            for guest, start in sorted(starts.items()):
                out += guest_rows(system, guest, "seL4", start)
        progress("booting two guests as a split run")
        with split_run(built, plugs, folder / "split", Timeline()) as split:
            split.wait_ready(TIMEOUT_S)
            for guest in sorted(starts):
                out += guest_rows(split, guest, "split run")
    return tuple(out)
