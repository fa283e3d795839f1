# SPDX-License-Identifier: BSD-2-Clause
"""Nodes of a guest's tree for which its image has no driver: the devices behind them wait for ever and say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from router.devicetree import Closure, Member
from router.devicetree.closure import CHILD, LOOKUP, PARENT


class KnowsDrivers(Protocol):
    """What an image can drive; `router.guests.drivers.Drivers` is one."""

    kernel_version: str

    def have(self, compatible: tuple[str, ...]) -> bool: ...

    def missing_module(self, compatible: tuple[str, ...]) -> str | None: ...


def driver_notes(closure: Closure, image: str, drivers: KnowsDrivers) -> tuple[str, ...]:
    """A sentence for each member that needs a driver which the image lacks, with the chosen device that waits."""
    return tuple(_sentences(closure, image, drivers))


def _sentences(closure: Closure, image: str, drivers: KnowsDrivers) -> Iterator[str]:
    for member in closure.members:
        if not _needs_driver(member) or drivers.have(member.compatible):
            continue
        module = drivers.missing_module(member.compatible)
        if module is not None:
            remedy = f"add the module '{module.replace('_', '-')}' to the image"
        else:
            remedy = f"its kernel {drivers.kernel_version} has none"
        waits = f"; {_name(closure.chain(member.path)[0].node)} waits for it" if member.because else ""
        yield f"the image '{image}' has no driver for {member.name} ('{member.compatible[0]}'): {remedy}{waits}"


def _needs_driver(member: Member) -> bool:
    """Whether others wait until the node's own driver has started.

    Sub-nodes are the business of the driver above them, buses that only pass addresses on need none, and a node that is
    looked up by its name is read without its driver.
    """
    if not member.compatible or member.kind == "bus":
        return False
    if not member.because:
        return True
    relations = {reason.property for reason in member.because}
    return bool(relations - {PARENT, CHILD, LOOKUP}) or (PARENT in relations and member.kind == "device")


def _name(path: str) -> str:
    return path.rpartition("/")[2]
