# SPDX-License-Identifier: BSD-2-Clause
"""Random valid systems break no invariant; random changes to them are caught by the invariant meant for each."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from router.boards import board, names
from router.checks import INVARIANTS, check_plan
from router.microkit.system import render_system
from router.plan.guests import round_up
from router.plan.models import Irq, RegionKind, SystemPlan, VSwitchRule
from router.report.isolation import parse_isolation
from tests.checks.mutations import (
    UNUSED,
    add_map,
    add_vm_map,
    own_irq,
    with_address,
    with_channel,
    with_guest,
    with_map,
    with_pd,
    with_region,
    with_vm,
    with_vm_map,
    with_vswitch,
)
from tests.support.systems import SDKS, described, plan_of

MiB = 1 << 20
CONFIGS = ("debug", "release", "benchmark", "smp-debug", "smp-release", "smp-benchmark")


def queue(draw: st.DrawFn, mtu: int, guests: int, room: int) -> dict[str, Any]:
    """Queues that hold the MTU and, all guests' together in whole large pages, at most `room` bytes."""
    buffers = [size for size in (2, 4, 8, 16, 32, 64, 128) if size * 1024 >= mtu + 14]
    buffer = draw(st.sampled_from(buffers[:2]))
    depths = [16 << n for n in range(7) if guests * round_up((16 << n) * buffer * 1024, 2 * MiB) <= room]
    return {"depth": draw(st.sampled_from(depths)), "buffer": f"{buffer} KiB"}


@st.composite
def systems(draw: st.DrawFn) -> SystemPlan:
    """Plans of valid descriptions: any board, SDK and configuration, 1 to 30 guests."""
    where = draw(st.sampled_from(names()))
    sdk = draw(st.sampled_from(SDKS))
    config = draw(st.sampled_from(CONFIGS[:3] if sdk == "2.0.1" else CONFIGS))
    count = draw(st.integers(1, 12 if sdk == "2.0.1" else 30))
    room = board(where).guest_ram.size // (2 * MiB) // count
    owner = draw(st.booleans())
    guests: dict[str, Any] = {}
    for n in range(count):
        server = n == 0
        guest: dict[str, Any] = {"image": "usb-server" if server else "usb-client"}
        guest["memory"] = f"{2 * draw(st.integers(1, room))} MiB"
        guest["vcpus"] = draw(st.integers(1, 4))
        if server and owner:
            guest["passthrough"] = ["usb@38100000"]
        if draw(st.booleans()):
            guest["priority"] = draw(st.integers(1, 199))
        if draw(st.booleans()):
            budget = draw(st.integers(100, 10_000))
            guest |= {"budget": f"{budget} us", "period": f"{budget + draw(st.integers(0, 10_000))} us"}
        if config.startswith("smp-") and sdk != "2.1.0" and draw(st.booleans()):
            guest["cpu"] = draw(st.integers(0, board(where).cores - 1))
        if sdk != "2.0.1" and draw(st.booleans()):
            guest["smc"] = [draw(st.integers(0xC200_0000, 0xC2FF_FFFF))]
        guests[f"guest{n}" if n else "server"] = guest
    clients = list(guests)[1:]
    rules = draw(st.lists(st.sampled_from(clients), unique=True)) if clients else []
    mtu = draw(st.sampled_from([576, 1500, 4000, 9000, 65000]))
    network: dict[str, Any] = {"mtu": mtu, "queue": queue(draw, mtu, count, (48 if sdk == "2.0.1" else 128) * MiB)}
    if draw(st.booleans()):
        network["subnet"] = "192.168.64.0/22"
    description = described(
        {
            "system": "random",
            "board": where,
            "microkit": {"sdk": sdk, "config": config},
            "guests": guests,
            "network": network,
            "usb": [{"path": f"1-{n}", "to": name} for n, name in enumerate(rules, start=1)],
        }
    )
    return plan_of(description)


@given(systems())
@settings(max_examples=200)
def test_no_invariant_is_broken_by_a_valid_system(plan: SystemPlan) -> None:
    assert [str(each) for each in check_plan(plan)] == []


@given(systems())
@settings(max_examples=40)
def test_a_valid_system_renders_with_every_map_in_the_text(plan: SystemPlan) -> None:
    isolation = parse_isolation(render_system(plan))
    maps = sum(len(pd.maps) + (len(pd.vm.maps) if pd.vm else 0) for pd in plan.pds)
    assert sum(len(region.access) for region in isolation.regions) == maps


