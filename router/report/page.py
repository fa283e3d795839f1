# SPDX-License-Identifier: BSD-2-Clause
"""The report: one HTML page with the pictures and everything that was decided, which needs nothing from elsewhere."""

from __future__ import annotations

from markupsafe import Markup

from router.checks import INVARIANTS, check_plan
from router.microkit.system import render_system
from router.plan.models import RegionKind, SystemPlan, VSwitchRule
from router.report.isolation import Isolation, parse_isolation, statements
from router.report.matrix import isolation_svg
from router.report.memory import memory_svg, owners
from router.report.topology import topology_svg, usb_text
from router.templates import template
from router.words import size_text


def rule_text(plan: SystemPlan, rule: VSwitchRule) -> str:
    """A rule of the switch as the description writes it."""
    name = {port.index: port.guest for port in plan.vswitch.ports}
    service = rule.protocol if rule.port is None else f"{rule.protocol}/{rule.port}"
    return f"{name.get(rule.source, '?')} → {name.get(rule.destination, '?')} {service}"


def report_html(plan: SystemPlan, isolation: Isolation | None = None) -> str:
    """The page; the same plan gives the same bytes.

    isolation: the matrix of the image that boots; without it the page has that of the `.system` text.
    """
    isolation = isolation or parse_isolation(render_system(plan))
    broken = {violation.invariant for violation in check_plan(plan)}
    return template("router.report", "report.html.j2").render(
        plan=plan,
        topology=Markup(topology_svg(plan)),
        memory=Markup(memory_svg(plan)),
        matrix=Markup(isolation_svg(isolation)),
        statements=list(statements(isolation)),
        isolation=isolation,
        rules=[rule_text(plan, rule) for rule in plan.vswitch.rules],
        grants=[(grant, usb_text(grant)) for grant in plan.grants],
        owners=owners(plan),
        size=size_text,
        payload=RegionKind.PAYLOAD,
        pool=max((region.size for region in plan.regions if region.kind is RegionKind.FRAMES), default=0),
        invariants=INVARIANTS,
        broken=broken,
    )
