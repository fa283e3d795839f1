# SPDX-License-Identifier: BSD-2-Clause
"""The study's figures, and whether they reach the goals."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.report import Row, median
from bench.storage.loads import LOADS
from bench.storage.measure import Result
from bench.storage.system import KINDS, TITLES
from bench.storage.trace import OWN, Window

MIN_MEAN_GAIN, MIN_BEST_GAIN = 19.5, 64.0
"""%, of partitions over sparse files: what VMsep gained over files (Bahn and Kim, IEEE Access 8 (2020), 223756)."""
MAX_LATENCY_SHARE = 50.0
"""%, of a sparse file's p99 of fsync with a flooding neighbour."""
MIN_SYNCS = 100
"""Fewer of them have no 99th percentile worth a judgement."""


@dataclass(frozen=True)
class Study:
    """All results. loads: by load and kind, one for each round. flooded: of each guest as the victim, by guest and
    kind. windows: by kind, those of the trace; victim: the guest that synced there."""

    loads: Mapping[tuple[str, str], Sequence[Result]]
    flooded: Mapping[tuple[str, str], Sequence[Result]]
    windows: Mapping[str, Sequence[Window]]
    victim: str


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of all does not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


def ratio(above: float, below: float) -> float:
    """0 where nothing is below."""
    return above / below if below else 0.0


def gain(study: Study, load: str, over: str = "sparse") -> float:
    """By how many % the partitions' median rate is above that of another kind."""
    part, other = (statistics.median(one.rate for one in study.loads[load, kind]) for kind in ("part", over))
    return 100 * (ratio(part, other) - 1)


def rows(study: Study) -> Iterator[Row]:
    """All figures, goals last."""
    chosen = [load for load in LOADS if (load, "part") in study.loads]
    for load in chosen:
        for kind in KINDS:
            yield from load_rows(load, kind, study.loads[load, kind])
        for over in ("sparse", "full"):
            yield Row(f"{LOADS[load]}: partition over {TITLES[over]}", gain(study, load, over), "%")
    for (guest, kind), results in study.flooded.items():
        found = [1000 * value for one in results for value in one.syncs[guest]]
        for share in (0.5, 0.99):
            name = f"fsync of {guest} with a flooding neighbour, p{100 * share:.0f}"
            yield Row(name, percentile(found, share), "ms", f"{TITLES[kind]}, of {len(found)}:")
    for kind, windows in study.windows.items():
        yield from window_rows(kind, windows, study.victim)
    yield from goals(study, chosen)


def load_rows(load: str, kind: str, results: Sequence[Result]) -> Iterator[Row]:
    """Of one load on one kind."""
    title, of = LOADS[load], f"{TITLES[kind]}:"
    yield median(f"{title}, sum", "operations/s", [one.rate for one in results])
    yield median(
        f"  a guest ({TITLES[kind]})", "operations/s", [rate for one in results for rate in one.rates.values()]
    )
    syncs = [value for one in results for values in one.syncs.values() for value in values]
    commits = sum(one.commits for one in results)
    if syncs:
        yield Row("  fsync, p50", 1000 * percentile(syncs, 0.5), "ms", of)
        yield Row("  fsync, p99", 1000 * percentile(syncs, 0.99), "ms", of)
        yield Row("  server's journal commits for 1000 fsyncs", 1000 * commits / len(syncs), "", of)
    written = sum(one.guests for one in results)
    if written:
        yield Row("  bytes on the disk for a byte of the guests", sum(one.disk for one in results) / written, "", of)


def window_rows(kind: str, windows: Sequence[Window], victim: str) -> Iterator[Row]:
    """Of the trace."""
    of = f"{TITLES[kind]}:"
    count = len(windows)
    yield Row("syncs of a page, traced", count, "", of)
    hit = sum(one.others(victim) > 0 for one in windows)
    yield Row("  of them with writes of another guest's blocks", hit, "", of)
    for name, sizes in (
        ("another guest's blocks", [one.others(victim) for one in windows]),
        ("its own blocks", [one.written.get(victim, 0) for one in windows]),
        ("the server's journal and metadata", [one.written.get(OWN, 0) for one in windows]),
    ):
        yield Row(f"  KiB of {name}, mean", sum(sizes) / 1024 / count, "KiB", of)
    flushes = [1000 * each for one in windows for each in one.flushes]
    yield Row("  flushes of the whole disk's cache, for a sync", len(flushes) / count, "", of)
    if flushes:
        yield Row("  such a flush, median", statistics.median(flushes), "ms", of)


def goals(study: Study, chosen: Sequence[str]) -> Iterator[Row]:
    """What is wanted of partitions."""
    gains = {load: gain(study, load) for load in chosen}
    if gains:
        mean, best = statistics.mean(gains.values()), max(gains, key=lambda load: gains[load])
        yield wanted(
            "partitions over sparse files, mean of the loads", mean, "%", f"≥ {MIN_MEAN_GAIN} %", mean >= MIN_MEAN_GAIN
        )
        name = f"partitions over sparse files, best load ({LOADS[best]})"
        yield wanted(name, gains[best], "%", f"≥ {MIN_BEST_GAIN:.0f} %", gains[best] >= MIN_BEST_GAIN)
    for guest in dict.fromkeys(guest for guest, _ in study.flooded):
        found = {
            kind: [value for one in study.flooded[guest, kind] for value in one.syncs[guest]]
            for kind in ("part", "sparse")
        }
        share = 100 * ratio(percentile(found["part"], 0.99), percentile(found["sparse"], 0.99))
        enough = min(map(len, found.values())) >= MIN_SYNCS
        name = f"fsync of {guest} with a flooding neighbour, p99, of a sparse file's"
        yield wanted(name, share, "%", f"≤ {MAX_LATENCY_SHARE:.0f} %", enough and share <= MAX_LATENCY_SHARE)
    for kind, goal in (("part", "0"), ("allocated", "> 0: the published effect")):
        if kind in study.windows:
            hit = sum(one.others(study.victim) > 0 for one in study.windows[kind])
            name = f"syncs that wrote another guest's blocks, {TITLES[kind]}"
            yield wanted(name, hit, "", goal, (hit > 0) == (kind != "part"))


def wanted(name: str, value: float, unit: str, goal: str, met: bool) -> Row:
    return Row(name, value, unit, goal=goal, met=met)
