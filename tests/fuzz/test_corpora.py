# SPDX-License-Identifier: BSD-2-Clause
"""Every target survives its corpus, and the honest inputs that it began with. Needs no fuzzer."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py"))
MAX_FILES, MAX_BYTES = 60, 2048
"""Of a corpus, and of a file in it: they stand in the tree, and are replayed at each run."""


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_survives_its_corpus(name: str) -> None:
    target = importlib.import_module(f".targets.{name}", __package__)
    files = sorted((HERE / "corpus" / name).iterdir())
    assert files, f"run: python -m tests.fuzz {name} --seed"
    for path in files:
        target.one_input(path.read_bytes())
    for data in target.seeds():
        target.one_input(data)


@pytest.mark.parametrize("name", TARGETS)
def test_a_corpus_stays_small(name: str) -> None:
    files = list((HERE / "corpus" / name).iterdir())
    assert len(files) <= MAX_FILES
    assert all(path.stat().st_size <= MAX_BYTES for path in files)


def test_every_corpus_has_a_target() -> None:
    assert {path.name for path in (HERE / "corpus").iterdir()} == set(TARGETS)
