# SPDX-License-Identifier: BSD-2-Clause
"""Writes a build folder: images, device trees, overlays, the system description file, the report and the manifest.

build/<system>/
    <system>.system          what the microkit tool reads
    images/                  kernel and initramfs of each image (guests of one image share them)
    guests/<guest>/          its device tree and the archive that is appended to its initramfs
    plan.json  report.html   what was decided, for programs and for people
    programs/  loader.img    with a Microkit SDK: the protection domains' programs and the bootable image
    objects/                 intermediate files and the tools' logs
    manifest.json            every input and output with its SHA-256
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from router import files
from router.checks import check_plan
from router.description.models import ImageFiles
from router.description.sdk_versions import sdk_features
from router.devicetree import AddressRange, GuestGic, GuestTreeSpec, Tree, VirtioSlot, client_tree, server_tree
from router.errors import DescriptionError
from router.guests.image import GuestImage, build_image
from router.isolation.compare import IsolationError
from router.isolation.proof import prove
from router.linux_boot import HEADER_SIZE, NotAKernelImage, read_kernel_header
from router.microkit.configuration import Loaded
from router.microkit.loader_image import LoaderImage, build_loader_image, discard, discard_ours
from router.microkit.sdk import Sdk
from router.microkit.system import render_system
from router.own_kernel import plain_kernel
from router.pipeline.folder import prepare_folder
from router.pipeline.inputs import Planned, Progress, image_definitions, lock_file, report
from router.pipeline.layout import GuestFiles, GuestLayout, place
from router.pipeline.manifest import manifest
from router.pipeline.overlay import overlay
from router.plan.domains import payload_files
from router.plan.models import GuestPlan, SystemPlan
from router.plan.system import plan_system
from router.report import plan_json, report_html
from router.report.image import image_isolation
from router.report.isolation import Isolation, parse_isolation


@dataclass(frozen=True)
class Built:
    """A build folder and what is in it."""

    folder: Path
    plan: SystemPlan
    guests: dict[str, GuestFiles]
    images: dict[str, GuestImage]
    loader_image: LoaderImage | None = None
    """None without an SDK, or when only what a split run needs was asked for."""
    isolation: Isolation | None = None
    """Who may do what in the loader image, where the SDK tells its capabilities."""


def guest_tree_spec(plan: SystemPlan, guest: GuestPlan, layout: GuestLayout | None) -> GuestTreeSpec:
    """What the device tree of a guest says beside the board's own nodes."""
    gic = plan.board.gic
    second = gic.cpu_interface if gic.version == 2 else gic.redistributors(guest.vcpus)
    assert second is not None, "a board's GIC has the second frame of its version"
    return GuestTreeSpec(
        name=guest.name,
        memory=AddressRange(guest.ram.start, guest.ram.size),
        vcpus=guest.vcpus,
        gic=GuestGic(
            version=3 if gic.version == 3 else 2,
            distributor=AddressRange(gic.distributor.start, gic.distributor.size),
            cpu=AddressRange(second.start, second.size),
        ),
        bootargs=guest.bootargs,
        initrd=AddressRange(layout.initrd.start, layout.initrd.size) if layout else AddressRange(guest.ram.start, 0),
        virtio=tuple(VirtioSlot(device.address, device.irq) for device in guest.virtio),
    )


def guest_tree(planned: Planned, plan: SystemPlan, guest: GuestPlan, layout: GuestLayout | None) -> Tree:
    """The tree of one guest: the board's, pruned, for the one that owns devices; a minimal one for the others."""
    spec = guest_tree_spec(plan, guest, layout)
    closure = planned.closures.get(guest.name)
    if closure is None or planned.tree is None:
        return client_tree(spec)
    return server_tree(planned.tree, closure, spec)


def own_files(planned: Planned, guest: GuestPlan) -> tuple[Path, Path] | None:
    """Kernel and initramfs that the user names for a guest, or None."""
    image = planned.loaded.description.guests[guest.name].image
    if not isinstance(image, ImageFiles):
        return None
    base = planned.loaded.path.parent
    return base / image.kernel, base / image.initramfs


def collect_images(planned: Planned, cache: Path, progress: Progress, refresh: bool) -> dict[str, GuestImage]:
    """Build (or take from the cache) every image that a guest names."""
    lock = lock_file(planned.loaded)
    return {
        name: build_image(definition, cache=cache, progress=progress, refresh=refresh, lock=lock)
        for name, definition in image_definitions(planned.loaded).items()
    }


