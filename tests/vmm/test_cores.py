# SPDX-License-Identifier: BSD-2-Clause
"""What the VMM's, the console's and the switch's cores promise: the cases of tests/vmm/c, under ASan and UBSan."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.vmm.cc import PROGRAMS, SANITIZE, cases, compile_cores, link_program


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The compiled program of a source, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("cores")
    objects = compile_cores(folder, *SANITIZE)
    made: dict[str, Path] = {}

    def compiled(source: str) -> Path:
        if source not in made:
            made[source] = link_program(folder / source.removesuffix(".c"), source, objects, *SANITIZE)
        return made[source]

    return compiled


@pytest.mark.parametrize(("source", "case"), [pytest.param(*each, id=each[1]) for each in cases()])
def test_core(program: Callable[[str], Path], source: str, case: str) -> None:
    run = subprocess.run([program(source), case], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_case_is_listed_by_its_program() -> None:
    for source, case in cases():
        assert f"NAMED({case})" in (PROGRAMS / source).read_text(), f"{source} never runs {case}"
