# SPDX-License-Identifier: BSD-2-Clause
"""What a plan is made from, gathered: the board, its device tree, who owns what of it, the guests' roles, the SDK."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from router import resources
from router.boards import board as find_board
from router.boards.model import Board, EmulatedBoard
from router.checks import Violation, check_plan
from router.description.diagnostics import Diagnostic
from router.description.guest_image import Definition, OwnParts, load_definition
from router.description.load import LoadedDescription
from router.description.models import (
    OWN_FILES,
    Description,
    ExtendedImage,
    ImageFiles,
    guests_with_disks,
    image_names_of,
)
from router.devicetree import Closure, Tree, base_tree, conflicts, dependency_closure, passthrough_device
from router.devicetree.closure import is_usb_controller
from router.devicetree.memory import withheld
from router.devicetree.power import switches
from router.errors import DescriptionError, RouterError
from router.guests.drivers import cached_drivers
from router.guests.lock import NAME as LOCK_NAME
from router.microkit import sdk as sdks
from router.microkit.sdk import Sdk, find_sdk
from router.own_kernel import own_kernel
from router.pipeline.drivers import driver_notes
from router.plan.domains import own_payload_files
from router.plan.models import Passthrough, SystemPlan
from router.plan.ownership import passthrough
from router.plan.stages import WHOLE
from router.plan.system import plan_system
from router.words import listing

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """A description with its plan and all that the plan was made from."""

    loaded: LoadedDescription
    board: Board
    """With what its device tree withholds from guests among what is reserved."""
    tree: Tree | None
    """The board's device tree; None when nothing of it is needed."""
    closures: dict[str, Closure]
    sdk: Sdk | None
    plan: SystemPlan
    """The draft: sizes of the files that the build makes are assumed. `router.pipeline.build` makes the final plan."""
    stage: int = WHOLE
    """Which part of the description's system this is (router.pipeline.stages)."""


def roles(description: Description) -> dict[str, str]:
    """What each guest does for USB: its image says."""
    return {
        name: guest.image.role
        if isinstance(guest.image, ImageFiles)
        else load_definition(base_of(guest.image)).image.role
        for name, guest in description.guests.items()
    }


def base_of(image: str | ExtendedImage) -> str:
    """The image under guest-images/ that this is, or extends."""
    return image.extends if isinstance(image, ExtendedImage) else image


def image_definitions(loaded: LoadedDescription) -> dict[str, Definition]:
    """The definition of each image that the guests have, by the build's names for them."""
    found: dict[str, Definition] = {}
    with_disks = guests_with_disks(loaded.description)
    for guest, name in image_names_of(loaded.description).items():
        image = loaded.description.guests[guest].image
        if name in found or isinstance(image, ImageFiles):
            continue
        base = load_definition(base_of(image))
        if guest in with_disks:
            base = base.with_disks()
        if not isinstance(image, ExtendedImage):
            found[name] = base
            continue
        folder = loaded.path.parent
        own = OwnParts(
            packages=image.packages,
            files=folder / image.files if image.files is not None else None,
            run=folder / image.run if image.run is not None else None,
            place=loaded.place(("guests", guest, "image")),
        )
        found[name] = base.extended(name, own, image.modules)
    return found


def board_tree(loaded: LoadedDescription, board: Board, cache: Path, progress: Progress) -> Tree:
    """The board's device tree, or the blob that the description names instead."""
    own = loaded.description.device_tree
    override = loaded.path.parent / own if own is not None else None
    return base_device_tree(board, override, cache, progress, lock_file(loaded))


def lock_folder(loaded: LoadedDescription) -> Path:
    """Where the lock of the guests' packages of a description lies: in its folder; of a shipped one in the current
    folder, because nothing of the user's is written into the program's folders.
    """
    shipped = loaded.path.resolve().is_relative_to(resources.folder("system-descriptions"))
    return Path() if shipped else loaded.path.parent


def lock_file(loaded: LoadedDescription) -> Path | None:
    """The lock that a description's build follows, where there is one."""
    path = lock_folder(loaded) / LOCK_NAME
    return path if path.is_file() else None


def base_device_tree(
    board: Board, override: Path | None, cache: Path, progress: Progress, lock: Path | None = None
) -> Tree:
    """The board's device tree; one that comes with the guests' kernel is fetched if need be."""

    def fetch(name: str) -> Path:
        from router.guests.image import kernel_dtbs  # all that builds images comes with it

        return kernel_dtbs(cache=cache, progress=progress, lock=lock) / name

    return base_tree(board.tree, fetch, override)


def closures(loaded: LoadedDescription, tree: Tree) -> dict[str, Closure]:
    """For each guest that owns devices, these and all they depend on; every unknown device is reported at its place."""
    found: dict[str, Closure] = {}
    switched: dict[str, str] = {}
    wrong = []
    for name, guest in loaded.description.guests.items():
        if not guest.passthrough:
            continue
        bad = False
        for place, reference in enumerate(guest.passthrough):
            try:
                passthrough_device(tree, reference)
            except DescriptionError as error:
                wrong.append(loaded.diagnostic(("guests", name, "passthrough", place), error.message, error.hint))
                bad = True
        if not bad:
            found[name] = dependency_closure(tree, guest.passthrough, name, switched)
            switched |= dict.fromkeys(found[name].unnamed_switches, name)
    wrong += [
        loaded.diagnostic(("guests", clash.second_guest, "passthrough"), clash.message, clash.hint)
        for clash in conflicts(list(found.values()))
    ]
    loaded.raise_if(wrong)
    return found


