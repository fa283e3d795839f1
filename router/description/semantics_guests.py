# SPDX-License-Identifier: BSD-2-Clause
"""Rules about the board, the SDK and each guest."""

from __future__ import annotations

from collections.abc import Iterator

from router.description.models import ExtendedImage, Guest, ImageFiles
from router.description.parts import Finding, Parts
from router.description.sdk_versions import SdkFeatures, SdkVersion, oldest_with, sdk_features
from router.description.semantics_usb import may_be_disk
from router.linux_boot import MEMORY_STEP, too_little_memory
from router.words import listing, nearest, size_text

RESERVED = ("monitor", "vswitch", "console", "timer", "ticker", "idle", "images", "system", "serial", "qemu")
"""Names of protection domains of ours, Microkit's own (`monitor`), and of folders in the build output; the name under
which the console multiplexer speaks of the protection domains (`system`); and logs of `router run` that are no guest's.
"""
MONITOR = "vmm_"
"""What the name of a guest's monitor, a protection domain, begins with; the guest's own name follows."""


def readable(parts: Parts) -> Iterator[tuple[str, Guest]]:
    """The guests without errors of their own."""
    for name, guest in parts.guests.items():
        if guest is not None:
            yield name, guest


def board(parts: Parts) -> Iterator[Finding]:
    """The board is one that is known."""
    known = parts.catalogue.boards
    if parts.board is not None and parts.board not in known:
        near = nearest(parts.board, known)
        hint = f"did you mean '{near}'?" if near else f"known boards: {', '.join(known)}"
        yield Finding(("board",), f"unknown board '{parts.board}'", hint)


def wanted_features(parts: Parts) -> SdkFeatures | None:
    """The features of the SDK version that the description asks for; None for `auto`, and where it cannot be read."""
    wanted = parts.microkit.sdk if parts.microkit is not None else SdkVersion.AUTO
    return None if wanted is SdkVersion.AUTO else sdk_features(wanted)


def microkit(parts: Parts) -> Iterator[Finding]:
    """What is asked of the SDK is in the version that is asked for."""
    chosen = parts.microkit
    if chosen is None:
        return
    smp = chosen.config.startswith("smp-")
    features = wanted_features(parts)
    if smp and features is not None and not features.cores:
        yield Finding(
            ("microkit", "config"),
            f"SDK {features.version} has no configuration '{chosen.config}'",
            f"write config: {chosen.config.removeprefix('smp-')}, or sdk: {oldest_with('cores')} or newer",
            related=((("microkit", "sdk"), "this version"),),
        )
    for name, guest in readable(parts):
        if guest.cpu is not None and not smp:
            yield Finding(
                ("guests", name, "cpu"),
                f"'cpu' needs a multicore configuration, and '{chosen.config}' uses one core",
                f"write microkit: {{config: smp-{chosen.config}}}, or remove 'cpu'",
            )


def names(parts: Parts) -> Iterator[Finding]:
    """No guest takes a name that is used within: Microkit has one name space for domains and virtual machines."""
    for name in parts.guests:
        if name in RESERVED:
            yield Finding(
                ("guests", name), f"the name '{name}' is reserved", "choose another name for this guest", key=True
            )
        monitored = name.removeprefix(MONITOR)
        if monitored != name and monitored in parts.guests:
            yield Finding(
                ("guests", name),
                f"'{name}' is the name of the protection domain that runs the guest '{monitored}'",
                "choose another name for this guest",
                key=True,
                related=((("guests", monitored), "the guest that it runs"),),
            )


def shipped_image(guest: Guest) -> str | None:
    """The image under guest-images/ that a guest has or extends; None for files of the user's own."""
    match guest.image:
        case ImageFiles():
            return None
        case ExtendedImage(extends=base):
            return base
        case name:
            return name


def images(parts: Parts) -> Iterator[Finding]:
    """Each named image exists, and a guest that is to export devices owns some."""
    known = list(parts.catalogue.images)
    for name, guest in readable(parts):
        wanted, path = shipped_image(guest), ("guests", name, "image")
        if known and wanted is not None and wanted not in known:
            near = nearest(wanted, known)
            hint = f"did you mean '{near}'?" if near else f"images under guest-images/: {', '.join(known) or 'none'}"
            place = (*path, "extends") if isinstance(guest.image, ExtendedImage) else path
            yield Finding(place, f"unknown image '{wanted}'", hint)
        if parts.role(name) == "server" and not guest.passthrough:
            shown = "passthrough" in guest.model_fields_set
            yield Finding(
                ("guests", name, "passthrough") if shown else ("guests", name),
                f"the server '{name}' owns no device, so it cannot export USB devices",
                f"add passthrough: [NODE] with a USB controller; `router board {parts.board}` lists the nodes",
                key=not shown,
            )


def memory(parts: Parts) -> Iterator[Finding]:
    """RAM in large pages, and enough of it to boot a shipped image (`files` knows the sizes of the others)."""
    for name, guest in readable(parts):
        path = ("guests", name, "memory")
        shipped = shipped_image(guest)
        least = parts.catalogue.boot_memory(shipped) if shipped is not None else None
        if least is not None and guest.memory < least:
            yield Finding(path, *too_little_memory(guest.memory, least))
        elif guest.memory % MEMORY_STEP or not guest.memory:
            down = guest.memory // MEMORY_STEP * MEMORY_STEP
            near = [size_text(size) for size in (down, down + MEMORY_STEP) if size]
            yield Finding(path, f"{size_text(guest.memory)} is not a multiple of 2 MiB", f"write {listing(near)}")


