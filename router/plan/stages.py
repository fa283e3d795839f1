# SPDX-License-Identifier: BSD-2-Clause
"""A system in stages, for the first start of a board: each stage adds one thing that can go wrong.

Pure: a description or a plan goes in, a smaller one comes out. What must be seen of each is in `router.deploy.stages`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

from router.description.models import Description, ImageFiles
from router.plan import names
from router.plan.domains import CONSOLE_DEADLINE, CONSOLE_PRIORITY
from router.plan.models import Channel, End, ProtectionDomain, SystemPlan
from router.plan.notes import plan_notes

SERIAL, TIMER, CLIENT, GUESTS, WHOLE = range(1, 6)
TITLES = {
    SERIAL: "the loader, the kernel and the serial port",
    TIMER: "the timer",
    CLIENT: "one guest without devices",
    GUESTS: "all guests and the switch, without devices of the board",
    WHOLE: "the whole system",
}
"""What each stage has that the one before it has not."""


def stage_name(system: str, stage: int) -> str:
    """What a stage of a system is called, and its build folder."""
    return system if stage == WHOLE else f"{system}-stage{stage}"


def first_client(roles: Mapping[str, str], own: Container[str] = ()) -> str:
    """The guest of stage CLIENT: the first one that uses devices of others, else the first that exports none.

    own: guests with a kernel and an initramfs of the user's own. Any other comes first: an image of ours says
    how far it has come.
    """
    order = ("client", "none")
    ranks = {name: (name in own, order.index(role) if role in order else len(order)) for name, role in roles.items()}
    return min(ranks, key=ranks.__getitem__)


def stage_description(description: Description, stage: int, roles: Mapping[str, str]) -> Description:
    """The description of a stage. Without guests' devices, rules of guests that are left out, and root file systems on
    routed disks; SERIAL and TIMER have no guests in the end, which `first_steps` sees to. Each rule names its
    server, which nothing else shows once no guest has devices.

    roles: `server`, `client` or `none` for each guest, in the description's order.
    """
    if stage == WHOLE:
        return description
    own = {name for name, guest in description.guests.items() if isinstance(guest.image, ImageFiles)}
    kept = {first_client(roles, own)} if stage < GUESTS else set(description.guests)
    bare: dict[str, object] = {"passthrough": (), "smc": (), "root": None}
    exporting = next((name for name in description.guests if roles[name] == "server"), None)
    allow = description.network.allow
    if allow is not None:
        allow = tuple(rule for rule in allow if {rule.source, rule.destination} <= kept)
    return description.model_copy(
        update={
            "system": stage_name(description.system, stage),
            "guests": {
                name: guest.model_copy(update=bare) for name, guest in description.guests.items() if name in kept
            },
            "network": description.network.model_copy(update={"allow": allow}),
            "usb": tuple(
                rule if rule.source else rule.model_copy(update={"source": exporting}) for rule in description.usb
            )
            if stage == GUESTS
            else (),
            "disks": tuple(
                part if part.source else part.model_copy(update={"source": exporting}) for part in description.disks
            )
            if stage == GUESTS
            else (),
        }
    )


def first_steps(plan: SystemPlan, *, timer: bool) -> SystemPlan:
    """A plan without guests: in the console's place a domain that says what it hears, and with `timer` counts ticks."""
    drivers = [pd for pd in plan.pds if timer and pd.name in names.TIMERS]
    console = next(pd for pd in plan.pds if pd.name == names.CONSOLE)
    bringup = ProtectionDomain(
        names.BRINGUP,
        names.program(names.BRINGUP),
        CONSOLE_PRIORITY,
        maps=tuple(each for each in console.maps if each.region == names.UART),
        irqs=console.irqs,
    )
    pds = (*drivers, bringup)
    there = {pd.name for pd in pds}
    channels = [each for each in plan.channels if all(end.pd in there for end in each.ends)]
    if timer:
        deadlines = End(names.BRINGUP, CONSOLE_DEADLINE, pp=True), End(names.TIMER, CONSOLE_DEADLINE)
        channels.append(Channel(*deadlines, "ticks that are counted"))
    mapped = {each.region for pd in pds for each in pd.maps}
    return plan.but(
        regions=tuple(region for region in plan.regions if region.name in mapped),
        pds=pds,
        channels=tuple(channels),
        guests=(),
        vswitch=replace(plan.vswitch, ports=(), rules=()),
        grants=(),
        notes=plan_notes(plan.board, plan.config, plan.sdk, (), ()),
    )
