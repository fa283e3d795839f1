# SPDX-License-Identifier: BSD-2-Clause
"""On seL4, with all guests on one core, a guest that does its worst leaves the others their share of the time.

QEMU counts instructions here instead of reading a clock (`-icount`): a guest's clock goes on by 2 ns with each. The
ratios are the same on a busy computer, and between two runs they differ by a few per cent. What this leaves out is what
an emulated trap costs more than an emulated instruction; ROUTER_FAIRNESS_CLOCK=real measures with that, on a computer
that does nothing else.

ROUTER_FAIRNESS_READS (4) is how often the client reads its disk beside each neighbour; `pytest -s` shows the figures.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator

import pytest

from bench.counters import VIRTUAL
from router.testing import Setup
from tests.sel4 import fairness, hostile_guest
from tests.sel4.fairness import WAYS, Figures, Neighbourhood
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.booted import OncePerBoot
from tests.support.end_to_end import Booted

READS = int(os.environ.get("ROUTER_FAIRNESS_READS", "4"))
REAL = os.environ.get("ROUTER_FAIRNESS_CLOCK") == "real"
MAX_RATIO = 4.0
"""Between the slowest read beside any neighbour and the slowest one beside a neighbour that only computes."""
USUAL = ("rings the network's doorbell", "floods frames", "garbage queues")
"""The worst of each kind. All others are tried where there is time for many reads."""
ATTACKS = tuple(way for way in WAYS if way not in ("sleeps", "computes") and (READS >= 10 or way in USUAL))

pytestmark = pytest.mark.timeout(2000 + 2 * fairness.READ_TIMEOUT_S * READS)


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """Three guests on one core; the client has a disk of the server's."""
    need_sdk(config="release")
    need_qemu()
    with hostile_guest.trapping():
        yield fairness.set_up_neighbours(tmp_path_factory.mktemp("fairness"), () if REAL else VIRTUAL)


@pytest.fixture
def neighbourhood(booted: Booted) -> Neighbourhood:
    return Neighbourhood(booted)


def beside(neighbourhood: Neighbourhood, way: str) -> Figures:
    neighbourhood.tell(way)
    figures = neighbourhood.read(READS)
    print(f"\n{way:<30} {figures}", end="")
    return figures


@pytest.fixture(scope="module")
def first() -> OncePerBoot[Figures]:
    return OncePerBoot()


@pytest.fixture
def fair(booted: Booted, first: OncePerBoot[Figures]) -> Figures:
    """Beside a neighbour that computes without pause, which takes its share and nothing more."""
    return first.get(booted, lambda booted: beside(Neighbourhood(booted), "computes"))


@pytest.mark.parametrize("way", ATTACKS)
def test_a_neighbour_that_does_its_worst_leaves_the_others_their_time(
    neighbourhood: Neighbourhood, fair: Figures, way: str
) -> None:
    figures = beside(neighbourhood, way)
    print(f"; {max(figures.reads) / max(fair.reads):.1f} times as long", end="")
    assert max(figures.reads) <= MAX_RATIO * max(fair.reads), (figures, fair)
    assert figures.sent > 1
    assert figures.lost == 0


def test_a_neighbour_that_has_stopped_leaves_nothing_behind(neighbourhood: Neighbourhood, fair: Figures) -> None:
    figures = beside(neighbourhood, "sleeps")
    assert statistics.median(figures.reads) <= max(fair.reads), (figures, fair)
