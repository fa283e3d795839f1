# SPDX-License-Identifier: BSD-2-Clause
"""Invariants proved over a plan before anything is built from it: small named functions, one promise each."""

from __future__ import annotations

from router.checks import access, devices, domains, guests, memory, network, sdk
from router.checks.model import REGISTRY, Invariant, Subject, View, Violation
from router.plan.models import SystemPlan

# Each module registers its invariants when it is imported; in this order they are checked and listed.
MODULES = [module.__name__ for module in (sdk, memory, access, devices, domains, guests, network)]

INVARIANTS: tuple[Invariant, ...] = tuple(
    sorted(REGISTRY.values(), key=lambda each: MODULES.index(each.check.__module__))
)
"""All invariants, in the order in which they are checked."""

__all__ = ["INVARIANTS", "Invariant", "Subject", "Violation", "check_plan"]


def check_plan(plan: SystemPlan) -> tuple[Violation, ...]:
    """Every invariant that the plan breaks, with the places and messages; empty when the plan may be built.

    An invariant whose violation would only follow from that of another one (`Invariant.after`) is left out then.
    """
    view, broken, found = View(plan), set[str](), list[Violation]()
    for each in INVARIANTS:
        if broken.intersection(each.after):
            broken.add(each.name)
            continue
        findings = tuple(each.check(view))
        found += [Violation(each.name, one.message, one.subject, one.hint) for one in findings]
        if findings:
            broken.add(each.name)
    return tuple(found)
