# SPDX-License-Identifier: BSD-2-Clause
"""The deployment plan of a Microkit system: what `router build` writes for loader.img."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from router import files, trusted
from router.control import milestones
from router.control.facts import SystemFacts
from router.deploy.bootimage import wrap_for_booti
from router.deploy.plan import AwaitedMilestone, DeployPlan, payload, write_plan
from router.deploy.stages import LADDER

LOADER = "loader.img"
BOOTI = "loader.booti"


def write_system(
    folder: Path,
    facts: SystemFacts,
    *,
    config: str,
    address: int,
    start: str,
    prompt: str = "=> ",
    baud: int = 115200,
    identity: str | None = None,
    awaited: Sequence[AwaitedMilestone] | None = None,
    own: Container[str] = (),
    boot_seconds: float = 120.0,
) -> DeployPlan:
    """Write `deploy.json` for the `loader.img` in a build folder, and return the plan.

    address: where the loader must be, in bytes. start: U-Boot's command, or "booti" for boot loaders that cannot `go`:
    then a copy with a header is made. config: Microkit's; only `debug` lets the loader and seL4 speak.
    prompt, baud and identity are board facts (see DeployPlan). awaited: what must be seen, where that is not what a
    whole system shows. own: the guests with a kernel and an initramfs of the user's own.
    """
    item = payload(folder, LOADER, address)
    if start == "booti":
        image = wrap_for_booti((folder / LOADER).read_bytes(), address)
        files.write(folder / BOOTI, image.data)
        trusted.remember(folder / BOOTI, BOOTI)
        item = payload(folder, BOOTI, image.address)
        start = f"booti {image.address:#x} - ${{fdtcontroladdr}}"
    plan = DeployPlan(
        system=facts.system,
        board=facts.board,
        payloads=(item,),
        start=start,
        baud=baud,
        prompt=prompt,
        milestones=tuple(awaited) if awaited is not None else whole_milestones(facts, config, own),
        identity=identity,
        facts=facts if facts.guests else None,
        boot_seconds=boot_seconds,
    )
    write_plan(folder, plan)
    return plan


def whole_milestones(facts: SystemFacts, config: str, own: Container[str] = ()) -> tuple[AwaitedMilestone, ...]:
    """What a whole system shows; a device may not be plugged in. Of an `own` image only its VMM's word is sure."""
    receiving = {grant["to"] for grant in facts.grants}
    servers = [guest.name for guest in facts.guests if guest.role == "server"]
    clients = [guest.name for guest in facts.guests if guest.name in receiving]
    spoken = ("loader", "seL4") if config == "debug" else ()
    system = [AwaitedMilestone(name=name, pattern=milestones.of_system(name), port="") for name in spoken]
    up = [
        _of(guest, "starts", "started") if guest in own else _of(guest, "up", "userspace")
        for guest in [*servers, *clients]
    ]
    listening = [_of(guest, "listening", "listening") for guest in servers if guest not in own]
    attached = [_of(guest, "device attached", "attached", required=False) for guest in clients]
    return tuple(
        replace(each, look=LADDER) if each.required else each for each in (*system, *up, *listening, *attached)
    )


def _of(guest: str, name: str, milestone: str, *, required: bool = True) -> AwaitedMilestone:
    """A milestone that the guest itself prints."""
    pattern = milestones.of_guest(guest, milestone)
    return AwaitedMilestone(name=f"{guest} {name}", pattern=pattern, required=required, port=guest)
