# SPDX-License-Identifier: BSD-2-Clause
"""What the chosen SDK version, configuration and board can do."""

from __future__ import annotations

from collections.abc import Iterator

from router.boards.model import Range
from router.checks.model import Problem, View, guest_path, invariant
from router.description.sdk_versions import KNOWN, SdkFeatures, oldest_with, sdk_features
from router.errors import DescriptionError
from router.plan.models import LARGE_PAGE, PAGE
from router.words import rounded_size, size_text


def features(view: View) -> SdkFeatures | None:
    """The chosen version's features; None when it is not a known one, which an invariant of its own reports."""
    try:
        return sdk_features(view.plan.sdk)
    except DescriptionError:
        return None


@invariant("sdk-known", "the SDK version is a known one")
def sdk_known(view: View) -> Iterator[Problem]:
    if features(view) is None:
        yield Problem(
            f"Microkit SDK {view.plan.sdk} is not known",
            ("microkit", "sdk"),
            f"write one of {', '.join(known.version for known in KNOWN)}",
        )


@invariant("sdk-config", "the SDK version has the kernel configuration", after=("sdk-known",))
def sdk_config(view: View) -> Iterator[Problem]:
    known = features(view)
    if view.plan.config.startswith("smp-") and known is not None and not known.cores:
        yield Problem(
            f"SDK {known.version} has no configuration '{view.plan.config}'",
            ("microkit", "config"),
            f"use SDK {oldest_with('cores')} or newer, or '{view.plan.config.removeprefix('smp-')}'",
        )


@invariant("cores", "'cpu' is used only with an smp configuration, and the board has that core", after=("sdk-config",))
def cores(view: View) -> Iterator[Problem]:
    board, config = view.plan.board, view.plan.config
    for pd in view.plan.pds:
        wanted = {pd.cpu} | {vcpu.cpu for vcpu in (pd.vm.vcpus if pd.vm is not None else ())}
        subject = guest_path(pd.vm.name, "cpu") if pd.vm is not None else None
        for core in sorted(each for each in wanted if each is not None):
            if not config.startswith("smp-"):
                yield Problem(
                    f"'{pd.name}' needs core {core}, but the configuration '{config}' uses one core",
                    subject,
                    f"write 'config: smp-{config}' (SDK {oldest_with('cores')} or newer), or leave 'cpu' out",
                )
            elif not 0 <= core < board.cores:
                yield Problem(f"'{pd.name}' needs core {core}; {board.title} has cores 0 to {board.cores - 1}", subject)


@invariant("sdk-smc", "SMC calls are forwarded only with an SDK version that supports it", after=("sdk-known",))
def sdk_smc(view: View) -> Iterator[Problem]:
    known = features(view)
    for pd in view.plan.pds:
        if pd.smc and known is not None and not known.smc:
            yield Problem(
                f"'{pd.name}' forwards SMC calls, and the kernels of SDK {known.version} are built without them",
                guest_path(pd.vm.name, "smc") if pd.vm is not None else None,
                f"use SDK {oldest_with('smc')} or newer, or leave 'smc' out",
            )


def blocks(place: Range) -> Iterator[Range]:
    """The naturally aligned blocks of powers of two that the kernel hands RAM out in (seL4 manual, untyped memory).

    >>> [str(block) for block in blocks(Range(0x3000, 0x3000))]
    ['0x3000..0x4000', '0x4000..0x6000']
    """
    start = place.start
    while start < place.end:
        aligned = start & -start if start else place.size
        size = min(aligned, 1 << ((place.end - start).bit_length() - 1))
        yield Range(start, size)
        start += size


def free_pieces(view: View) -> Iterator[Range]:
    """What each block of RAM has left behind the last guest's RAM in it; the loader's part is free once seL4 runs."""
    board = view.plan.board
    kept = sorted((place for _, place in board.reserved if place.start != board.loader), key=lambda each: each.start)
    start = board.ram.start
    for place in (*kept, Range(board.ram.end, 0)):
        for block in blocks(Range(start, max(place.start - start, 0))):
            taken = [guest.ram.end for guest in view.plan.guests if guest.ram.overlaps(block)]
            first = min(max([block.start, *taken]), block.end)
            yield Range(first, block.end - first)
        start = max(start, place.end)


@invariant(
    "sdk-one-block",
    "an SDK version that places all pages of one size in one piece has such a piece",
    after=("sdk-known",),
)
def sdk_one_block(view: View) -> Iterator[Problem]:
    known = features(view)
    if known is None or not known.one_block:
        return
    largest = max(piece.size for piece in free_pieces(view))
    for page in (PAGE, LARGE_PAGE):
        needed = sum(
            region.size for region in view.plan.regions if region.phys_addr is None and region.page_size == page
        )
        if needed > largest:
            yield Problem(
                f"SDK {known.version} places all {size_text(page)} pages of queues, frames and images in one piece:"
                f" they are {rounded_size(needed)}, and the largest free piece of RAM has {rounded_size(largest)}",
                ("microkit", "sdk"),
                f"use SDK {oldest_with('cores')} or newer, fewer guests, or smaller queues",
            )


@invariant(
    "sdk-contexts", "the SDK version has room for as many protection domains and virtual CPUs", after=("sdk-known",)
)
def sdk_contexts(view: View) -> Iterator[Problem]:
    known = features(view)
    if known is None or known.max_contexts is None:
        return
    domains = len(view.plan.pds)
    vcpus = sum(len(pd.vm.vcpus) for pd in view.plan.pds if pd.vm is not None)
    if domains + vcpus > known.max_contexts:
        yield Problem(
            f"{domains} protection domains and {vcpus} virtual CPUs are {domains + vcpus},"
            f" and SDK {known.version} has room for {known.max_contexts}",
            ("microkit", "sdk"),
            f"use SDK {oldest_with('cores')} or newer, or fewer guests or vCPUs",
        )