def some_guest(draw: st.DrawFn, plan: SystemPlan) -> str:
    return draw(st.sampled_from([guest.name for guest in plan.guests]))


def two_guests(draw: st.DrawFn, plan: SystemPlan) -> tuple[str, str]:
    """Two different guests; with one guest only the plan gets no such mutation."""
    first, second = draw(st.lists(st.sampled_from([g.name for g in plan.guests]), min_size=2, max_size=2, unique=True))
    return first, second


def odd(draw: st.DrawFn) -> int:
    """An offset that breaks the alignment of pages."""
    return draw(st.integers(1, 0xFFF))


def share_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    mine, theirs = two_guests(draw, plan)
    return add_vm_map(plan, mine, f"{theirs}_ram", draw(st.sampled_from(["r", "rw", "rwx"])))


def leak_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return add_map(plan, draw(st.sampled_from(["timer", "console"])), f"{some_guest(draw, plan)}_ram", "r")


def overlap_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    mine, theirs = two_guests(draw, plan)
    return with_region(plan, f"{mine}_ram", phys_addr=plan.guest(theirs).ram.start)


def ram_over_kernel(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    _, place = draw(st.sampled_from(plan.board.reserved))
    return with_region(plan, f"{some_guest(draw, plan)}_ram", phys_addr=place.start)


def ram_off_board(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    beyond = plan.board.ram.end + 2 * MiB * draw(st.integers(0, 100))
    return with_region(plan, f"{some_guest(draw, plan)}_ram", phys_addr=beyond)


def misaligned_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    guest = some_guest(draw, plan)
    return with_region(plan, f"{guest}_ram", phys_addr=plan.guest(guest).ram.start + odd(draw))


def broken_size(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    region = draw(st.sampled_from(plan.regions))
    return with_region(plan, region.name, size=region.size + odd(draw))


def misaligned_map(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    guest = some_guest(draw, plan)
    return with_map(plan, f"vmm_{guest}", f"{guest}_console", vaddr=UNUSED + odd(draw))


def overlapping_maps(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    pd = draw(st.sampled_from([each for each in plan.pds if len(each.maps) > 1]))
    first, second = draw(st.lists(st.sampled_from(pd.maps), min_size=2, max_size=2, unique=True))
    return with_map(plan, pd.name, first.region, vaddr=second.vaddr)


def lost_region(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    lost = draw(st.sampled_from(plan.regions))
    return plan.but(regions=tuple(each for each in plan.regions if each != lost))


def executable(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    pd = draw(st.sampled_from([each for each in plan.pds if each.maps]))
    chosen = draw(st.sampled_from(pd.maps))
    return with_map(plan, pd.name, chosen.region, perms=f"{chosen.perms}x")


def second_writer(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_map(plan, "vswitch", f"{some_guest(draw, plan)}_net_frames", perms="rw")


def taken_irq(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return own_irq(plan, some_guest(draw, plan), draw(st.sampled_from([plan.board.uart.irq, plan.board.timer.irq])))


def unknown_irq(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    number = draw(st.integers(plan.board.max_irq + 1, 2000))
    return with_pd(plan, f"vmm_{some_guest(draw, plan)}", irqs=(Irq(number, 60),))


def cached_device(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_map(plan, "console", "uart", cached=True)


def id_out_of_range(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    why = f"console of {some_guest(draw, plan)}"
    return with_channel(plan, why, a={"id": draw(st.integers(62, 1000) | st.integers(-1000, -1))})


def id_twice(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    guest = some_guest(draw, plan)
    return with_channel(plan, f"console of {guest}", a={"id": draw(st.sampled_from([0, 2]))})


def lost_end(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_channel(plan, f"frames of {some_guest(draw, plan)}", b={"pd": "nobody"})


def priority_out_of_range(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_vm(plan, some_guest(draw, plan), priority=draw(st.integers(255, 1000)))


def guest_above_vmm(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_vm(plan, some_guest(draw, plan), priority=draw(st.integers(210, 254)))


def call_downwards(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_channel(plan, f"frames of {some_guest(draw, plan)}", b={"pp": True})


def bad_stack(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    pd = draw(st.sampled_from(plan.pds))
    return with_pd(plan, pd.name, stack_size=draw(st.integers(0, 0xFFF) | st.integers((16 << 20) + 1, 1 << 30)))


def same_mac(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    mine, theirs = two_guests(draw, plan)
    return with_address(plan, mine, mac=plan.guest(theirs).mac)


def same_address(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    mine, theirs = two_guests(draw, plan)
    return with_address(plan, mine, address=plan.guest(theirs).address)


def foreign_address(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    number = draw(st.integers(1, 200))
    return with_address(plan, some_guest(draw, plan), address=IPv4Address(f"172.16.0.{number}"))


def rule_to_nobody(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    rule = VSwitchRule(0, draw(st.integers(len(plan.guests), 100)), "tcp", 80)
    return with_vswitch(plan, rules=(*plan.vswitch.rules, rule))


def odd_queue(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_vswitch(plan, depth=plan.vswitch.depth + draw(st.integers(1, 15)))


def large_mtu(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_vswitch(plan, mtu=plan.vswitch.buffer - draw(st.integers(0, 13)))


def psci(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    number = draw(st.sampled_from([0x8400_0000, 0xC400_0000])) + draw(st.integers(0, 0x1F))
    guest = some_guest(draw, plan)
    return with_guest(with_pd(plan, f"vmm_{guest}", smc=True), guest, smc=(number,))


def moved_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    guest = some_guest(draw, plan)
    return with_vm_map(plan, guest, f"{guest}_ram", vaddr=UNUSED)


def moved_dma_ram(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    """The RAM of a guest that is made one with DMA lies elsewhere in the machine."""
    guest = plan.guests[-1]
    plan = with_guest(plan, guest.name, passthrough=replace(guest.passthrough, dma=True))
    return with_region(plan, f"{guest.name}_ram", phys_addr=guest.ram.start + 2 * MiB * draw(st.integers(1, 50)))


def core_out_of_range(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    return with_pd(plan, "vswitch", cpu=draw(st.integers(plan.board.cores, 255)))


def unfixed_device(draw: st.DrawFn, plan: SystemPlan) -> SystemPlan:
    device = draw(st.sampled_from([each for each in plan.regions if each.kind is RegionKind.DEVICE]))
    return with_region(plan, device.name, phys_addr=None)


ALONE = {
    "guest-ram-private": leak_ram,
    "reserved-memory": ram_over_kernel,
    "guest-ram-on-board": ram_off_board,
    "physical-alignment": misaligned_ram,
    "pages": broken_size,
    "map-alignment": misaligned_map,
    "map-overlap": overlapping_maps,
    "regions-exist": lost_region,
    "write-xor-execute": executable,
    "frames-one-writer": second_writer,
    "irqs-one-owner": taken_irq,
    "irqs-in-range": unknown_irq,
    "devices-uncached": cached_device,
    "devices-fixed": unfixed_device,
    "ids-in-range": id_out_of_range,
    "ids-unique": id_twice,
    "channel-ends": lost_end,
    "priority-range": priority_out_of_range,
    "priority-order": guest_above_vmm,
    "calls-upwards": call_downwards,
    "stacks": bad_stack,
    "address-in-subnet": foreign_address,
    "rules-between-ports": rule_to_nobody,
    "queue-shape": odd_queue,
    "mtu-fits-buffer": large_mtu,
    "smc-filter": psci,
    "ram-where-planned": moved_ram,
    "dma-identity": moved_dma_ram,
    "cores": core_out_of_range,
}
TOGETHER = {
    "guests-share-nothing": share_ram,
    "physical-overlap": overlap_ram,
    "mac-unique": same_mac,
    "address-unique": same_address,
}
MUTATIONS = ALONE | TOGETHER


@pytest.mark.parametrize("name", MUTATIONS)
@given(data=st.data())
@settings(max_examples=15)
def test_a_change_is_caught_by_the_invariant_meant_for_it(name: str, data: st.DataObject) -> None:
    plan = data.draw(systems())
    assume(name in ALONE or len(plan.guests) > 1)
    broken = MUTATIONS[name](data.draw, plan)  # type: ignore[arg-type]
    assert name in {each.invariant for each in check_plan(broken)}


def test_every_mutation_is_meant_for_an_invariant() -> None:
    assert set(MUTATIONS) <= {each.name for each in INVARIANTS}
    assert len(MUTATIONS) >= 30
