# SPDX-License-Identifier: BSD-2-Clause
"""A domain below all guests knows when none wants the processor; where it could not know that, there is none."""

from __future__ import annotations

import pytest

from router.checks import check_plan
from router.plan.models import SystemPlan
from router.plan.names import IDLE
from tests.checks.mutations import with_pd
from tests.support.systems import described, plan_of


def planned(config: str = "release", **more: str) -> SystemPlan:
    fields = {
        "system": "two",
        "board": "qemu",
        "microkit": {"config": config},
        "guests": {
            "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"], "priority": 1},
            "client": {"image": "usb-client", **more},
        },
    }
    return plan_of(described(fields), "2.3.0")


def test_idle_is_below_the_lowest_guest_and_holds_nothing_but_its_channel_to_the_switch() -> None:
    plan = planned()
    (idle,) = (pd for pd in plan.pds if pd.name == IDLE)
    assert idle.priority < min(pd.vm.priority for pd in plan.pds if pd.vm is not None)
    assert (idle.maps, idle.irqs) == ((), ())
    ends = {end.pd for channel in plan.channels for end in channel.ends if IDLE in (e.pd for e in channel.ends)}
    assert ends == {IDLE, "vswitch"}


@pytest.mark.parametrize(("config", "more"), [("smp-release", {}), ("release", {"budget": "5 ms", "period": "10 ms"})])
def test_no_domain_says_idle_where_guests_have_other_cores_or_wait_for_their_budget(
    config: str, more: dict[str, str]
) -> None:
    plan = planned(config, **more)
    assert IDLE not in {pd.name for pd in plan.pds}
    assert IDLE not in {end.pd for channel in plan.channels for end in channel.ends}


def test_idle_at_a_guests_priority_breaks_the_order_of_priorities() -> None:
    (violation,) = check_plan(with_pd(planned(), IDLE, priority=1))
    assert violation.invariant == "priority-order"
