# SPDX-License-Identifier: BSD-2-Clause
"""The benchmark measures what it says."""

from __future__ import annotations

from bench.vswitch import BenchRow, as_rows, conditions, render, run


def test_the_benchmark_has_a_row_for_each_case_and_for_its_comparison() -> None:
    rows = run(lambda step: None)
    cases = {(row.what, row.ports, row.frame_bytes) for row in rows}
    for ports, size in ((2, 64), (62, 64), (2, 1514), (2, 65549)):
        assert {("core", ports, size), ("memcpy of the same bytes", ports, size)} <= cases
    for size in (64, 1514, 65549):
        assert {("host process", 2, size), ("socket pair, no switch", 2, size)} <= cases
    # A hundredth of what a slow computer reaches: less means that the wrong thing is measured.
    assert all(row.million_frames_per_second > 0.2 for row in rows if row.what == "core")
    assert all(row.frames * row.frame_bytes > 200e6 and row.seconds > 1e-6 for row in rows)
    assert len(render(rows).splitlines()) == 2 + len(rows)


def test_rates_follow_from_frames_bytes_and_seconds() -> None:
    row = BenchRow("core", 2, 500, 4_000_000, 2.0)
    assert (row.million_frames_per_second, row.gigabytes_per_second) == (2.0, 1.0)
    assert [(each.value, each.unit, each.of) for each in as_rows([row])] == [
        (2.0, "Mframe/s", "core"),
        (1.0, "GB/s", "core"),
    ]
    assert "CPUs" in conditions() and "-O2" in conditions()
