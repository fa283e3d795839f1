# SPDX-License-Identifier: BSD-2-Clause
"""How a system grows with its guests: plan, build, start, idle time, and what the switch takes for a frame.

From two guests to as many as a board's memory holds: a server, and clients that only start and wait. The exponent of a
figure's growth tells whether it is worse than linear.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.plot import Panel, svg
from bench.report import Row
from bench.sel4 import all_up, idle_share
from bench.systems import NAME, Progress, build_system
from bench.vswitch import CORE_NAMES, run_core
from router import files
from router.control.timeline import Timeline
from router.description.load import load
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.pipeline.build import Built
from router.pipeline.inputs import plan_loaded

SIZES = (2, 4, 6, 8, 10)
"""Guests. Ten guests of MEMORY fill the emulated board's memory."""
MEMORY = 112
"""MiB of a guest: 108 is the least with which a client's kernel and initramfs start."""
PLANS = 5
FRAME = 64
"""Bytes of the frames that the switch's core judges."""
BOOT_TIMEOUT_S = 600.0
LINEAR = 1.25
"""Exponents up to this count as linear: two runs of one figure differ by more than what is between."""
DESCRIPTION = """
system: bench-scale
board: qemu
microkit: {{config: {config}}}
guests:
  server: {{image: usb-server, memory: {memory} MiB, passthrough: [pcie@3f000000]}}
{clients}
network:
  allow: [client -> server tcp/3240]
usb:
  - {{class: mass-storage, to: client}}
"""
Growth = dict[str, dict[int, float]]
"""By figure: its value for each number of guests."""
UNITS = {
    "plan": "s",
    "build": "s",
    "loader.img": "MB",
    "start, seL4": "s",
    "idle, seL4": "%",
    "start, split run": "s",
    "idle, split run": "%",
    "switch, one frame": "ns",
}


def description(guests: int, config: str) -> str:
    """The description of a system with that many guests."""
    names = ("client", *(f"client{number}" for number in range(2, guests)))
    clients = "\n".join(f"  {name}: {{image: usb-client, memory: {MEMORY} MiB}}" for name in names)
    return DESCRIPTION.format(config=config, memory=MEMORY, clients=clients)


def exponent(values: Mapping[int, float]) -> float:
    """The slope of a straight line through the logarithms (least squares): 1 is linear, 2 quadratic, 0 constant."""
    points = [(math.log(size), math.log(value)) for size, value in values.items() if value > 0]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def measure(config: str, progress: Progress, sizes: Sequence[int] = SIZES) -> Growth:
    """All figures for all sizes."""
    found: Growth = {name: {} for name in UNITS}
    for guests in sizes:
        with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
            of = _measure(Path(name), guests, config, progress)
        for figure, value in of.items():
            found[figure][guests] = value
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        progress("the switch's core")
        for row in run_core(Path(name)):
            if row.what == CORE_NAMES["decide"] and row.frame_bytes == FRAME:
                found["switch, one frame"][row.ports] = 1e9 * row.seconds / row.frames
    return {figure: values for figure, values in found.items() if values}


def _measure(folder: Path, guests: int, config: str, progress: Progress) -> dict[str, float]:
    label, text = f"{guests} guests", description(guests, config)
    # The first build brings the images into the cache, which the second finds there.
    build_system(folder, text, progress)
    progress(f"{label}: plan, {PLANS} times")
    found = {"plan": statistics.median(_seconds(lambda: _plan(folder / NAME)) for _ in range(PLANS))}
    again = folder / "again"
    again.mkdir()
    start = time.monotonic()
    built = build_system(again, text, progress)
    found["build"] = time.monotonic() - start
    kinds: list[tuple[str, Callable[..., Run]]] = [("split run", split_run)]
    if built.loader_image is not None:
        found["loader.img"] = built.loader_image.size / 1e6
        kinds.insert(0, ("seL4", microkit_run))
    for kind, run in kinds:
        progress(f"{label}, {kind}: start and idle time")
        found[f"start, {kind}"], found[f"idle, {kind}"] = _run(built, run, folder / kind)
    return found


def _plan(path: Path) -> None:
    plan_loaded(load(path), files.cache_folder(), lambda _: None)


def _seconds(work: Callable[[], None]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def _run(built: Built, run: Callable[..., Run], logs: Path) -> tuple[float, float]:
    """Seconds until all guests are in user space, and the processor's share while they idle, in % of a core."""
    timeline = Timeline()
    timeline.mute()
    with run(built, (), logs, timeline) as system:
        system.wait_ready(BOOT_TIMEOUT_S)
        return all_up(system), idle_share(system)


def rows(growth: Growth) -> Iterator[Row]:
    """Each figure for each size, then how it grows."""
    for figure, values in growth.items():
        for size, value in values.items():
            yield Row(figure, value, UNITS[figure], of=f"{size} {along(figure)}:")
        if len(values) > 1:
            power = exponent(values)
            text = "worse than linear" if power > LINEAR else "linear or better"
            yield Row(f"{figure}, grows with the guests to the power of", power, f"({text})")


def along(figure: str) -> str:
    """What a figure grows with."""
    return "ports" if figure.startswith("switch") else "guests"


def plots(growth: Growth) -> str:
    """The figures as an SVG drawing."""
    panels = [
        Panel(figure, UNITS[figure], along(figure), values, f"grows to the power of {exponent(values):.1f}")
        for figure, values in growth.items()
        if len(values) > 1
    ]
    return svg(panels, "How a system grows with its guests")
