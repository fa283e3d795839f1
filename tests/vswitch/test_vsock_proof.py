# SPDX-License-Identifier: BSD-2-Clause
"""Headers of vsock packets, links and owed RSTs: CBMC for all states, and bugs that it must find."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cbmc import Proof, check_found, check_proved
from tests.vswitch.cc import CORE, PROGRAMS, ROOT

TIMEOUT_S = 1200.0
NAMES = ("start", "headers", "links", "resets")


def proof(name: str, rules: int = 2, connections: int = 1) -> Proof:
    """One harness: three guests, so many rules, and so many connections under each."""
    loops = max(3, rules * connections) + 1
    bounds = (
        *("-DVSOCK_MAX_PORTS=3u", f"-DVSOCK_MAX_RULES={rules}u", f"-DVSOCK_MAX_CONNECTIONS={connections}u"),
        *("--unwind", str(loops), "--unwindset", "read_number.0:9,write_number.0:9"),
    )
    sources = (PROGRAMS / "prove_vsock.c", CORE / "vsock.c", CORE / "vsock_init.c")
    return Proof(f"prove_{name}", sources, (CORE, PROGRAMS, ROOT / "tests" / "vmm" / "c"), bounds)


BUGS = [
    ("headers", "vsock_init.c", "read_number(bytes + 36, 4)", "read_number(bytes + 40, 4)", "each byte of a header"),
    ("links", "vsock.c", "(ends || link == VSOCK_DETACHED)", "ends", "about the state"),
    ("resets", "vsock.c", "if (rule->from != port && rule->to != port)", "if (rule->from != port)", "what is owed"),
]


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize("name", NAMES)
def test_cbmc_proves_a_step_of_the_vsock_core(name: str) -> None:
    check_proved(proof(name), TIMEOUT_S)


@pytest.mark.long
@pytest.mark.timeout(3 * TIMEOUT_S + 100)
@pytest.mark.parametrize("name", ["links", "resets"])
def test_cbmc_proves_a_step_of_the_vsock_core_with_more_connections(name: str) -> None:
    check_proved(proof(name, connections=2), 3 * TIMEOUT_S)


@pytest.mark.timeout(TIMEOUT_S + 100)
@pytest.mark.parametrize(
    ("name", "file", "right", "wrong", "broken"), [pytest.param(*bug, id=f"{bug[0]}: {bug[4]}") for bug in BUGS]
)
def test_cbmc_finds_a_planted_bug_in_the_vsock_core(
    tmp_path: Path, name: str, file: str, right: str, wrong: str, broken: str
) -> None:
    check_found(proof(name).with_bug(tmp_path, CORE / file, right, wrong), broken, TIMEOUT_S)
