"""The deployment plan of a Microkit system: what `router build` writes beside loader.img."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router import files
from router.machines.board.bootimage import wrap_for_booti
from router.machines.board.plan import Consoles, DeployPlan, Milestone, payload, write_plan

LOADER = "loader.img"
BOOTI = "loader.booti"


def write_system(
    folder: Path,
    *,
    system: str,
    board: str,
    config: str,
    address: int,
    start: str,
    servers: Sequence[str],
    clients: Sequence[str],
    consoles: Sequence[str] = (),
    prompt: str = "=> ",
    baud: int = 115200,
    identity: str | None = None,
) -> DeployPlan:
    """Write `deploy.json` for the `loader.img` in a build folder, and return the plan.

    address: where the loader must be, in bytes. start: U-Boot's command, or "booti" for boot loaders that cannot `go`:
    then a copy with a header is made beside it. config: Microkit's; only `debug` lets the loader and seL4 speak.
    servers, clients: guests that run the USB/IP daemon, and guests that have devices attached. consoles: the names on
    the serial line in the multiplexer's order. prompt, baud and identity are board facts (see DeployPlan).
    """
    spoken = [Milestone(name="loader", pattern=r"LDR\|INFO")] if config == "debug" else []
    spoken += [Milestone(name="seL4", pattern="Booting all finished")] if config == "debug" else []
    up = [_of(guest, "up", "userspace up") for guest in [*servers, *clients]]
    listening = [_of(guest, "listening", "usbipd listening") for guest in servers]
    attached = [_of(guest, "device attached", "attached", required=False) for guest in clients]
    item = payload(folder, LOADER, address)
    if start == "booti":
        image = wrap_for_booti((folder / LOADER).read_bytes(), address)
        files.write(folder / BOOTI, image.data)
        item = payload(folder, BOOTI, image.address)
        start = f"booti {image.address:#x} - ${{fdtcontroladdr}}"
    plan = DeployPlan(
        system=system,
        board=board,
        payloads=(item,),
        start=start,
        baud=baud,
        prompt=prompt,
        milestones=(*spoken, *up, *listening, *attached),
        identity=identity,
        consoles=Consoles(names=tuple(consoles)),
    )
    write_plan(folder, plan)
    return plan


def _of(guest: str, name: str, text: str, *, required: bool = True) -> Milestone:
    """A milestone that the guest tells itself (docs/reference/milestones.md)."""
    return Milestone(name=f"{guest} {name}", pattern=f"router: guest {guest}: {text}", required=required)
