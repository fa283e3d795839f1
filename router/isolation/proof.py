# SPDX-License-Identifier: BSD-2-Clause
"""Reads the capabilities of a build folder's image and compares them with its description and the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from router.elf import Segment, segments
from router.isolation import declared
from router.isolation.compare import IsolationError, differences
from router.isolation.declared import Declared
from router.isolation.expected import expected_facts
from router.isolation.facts import MONITOR, Fact
from router.isolation.image import image_facts, mappings
from router.isolation.spaces import Stretch
from router.microkit.capabilities import read_capabilities
from router.microkit.sdk import Sdk
from router.plan.models import SystemPlan

MONITOR_PROGRAM = "monitor.elf"


@dataclass(frozen=True)
class Proof:
    """What the capabilities of an image give: the same as its description and the plan say."""

    sdk: str
    """The version whose tool wrote the capabilities."""
    facts: tuple[Fact, ...]
    mappings: tuple[tuple[str, Stretch], ...]
    """What of the memory regions each holder maps."""


def loaded_segments(program: Path) -> tuple[Segment, ...]:
    """The segments of a program that take memory."""
    return tuple(each for each in segments(program.read_bytes()) if each.memory_size)


def prove(plan: SystemPlan, sdk: Sdk, folder: Path) -> Proof:
    """The proof of the image in a build folder.

    IsolationError when the image gives other rights than the `.system` text or the plan says; HostError when its
    capabilities cannot be read.
    """
    spec = read_capabilities(plan, sdk, folder)
    text = (folder / f"{plan.name}.system").read_text()
    monitor = loaded_segments(sdk.board_dir(plan.board.microkit, plan.config) / "elf" / MONITOR_PROGRAM)

    def facts_of(said: Declared) -> tuple[Fact, ...]:
        programs: Mapping[str, tuple[Segment, ...]] = {
            MONITOR: monitor,
            **{pd.name: loaded_segments(folder / "programs" / pd.program) for pd in said.pds},
        }
        # The tool gives domains their own threads for this name alone, and not for smp-benchmark (main.rs of 2.3.0).
        return expected_facts(said, programs, benchmark=plan.config == "benchmark")

    facts = image_facts(spec)
    written = facts_of(declared.of_text(text, lambda path: (folder / path).stat().st_size))
    found = differences(facts, written, facts_of(declared.of_plan(plan)))
    if found:
        raise IsolationError(found)
    return Proof(sdk.version, facts, mappings(spec))