def without_unmodelled(loaded: LoadedDescription, tree: Tree, model: EmulatedBoard) -> Tree:
    """The board's tree reduced to what QEMU's machine has: references from pass-through devices to absent parts go, and
    so do the switches of sockets' power.
    """
    reduced = tree.copy()
    for switch in switches(reduced):
        if not switch.named:
            switch.node.detach()
    for guest in loaded.description.guests.values():
        for reference in guest.passthrough:
            node = reduced.resolve(reference)
            for name in model.unmodelled:
                node.remove_property(name)
    return reduced


def plan_loaded(loaded: LoadedDescription, cache: Path, progress: Progress, *, emulated: bool = False) -> Planned:
    """Plan and check a description; DescriptionErrors with everything that is wrong with it.

    emulated: for QEMU's machine, which may lack parts of the board, instead of for the board.
    """
    description = loaded.description
    board = find_board(description.board)
    needed = description.device_tree is not None or any(guest.passthrough for guest in description.guests.values())
    tree = board_tree(loaded, board, cache, progress) if needed else None
    if tree is not None and emulated and board.emulated is not None and board.emulated.unmodelled:
        closures(loaded, tree)  # what is wrong with the description is said in terms of the board itself
        tree = without_unmodelled(loaded, tree, board.emulated)
    owned = closures(loaded, tree) if tree is not None else {}
    if tree is not None:
        kept = withheld(tree, board.ram, [place for _, place in board.reserved])
        board = replace(board, reserved=(*board.reserved, *kept))
    loaded.raise_if(unknown_controllers(loaded, owned))
    sdk = find_sdk(description.microkit.sdk, board.microkit, description.microkit.config)
    plan = plan_system(
        description,
        board,
        roles=roles(description),
        passthrough={name: with_drivers(loaded, name, closure, cache) for name, closure in owned.items()},
        sdk=sdk.version if sdk is not None else None,
        sizes=own_sizes(loaded),
    )
    report(loaded, check_plan(plan))
    return Planned(loaded, board, tree, owned, sdk, plan)


def with_drivers(loaded: LoadedDescription, guest: str, closure: Closure, cache: Path) -> Passthrough:
    """What a guest owns, with a note for each node that its image has no driver for.

    Nothing is fetched for this: before the first build the image's kernel may not be there, which a note says where
    the tree is the user's own.
    """
    owned = passthrough(closure)
    image = loaded.description.guests[guest].image
    if isinstance(image, ImageFiles):
        return owned
    try:
        name = image_names_of(loaded.description)[guest]
        drivers = cached_drivers(image_definitions(loaded)[name], cache=cache, lock=lock_file(loaded))
        notes = driver_notes(closure, name, drivers) if drivers is not None else None
    except RouterError:  # the build needs the same and says what is wrong
        notes = None
    if notes is None:
        unchecked = (
            f"whether the image '{base_of(image)}' has all drivers is not checked: `router build` fetches its kernel"
        )
        notes = (unchecked,) if loaded.description.device_tree is not None else ()
    return replace(owned, notes=(*owned.notes, *notes))


def unknown_controllers(loaded: LoadedDescription, owned: Mapping[str, Closure]) -> Iterator[Diagnostic]:
    """USB rules that name a port by a controller in the device tree which the exporting guest does not own."""
    exporting = [name for name, role in roles(loaded.description).items() if role == "server"]
    wanted = [(("usb", index, "path"), rule) for index, rule in enumerate(loaded.description.usb)]
    wanted += [(("disks", index, "on"), part.as_rule()) for index, part in enumerate(loaded.description.disks)]
    for place, rule in wanted:
        controller = rule.path.partition("/")[0] if rule.path is not None and "@" in rule.path else None
        source = rule.source or next(iter(exporting), None)
        closure = owned.get(source or "")
        if controller is None or closure is None or any(member.name == controller for member in closure.members):
            continue
        has = [member.name for member in closure.members if is_usb_controller(member.name)]
        yield loaded.diagnostic(
            place,
            f"the guest '{source}' does not own '{controller}'",
            f"its USB controllers are {listing(has)}" if has else "a controller on PCI is named by its PCI address",
        )


def require_sdk(planned: Planned) -> None:
    """HostError where no SDK that fits the system is installed.

    `router run --mode split` works without.
    """
    if planned.sdk is None:
        microkit = planned.loaded.description.microkit
        sdks.require_sdk(microkit.sdk.value, planned.board.microkit, microkit.config)


def own_sizes(loaded: LoadedDescription) -> dict[str, int]:
    """Bytes of the kernels and initramfs archives that the user names, by their names in the build folder."""
    sizes = {}
    image_names = image_names_of(loaded.description)
    for name, guest in loaded.description.guests.items():
        if isinstance(guest.image, ImageFiles):
            names = own_payload_files(image_names[name].removeprefix(OWN_FILES))
            _, sizes[names["kernel"]] = own_kernel(loaded.path.parent / guest.image.kernel)
            sizes[names["initramfs"]] = (loaded.path.parent / guest.image.initramfs).stat().st_size
    return sizes


def report(loaded: LoadedDescription, violations: tuple[Violation, ...]) -> None:
    """Raise what the checks found, each at the place in the description that causes it."""
    loaded.raise_if([loaded.diagnostic(v.subject or (), v.message, v.hint) for v in violations])
