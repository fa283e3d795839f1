# SPDX-License-Identifier: BSD-2-Clause
"""What a user must know about a system's isolation: check, build, run and the report all say it in these sentences."""

from __future__ import annotations

from collections.abc import Iterable

from router.boards.model import Board
from router.description.sdk_versions import sdk_features
from router.devicetree.closure import is_usb_controller
from router.plan.models import Grant, GuestPlan

SMP = "smp-"
"""What the names of multicore configurations begin with."""
RELEASE = "release"


def has_debug_calls(config: str) -> bool:
    """Whether kernels of a configuration have system calls that need no capability.

    seL4 built with CONFIG_DEBUG_BUILD or CONFIG_ENABLE_BENCHMARKS takes DebugHalt, DebugPutChar and their kin from
    every thread, vCPUs included: a guest's HVC reaches them (seL4 manual, debugging and benchmarking system calls).
    """
    return config.removeprefix(SMP) != RELEASE


def kernel_notes(config: str, sdk: str) -> tuple[str, ...]:
    """What a guest can do to the others because of the kernel. sdk: a known version, such as `2.1.0`."""
    notes = []
    if has_debug_calls(config):
        notes.append(
            f"configuration '{config}': any guest can stop the whole machine and forge lines on the serial port, by"
            " debug calls that this kernel takes from everyone; write 'config: release' to isolate guests"
        )
    if config.startswith(SMP):
        notes.append(
            f"configuration '{config}' is not safe: guests are kept from the debug registers on core 0 only; a guest on"
            " another core can end a protection domain that runs there; write 'config: release' to isolate guests"
        )
    features = sdk_features(sdk)
    if not features.par_el1:
        notes.append(
            f"Microkit SDK {sdk}: its seL4 does not keep PAR_EL1 apart between virtual CPUs, so a guest can falsify"
            " another's address translations (fixed in seL4 16.0.0, which Microkit 2.3.0 has)"
        )
    if not features.keeps_deferred:
        notes.append(
            f"Microkit SDK {sdk}: a deferred notification or interrupt acknowledgement is lost if the reply to a fault"
            " or to a protected call follows it (fixed in Microkit 2.3.0)"
        )
    return tuple(notes)


def dma_guests(board: Board, guests: Iterable[GuestPlan]) -> tuple[str, ...]:
    """The names of the guests whose devices can reach all memory, because no IOMMU guards it."""
    return () if board.smmu else tuple(guest.name for guest in guests if guest.passthrough.dma)


def dma_notes(board: Board, guests: Iterable[GuestPlan]) -> tuple[str, ...]:
    """A sentence for each of `dma_guests`."""
    return tuple(
        f"no SMMU on this board: the guest '{name}' can reach all memory by DMA, the kernel's included"
        for name in dma_guests(board, guests)
    )


def restart_notes(guests: Iterable[GuestPlan]) -> tuple[str, ...]:
    """Which guests cannot be restarted, because of their devices."""
    return tuple(
        f"the guest '{guest.name}' is not restarted after it ends: the DMA of"
        f" {', '.join(guest.passthrough.unstoppable)} cannot be stopped while it is reloaded"
        for guest in guests
        if guest.passthrough.unstoppable
    )


def device_notes(guests: Iterable[GuestPlan]) -> tuple[str, ...]:
    """What the guests' device trees leave open, each sentence with its guest."""
    return tuple(f"{guest.name}: {note}" for guest in guests for note in guest.passthrough.notes)


def port_notes(guests: Iterable[GuestPlan], grants: Iterable[Grant]) -> tuple[str, ...]:
    """Rules that name a port by Linux's bus number where the guest has several controllers to number."""
    controllers = {
        guest.name: [name for path in guest.passthrough.selected if is_usb_controller(name := path.rpartition("/")[2])]
        for guest in guests
    }
    return tuple(
        f"usb rule 'path: {grant.path}': which of the {len(controllers[grant.source])} controllers of"
        f" '{grant.source}' has bus {grant.path.partition('-')[0]} depends on which one starts first; write"
        f" {' or '.join(name + '/' + grant.path.partition('-')[2] for name in controllers[grant.source])}"
        for grant in grants
        if grant.path is not None and "/" not in grant.path and len(controllers.get(grant.source, ())) > 1
    )


def vsock_notes(guests: Iterable[GuestPlan]) -> tuple[str, ...]:
    """What a system without Ethernet does not have."""
    if all(guest.cid is None for guest in guests):
        return ()
    return (
        "transport vsock: the guests have no network interface: no ping, no names of other guests, nothing that needs"
        " IP",
    )


def plan_notes(
    board: Board, config: str, sdk: str, guests: tuple[GuestPlan, ...], grants: tuple[Grant, ...]
) -> tuple[str, ...]:
    """All notes of a system, what concerns every guest first."""
    about_guests = (*dma_notes(board, guests), *restart_notes(guests), *device_notes(guests))
    return (*kernel_notes(config, sdk), *about_guests, *port_notes(guests, grants), *vsock_notes(guests), *board.notes)