def scheduling(parts: Parts) -> Iterator[Finding]:
    """A budget and its period come together, and the budget fits in."""
    for name, guest in readable(parts):
        if guest.budget is not None and guest.period is None:
            yield Finding(
                ("guests", name, "budget"), "'budget' needs a 'period'", "add a period, such as period: 10 ms"
            )
        elif guest.period is not None and guest.budget is None:
            yield Finding(("guests", name, "period"), "'period' needs a 'budget'", "add a budget, such as budget: 5 ms")
        elif guest.budget is not None and guest.period is not None and guest.budget > guest.period:
            yield Finding(
                ("guests", name, "budget"),
                "the budget is longer than the period",
                "write a budget of at most the period",
                related=((("guests", name, "period"), "the period"),),
            )


def firmware_calls(parts: Parts) -> Iterator[Finding]:
    """SMC calls are named once, and the SDK can forward them."""
    features = wanted_features(parts)
    for name, guest in readable(parts):
        if guest.smc and features is not None and not features.smc:
            yield Finding(
                ("guests", name, "smc"),
                f"SDK {features.version} cannot forward SMC calls",
                f"write microkit: {{sdk: auto}}, or a version from {oldest_with('smc')} on",
                related=((("microkit", "sdk"), "this version"),),
            )
        for index, call in enumerate(guest.smc):
            first = guest.smc.index(call)
            if first < index:
                yield Finding(
                    ("guests", name, "smc", index),
                    f"duplicate SMC call 0x{call:08X}",
                    "remove one of them",
                    related=((("guests", name, "smc", first), "first"),),
                )


def passthrough(parts: Parts) -> Iterator[Finding]:
    """A device is given once. Two names of one device are found in the plan, which has the device tree."""
    given: dict[str, tuple[str, int]] = {}
    for name, guest in readable(parts):
        for index, device in enumerate(guest.passthrough):
            first = given.setdefault(device, (name, index))
            if first == (name, index):
                continue
            both = first[0] == name
            yield Finding(
                ("guests", name, "passthrough", index),
                f"duplicate device '{device}'" if both else f"'{device}' is assigned to both '{first[0]}' and '{name}'",
                "remove one of them" if both else "a device has one owner: remove it from one of the guests",
                related=((("guests", first[0], "passthrough", first[1]), "first"),),
            )


def roots(parts: Parts) -> Iterator[Finding]:
    """A root file system is named in one way, and lies on a disk that a rule may bring."""
    for name, guest in readable(parts):
        if guest.root is None:
            continue
        path = ("guests", name, "root")
        if (guest.root.label is None) == (guest.root.partuuid is None):
            yield Finding(
                path, "the root is named by one of 'label' and 'partuuid'", "write root: {label: NAME}", key=True
            )
        if parts.role(name) in ("server", "none"):
            yield Finding(
                path,
                f"'{name}' receives no disk to have its root on: its image is not a client image",
                "remove 'root', or give the guest a client image",
                key=True,
            )
        elif guest.automount:
            yield Finding(
                path,
                f"'automount' would mount the root of '{name}' a second time",
                "remove 'automount': the root's own system mounts other disks",
                key=True,
                related=((("guests", name, "automount"), "here"),),
            )
        elif shipped_image(guest) in parts.catalogue.read_only:
            yield Finding(
                path,
                f"'{name}' cannot go on in a root of its own: its image '{shipped_image(guest)}' is read-only",
                "remove 'root', or read_only from the image: the initramfs has to be moved",
                key=True,
            )
        elif parts.sure and not any(rule.to == name and may_be_disk(rule) for _, rule in parts.routes):
            yield Finding(
                path,
                f"no rule gives '{name}' the disk that its root is on",
                f"add one to usb, such as {{class: mass-storage, to: {name}}}",
                key=True,
            )


def usb_controllers(parts: Parts) -> Iterator[Finding]:
    """Only guests that use USB devices have a virtual controller."""
    for name, guest in readable(parts):
        role = parts.role(name)
        if "usb" in guest.model_fields_set and role in ("server", "none"):
            what = f"'{shipped_image(guest)}'" if not isinstance(guest.image, ImageFiles) else f"with role: {role}"
            yield Finding(
                ("guests", name, "usb"),
                f"the image {what} has no virtual USB controller",
                "remove 'usb' here, or give the guest a client image",
                key=True,
            )


def automount(parts: Parts) -> Iterator[Finding]:
    """Only disks that were routed to a guest are mounted, by a program that comes with the client images."""
    for name, guest in readable(parts):
        if not guest.automount:
            continue
        if parts.role(name) in ("server", "none"):
            hint = "remove 'automount' here, or write it at the guest that the disks are routed to"
            yield Finding(("guests", name, "automount"), f"no disk is routed to the guest '{name}'", hint, key=True)
