# SPDX-License-Identifier: BSD-2-Clause
"""The study as one command: boot, all loads on all kinds of disk in turn, and the trace last."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.storage.loads import LOADS
from bench.storage.measure import TRACED, Result, neighbours, run_loads, trace_syncs
from bench.storage.report import Study
from bench.storage.system import DISK_BYTES, KINDS, MEMORY_MIB, RATE, REQUESTS, TITLES, boot, names, set_up
from bench.storage.trace import Window
from bench.systems import MiB, Progress

WINDOWS = 8
"""Traced syncs of each kind."""
FLOODED = 2
"""So many times a load's seconds for latencies with a flooding neighbour, so that there are enough of them."""


def conditions(guests: int, seconds: float) -> tuple[str, ...]:
    """Of the measured system."""
    server, memory = MEMORY_MIB[guests]
    return (
        f"split run, QEMU TCG; a server of {server} MiB and {guests} guests of {memory} MiB, cortex-a53, 1 vCPU each",
        f"two equal disks, {RATE // MiB} MiB/s and {REQUESTS} requests/s each, images in the host's page cache",
        f"each guest: a partition on one, two files on the server's ext4 on the other, {DISK_BYTES // MiB} MiB each",
        f"ext4 in the guests; {seconds:g} s of each load, in all guests at once; kinds of disk in turn; fixed seeds",
    )


def study(guests: int, chosen: Sequence[str], seconds: float, rounds: int, progress: Progress) -> Study:
    """Boot, measure and stop. chosen: names of LOADS and PARTS."""
    clients = names(guests)
    loads = [name for name in chosen if name in LOADS]
    victims = clients if "flooded" in chosen else []
    found: dict[tuple[str, str], list[Result]] = {(load, kind): [] for load in loads for kind in KINDS}
    flooded: dict[tuple[str, str], list[Result]] = {(guest, kind): [] for guest in victims for kind in KINDS}
    windows: dict[str, list[Window]] = {}
    with tempfile.TemporaryDirectory(prefix="router-bench-") as folder:
        _, run = boot(Path(folder), clients, progress)
        progress(f"booting {guests + 1} guests")
        with run as system:
            disks = set_up(system, clients, progress)
            for turn in range(rounds):
                for number, load in enumerate(loads):
                    for kind in turned(KINDS, turn + number):
                        progress(f"round {turn + 1} of {rounds}, {LOADS[load]}, {TITLES[kind]}")
                        result = run_loads(system, disks, kind, dict.fromkeys(clients, load), seconds, 1 + turn)
                        found[load, kind].append(result)
                for number, victim in enumerate(victims):
                    for kind in turned(KINDS, turn + number):
                        progress(f"round {turn + 1} of {rounds}, {victim} with a flooding neighbour, {TITLES[kind]}")
                        its = neighbours(clients, victim)
                        flooded[victim, kind].append(run_loads(system, disks, kind, its, FLOODED * seconds, 1 + turn))
            for traced in TRACED if "trace" in chosen else ():
                progress(f"trace of syncs, {TITLES[traced]}")
                windows[traced] = trace_syncs(system, disks, traced, clients, WINDOWS)
    return Study(found, flooded, windows, clients[0])


def turned(kinds: Sequence[str], by: int) -> list[str]:
    """Another one first each time, so that none is always the first after something else."""
    return [kinds[(by + number) % len(kinds)] for number in range(len(kinds))]
