# SPDX-License-Identifier: BSD-2-Clause
"""Every target survives its corpus, and the honest inputs that it began with. Needs no fuzzer."""

from __future__ import annotations

import importlib
import time

import pytest

from tests.fuzz import CORPUS, MAX_FILES, MAX_INPUT, TARGETS, results

MAX_CPU_S = 5.0
"""Of one input, on a slow machine too; all but a few take milliseconds."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_survives_its_corpus(name: str) -> None:
    target = importlib.import_module(f".targets.{name}", __package__)
    files = sorted((CORPUS / name).iterdir())
    assert files, f"run: python -m tests.fuzz {name} --seed"
    for data in (*(path.read_bytes() for path in files), *target.seeds()):
        start = time.process_time()
        target.one_input(data)
        assert time.process_time() - start < MAX_CPU_S, data


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_stays_small(name: str) -> None:
    files = list((CORPUS / name).iterdir())
    assert len(files) <= MAX_FILES
    assert all(path.stat().st_size <= MAX_INPUT for path in files)


def test_every_corpus_has_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


def test_the_page_shows_the_results() -> None:
    text = results.PAGE.read_text()
    assert results.with_table(text, results.table()) == text, "run: python -m tests.fuzz --table, which writes it anew"


def test_a_finding_starts_the_count_anew() -> None:
    once = results.added(results.Result(), 60, 1000, found=False)
    twice = results.added(once, 30, 500, found=False)
    assert (twice.seconds, twice.inputs, twice.found) == (90, 1500, 0)
    after = results.added(twice, 5, 10, found=True)
    assert (after.seconds, after.inputs, after.found) == (0, 0, 1)
