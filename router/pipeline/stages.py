# SPDX-License-Identifier: BSD-2-Clause
"""A planned system cut down to one of its stages, checked like any other."""

from __future__ import annotations

from dataclasses import replace

from router.checks import check_plan
from router.pipeline.inputs import Planned, report
from router.plan.models import Passthrough
from router.plan.stages import CLIENT, TIMER, WHOLE, first_steps, stage_description
from router.plan.system import plan_system


def staged(planned: Planned, stage: int) -> Planned:
    """The stage of a planned system; the whole of it for stage WHOLE. What the guests do not own is not looked at."""
    if stage == WHOLE:
        return planned
    roles = {guest.name: guest.role for guest in planned.plan.guests}
    loaded = replace(planned.loaded, description=stage_description(planned.loaded.description, stage, roles))
    plan = plan_system(
        loaded.description, planned.board, roles=roles, passthrough=dict[str, Passthrough](), sdk=planned.plan.sdk
    )
    if stage < CLIENT:
        plan = first_steps(plan, timer=stage >= TIMER)
    report(loaded, check_plan(plan))
    return replace(planned, loaded=loaded, closures={}, plan=plan, stage=stage)
