"""What a guest owns of the board, taken from the device tree's dependency closure."""

from __future__ import annotations

from router.boards.model import Range
from router.devicetree import Closure
from router.plan.models import DeviceIrq, DeviceRegion, Passthrough


def passthrough(closure: Closure) -> Passthrough:
    """The closure's regions, interrupts and kernel arguments as the plan's models."""
    return Passthrough(
        selected=closure.selected,
        nodes=tuple(member.path for member in closure.members),
        regions=tuple(
            DeviceRegion(
                name=region.name,
                range=Range(region.base, region.size),
                why=", ".join(node.rsplit("/", 1)[-1] for node in region.nodes),
            )
            for region in closure.regions
        ),
        irqs=tuple(DeviceIrq(irq.intid, irq.trigger == "edge", irq.node) for irq in closure.irqs),
        dma=closure.dma,
        bootargs=tuple(advice.argument for advice in closure.bootargs),
    )