def place_guest(
    planned: Planned, guest: GuestPlan, images: dict[str, GuestImage], folder: Path
) -> tuple[GuestFiles, dict[str, int]]:
    """Write one guest's files; where they are, and their sizes by their names in the build folder."""
    names = payload_files(guest)
    paths = {kind: folder / name for kind, name in names.items()}
    own = own_files(planned, guest)
    kernel, base = own if own else (images[guest.image].kernel, images[guest.image].initramfs)
    files.copy(base, paths["initramfs"])
    try:
        plain = plain_kernel(kernel) if own else None
        if plain is None:
            files.copy(kernel, paths["kernel"])
        else:
            files.write(paths["kernel"], plain)
        with paths["kernel"].open("rb") as file:
            head = file.read(HEADER_SIZE)
        header = read_kernel_header(head, paths["kernel"].stat().st_size)
    except NotAKernelImage as error:
        raise DescriptionError(str(error), error.hint, str(kernel)) from error
    files.write(paths["overlay"], overlay(planned.plan, guest))
    draft = guest_tree(planned, planned.plan, guest, None).to_bytes()
    try:
        layout = place(
            guest.name,
            guest.ram,
            header,
            base_size=paths["initramfs"].stat().st_size,
            overlay_size=paths["overlay"].stat().st_size,
            tree_size=len(draft),
        )
    except DescriptionError as error:
        error.where = error.where or planned.loaded.place(("guests", guest.name, "memory"))
        raise
    tree = guest_tree(planned, planned.plan, guest, layout).to_bytes()
    files.write(paths["dtb"], tree)
    layout = replace(layout, tree=replace(layout.tree, size=len(tree)))
    placed = GuestFiles(paths["kernel"], paths["initramfs"], paths["overlay"], paths["dtb"], layout)
    return placed, {names[kind]: path.stat().st_size for kind, path in paths.items()}


def build(
    planned: Planned,
    folder: Path,
    cache: Path,
    progress: Progress,
    *,
    refresh: bool = False,
    loader_image: bool = True,
) -> Built:
    """Write the build folder of a planned system; a second run with the same input writes nothing anew.

    refresh: ask the package sources for newer versions instead of taking those that were chosen before.
    loader_image: also make `loader.img`, where there is an SDK; a split run does not need it.
    """
    prepare_folder(folder)
    images = collect_images(planned, cache, progress, refresh)
    # The guests' files need the draft plan's addresses, and the final plan needs the files' sizes.
    placed: dict[str, GuestFiles] = {}
    sizes: dict[str, int] = {}
    for guest in planned.plan.guests:
        placed[guest.name], more = place_guest(planned, guest, images, folder)
        sizes |= more
    plan = final_plan(planned, sizes)
    report(planned.loaded, check_plan(plan))
    files.write(folder / f"{plan.name}.system", render_system(plan))
    files.write(folder / "plan.json", plan_json(plan))
    image, isolation = None, None
    try:
        if planned.sdk is None:
            discard_ours(folder)
        elif loader_image:
            loaded = {name: load_places(each) for name, each in placed.items()}
            image = build_loader_image(plan, planned.sdk, loaded, folder, progress)
            isolation = judge_image(plan, planned.sdk, folder)
    finally:
        files.write(folder / "report.html", report_html(plan, isolation))
    files.write(folder / "manifest.json", manifest(planned, plan, images, folder))
    return Built(folder, plan, placed, images, image, isolation)


def judge_image(plan: SystemPlan, sdk: Sdk, folder: Path) -> Isolation | None:
    """Who may do what in the image of a build folder; None where the SDK does not tell the capabilities.

    IsolationError, and no image any more, when that is not what the description says.
    """
    if not sdk_features(sdk.version).capabilities:
        return None
    try:
        proof = prove(plan, sdk, folder)
    except IsolationError:
        discard(folder)
        raise
    return image_isolation(proof, parse_isolation(render_system(plan)))


def load_places(guest: GuestFiles) -> Loaded:
    """What a guest's VMM must know to load it."""
    layout = guest.layout
    return Loaded(guest.kernel.stat().st_size, layout.tree, layout.base, layout.overlay)


def final_plan(planned: Planned, sizes: dict[str, int]) -> SystemPlan:
    """The draft plan again, with the sizes of the files now made in place of the assumed ones; nothing else differs.

    sizes: bytes by names in the build folder.
    """
    if not planned.plan.guests:
        return planned.plan
    return plan_system(
        planned.loaded.description,
        planned.board,
        roles={guest.name: guest.role for guest in planned.plan.guests},
        passthrough={guest.name: guest.passthrough for guest in planned.plan.guests},
        sdk=planned.plan.sdk,
        sizes=sizes,
    )
