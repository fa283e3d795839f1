# SPDX-License-Identifier: BSD-2-Clause
"""The system in one picture: hardware at the bottom, seL4 on it, protection domains, guests on top.

The way of a USB device is drawn through it: from the USB port to the server guest, through the switch, to each client.
"""

from __future__ import annotations

from collections.abc import Mapping

from router.description.models import USBIP_PORT
from router.plan import names
from router.plan.models import Grant, GuestPlan, SystemPlan
from router.plan.notes import dma_guests
from router.report.drawing import Box, Drawing
from router.usbip.protocol.classes import WORDS, class_word
from router.words import quoted, size_text

MARGIN = 40.0
COLUMN = 250.0
GAP = 60.0
SIDE = 178.0
"""Width of the column of the console and the timer."""
LANE = 36.0
"""From the right edge of a column to the USB line that runs through it."""
SHOWN = 5
"""Guests that get a column; further ones are counted in a last one."""
GUEST_Y, GUEST_H = 84.0, 236.0
PD_Y, PD_H = 362.0, 58.0
SWITCH_Y, SWITCH_H = 470.0, 54.0
KERNEL_Y, KERNEL_H = 566.0, 44.0
BOARD_Y, BOARD_H = 650.0, 132.0


def usb_text(grant: Grant) -> str:
    """A grant in a few words."""
    parts = (
        [f"{grant.vendor:04x}:{grant.product:04x}"] if grant.vendor is not None and grant.product is not None else []
    )
    parts += [f"port {grant.path}"] if grant.path else []
    parts += [f"serial {grant.serial}"] if grant.serial else []
    parts += (
        [WORDS.get(grant.device_class, f"class {grant.device_class:#04x}")] if grant.device_class is not None else []
    )
    parts += [f"only {', '.join(class_word(code) for code in grant.only)}"] if grant.only else []
    text = " ".join(parts or ["any device"])
    if grant.blocks:
        part = f"{size_text(grant.size)} of " if grant.size else ""
        return f"{part}{text} as blocks" + (f" → {grant.name}" if grant.name else "")
    return text + (f" → port {grant.port}" if grant.port else "")


def in_order(plan: SystemPlan) -> list[GuestPlan]:
    """Guests from left to right: those that export devices first."""
    return sorted(plan.guests, key=lambda guest: (guest.role != "server", guest.index))


def device_names(labels: list[str]) -> str:
    """Names of device-tree nodes; those of one kind share it: `usb@38100000, 38200000`."""
    kinds = dict.fromkeys(label.partition("@")[0] for label in labels)
    grouped = [
        (kind, [label.partition("@")[2] for label in labels if label.partition("@")[0] == kind]) for kind in kinds
    ]
    return ", ".join(f"{kind}@{', '.join(units)}" if any(units) else kind for kind, units in grouped)


def ram_text(guest: GuestPlan) -> str:
    cpus = "1 vCPU" if guest.vcpus == 1 else f"{guest.vcpus} vCPUs"
    return f"{cpus} · {size_text(guest.ram.size)} at {guest.ram.start:#x}"


class Topology:
    """Lays the picture out, layer by layer."""

    def __init__(self, plan: SystemPlan) -> None:
        self.plan = plan
        ordered = in_order(plan)
        self.guests = ordered if len(ordered) <= SHOWN + 1 else ordered[:SHOWN]
        self.hidden = ordered[len(self.guests) :]
        columns = max(1, len(self.guests) + bool(self.hidden))
        left = MARGIN + GAP / 2
        self.x = {guest.name: left + n * (COLUMN + GAP) for n, guest in enumerate(self.guests)}
        self.end = left + columns * (COLUMN + GAP) - GAP
        self.side = self.end + GAP
        width = self.side + SIDE + 20 + MARGIN
        self.drawing = Drawing("topology", f"{plan.name}: how its parts are connected", width, BOARD_Y + BOARD_H + 58)
        self.routed = [grant for grant in plan.grants if grant.source in self.x and grant.to in self.x]

    def draw(self) -> str:
        drawing = self.drawing
        drawing.text(MARGIN, 44, self.plan.name, "head")
        config = f"{self.plan.board.title} · Microkit SDK {self.plan.sdk} · {self.plan.config}"
        drawing.text(MARGIN, 64, config, "soft")
        if unguarded := dma_guests(self.plan.board, self.plan.guests):
            text = f"no SMMU: {quoted(unguarded)} can reach all memory by DMA"
            drawing.text(drawing.width - MARGIN, 44, text, "small warn", "end")
        self.hardware()
        self.wires()
        self.kernel()
        self.domains()
        for guest in self.guests:
            self.guest(guest)
        if self.hidden:
            self.others()
        self.usb_way()
        self.legend()
        return drawing.render()

    def hardware(self) -> None:
        drawing, board = self.drawing, self.plan.board
        whole = drawing.box(Box(MARGIN, BOARD_Y, drawing.width - 2 * MARGIN, BOARD_H, "hw", 12))
        drawing.text(whole.x + 16, BOARD_Y + BOARD_H - 14, board.title, "strong")
        ram = f"RAM {size_text(board.ram.size)} · GICv{board.gic.version} · {board.cores} cores"
        ram += " · SMMU" if board.smmu else " · no SMMU"
        drawing.text(whole.right - 16, BOARD_Y + BOARD_H - 14, ram, "soft", "end")
        for name, x in self.x.items():
            owned = self.plan.guest(name).passthrough
            if not owned.regions:
                continue
            exports = self.plan.guest(name).role == "server"
            chip = drawing.box(Box(x, BOARD_Y + 16, COLUMN, 76, "usbchip" if exports else "chip"))
            labels = [path.rpartition("/")[2] for path in owned.selected]
            drawing.text(chip.x + 56, chip.y + 26, device_names(labels), "strong small", room=COLUMN - 64)
            maps, irqs = len(owned.regions), len(owned.irqs)
            drawing.text(chip.x + 56, chip.y + 44, f"{maps} maps, {irqs} interrupts", "small soft")
            needed = len(owned.nodes) - len(labels)
            if needed > 0:
                drawing.text(chip.x + 56, chip.y + 60, f"and {needed} nodes that they need", "small soft")
            if exports:
                self.socket(chip.x + 12, chip.y + 22)
        for x, kind, text in (
            (self.side, board.uart.kind, "serial port"),
            (self.side + SIDE / 2 + 4, board.timer.kind, "timer"),
        ):
            chip = drawing.box(Box(x, BOARD_Y + 30, SIDE / 2 - 4, 48, "chip"))
            drawing.text(chip.middle, chip.y + 20, text, "small", "middle", room=SIDE / 2 - 8)
            drawing.text(chip.middle, chip.y + 36, kind, "small soft", "middle", room=SIDE / 2 - 8)

    def socket(self, x: float, y: float) -> None:
        """A USB type A socket, seen from the front."""
        self.drawing.box(Box(x, y, 34, 18, "socket", 3))
        self.drawing.box(Box(x + 5, y + 4, 24, 5, "plug", 1))

    def kernel(self) -> None:
        drawing = self.drawing
        bar = drawing.box(Box(MARGIN, KERNEL_Y, drawing.width - 2 * MARGIN, KERNEL_H, "kernel", 10))
        drawing.text(bar.x + 18, bar.y + 28, "seL4", "head on")
        drawing.text(bar.x + 76, bar.y + 27, "the only privileged code: address spaces, capabilities, scheduling", "on")

    def wires(self) -> None:
        """Channels: VMMs to the switch, and by a common rail to console and timer; registers of the drivers."""
        drawing, rail = self.drawing, (PD_Y + PD_H + SWITCH_Y) / 2
        if not self.x:
            return
        for x in self.x.values():
            drawing.line([(x + COLUMN / 2, PD_Y + PD_H), (x + COLUMN / 2, SWITCH_Y)], "wire")
            drawing.line([(x + 50, PD_Y + PD_H), (x + 50, rail), (self.side - 24, rail)], "wire")
        for y in (PD_Y + PD_H / 2, SWITCH_Y + SWITCH_H / 2):
            drawing.line([(self.side - 24, rail), (self.side - 24, y), (self.side, y)], "wire")
        drawing.line([(self.side + SIDE / 4, SWITCH_Y + SWITCH_H), (self.side + SIDE / 4, BOARD_Y + 30)], "reg")
        timer = self.side + SIDE - SIDE / 4 + 2
        drawing.line([(timer, PD_Y + PD_H), (timer, BOARD_Y + 30)], "reg")
        for name, x in self.x.items():
            guest = self.plan.guest(name)
            if guest.passthrough.regions and guest.role != "server":
                drawing.line([(x - 22, GUEST_Y + 60), (x - 22, BOARD_Y + 54)], "reg")

    def domains(self) -> None:
        drawing = self.drawing
        for name, x in self.x.items():
            pd = next(each for each in self.plan.pds if each.vm is not None and each.vm.name == name)
            box = drawing.box(Box(x, PD_Y, COLUMN, PD_H, "pd"))
            drawing.text(box.x + 14, box.y + 24, pd.name, "strong pdtext", room=COLUMN - 70)
            drawing.text(box.x + 14, box.y + 43, f"VMM · priority {pd.priority}", "small soft")
        priorities = {each.name: each.priority for each in self.plan.pds}
        if "vswitch" in priorities:
            self.switch(priorities["vswitch"])
        self.drivers(priorities)

    def switch(self, priority: int) -> None:
        drawing = self.drawing
        rules = len(self.plan.vswitch.rules)
        bar = drawing.box(Box(MARGIN + GAP / 2, SWITCH_Y, self.end - MARGIN - GAP / 2, SWITCH_H, "pd"))
        drawing.text(bar.x + 14, bar.y + 23, "vswitch", "strong pdtext")
        drawing.text(
            bar.x + 14,
            bar.y + 41,
            f"default deny, {rules} rule{'s' * (rules != 1)} · priority {priority}",
            "small soft",
        )

    def drivers(self, priorities: Mapping[str, int]) -> None:
        drawing = self.drawing
        for name, y, height, text in (
            ("timer", PD_Y, PD_H, "deadlines of guests"),
            ("console", SWITCH_Y, SWITCH_H, "one serial port for all"),
            (names.BRINGUP, SWITCH_Y, SWITCH_H, "says what it hears"),
        ):
            if name not in priorities:
                continue
            box = drawing.box(Box(self.side, y, SIDE, height, "pd"))
            drawing.text(box.x + 14, box.y + 23, name, "strong pdtext")
            drawing.text(box.x + 14, box.y + 41, text, "small soft", room=SIDE - 20)
            drawing.text(box.right - 14, box.y + 23, f"{priorities[name]}", "small soft", "end")

    def guest(self, guest: GuestPlan) -> None:
        drawing, x = self.drawing, self.x[guest.name]
        card = drawing.box(Box(x, GUEST_Y, COLUMN, GUEST_H, "guest", 12))
        drawing.text(x + 16, card.y + 28, guest.name, "head guesttext", room=COLUMN - 110)
        image = "own image" if guest.own_image else guest.image
        drawing.text(card.right - 16, card.y + 27, image, "small soft", "end", room=92)
        drawing.text(x + 16, card.y + 48, ram_text(guest), "small soft", room=COLUMN - 24)
        upper = drawing.box(Box(x + 16, card.y + 62, COLUMN - 32, 96, "inner"))
        for n, (text, style) in enumerate(self.inside(guest)):
            drawing.text(upper.x + 12, upper.y + 22 + 18 * n, text, style, room=COLUMN - 52)
        lower = drawing.box(Box(x + 16, card.y + 172, COLUMN - 32, 46, "inner"))
        ways = ("vsock", f"CID {guest.cid}") if guest.cid is not None else (f"eth0  {guest.address}", guest.mac or "")
        drawing.text(lower.x + 12, lower.y + 19, ways[0], "mono")
        drawing.text(lower.x + 12, lower.y + 36, ways[1], "mono soft")

    def inside(self, guest: GuestPlan) -> list[tuple[str, str]]:
        """What a guest does for USB, at most four lines."""
        if guest.role == "server":
            count = sum(grant.source == guest.name for grant in self.plan.grants)
            return [
                ("host controller driver", "strong"),
                (f"USB/IP daemon :{USBIP_PORT}", "strong"),
                (f"exports by {count} rule{'s' * (count != 1)};", "small soft"),
                ("all else stays here", "small soft"),
            ]
        if guest.role == "client":
            lines = [(f"virtual USB {guest.usb_version} controller", "strong")]
            given = [usb_text(grant) for grant in self.plan.grants if grant.to == guest.name]
            shown = given if len(given) <= 3 else [*given[:2], f"and {len(given) - 2} more rules"]
            return lines + [(text, "small usbtext") for text in shown or ["no devices"]]
        return [("no USB", "strong")]

    def others(self) -> None:
        """A column for the guests that have none of their own."""
        drawing, x = self.drawing, self.end - COLUMN
        drawing.box(Box(x, GUEST_Y, COLUMN, PD_Y + PD_H - GUEST_Y, "frame", 12))
        drawing.text(x + 16, GUEST_Y + 28, f"{len(self.hidden)} more guests", "head guesttext")
        for n, guest in enumerate(self.hidden[:14]):
            drawing.text(x + 16, GUEST_Y + 52 + 18 * n, f"{guest.name}  {guest.peer}", "mono soft", room=COLUMN - 28)
        if len(self.hidden) > 14:
            drawing.text(x + 16, GUEST_Y + 52 + 18 * 14, f"… and {len(self.hidden) - 14} more", "mono soft")

    def usb_way(self) -> None:
        """The USB line: USB port, server guest, its VMM, the switch, a client's VMM, the client guest."""
        drawing, level = self.drawing, SWITCH_Y + SWITCH_H - 11
        for source in dict.fromkeys(grant.source for grant in self.routed):
            x = self.x[source]
            port = x + COLUMN - LANE
            if self.plan.guest(source).passthrough.regions:
                drawing.line(
                    [(x, BOARD_Y + 54), (x - 22, BOARD_Y + 54), (x - 22, GUEST_Y + 84), (x + 15, GUEST_Y + 84)],
                    "usb",
                    arrow=True,
                )
            for to in dict.fromkeys(grant.to for grant in self.routed if grant.source == source):
                there = self.x[to] + COLUMN - LANE
                way = [(port, GUEST_Y + 158), (port, level), (there, level), (there, GUEST_Y + 159)]
                drawing.line(way, "usb", arrow=True, bend=14)
            first = next(self.x[grant.to] for grant in self.routed if grant.source == source)
            drawing.text(
                (port + first + COLUMN - LANE) / 2, level - 9, f"USB/IP, TCP {USBIP_PORT}", "small usbtext", "middle"
            )

    def legend(self) -> None:
        drawing, y = self.drawing, BOARD_Y + BOARD_H + 32
        x = MARGIN
        for style, text, room in (
            ("usb", "a USB device's way to its guest", 262.0),
            ("wire", "notifications and shared queues", 262.0),
            ("reg", "registers and interrupts", 210.0),
        ):
            drawing.line([(x, y - 4), (x + 34, y - 4)], style)
            drawing.text(x + 44, y, text, "small soft")
            x += room


def topology_svg(plan: SystemPlan) -> str:
    """The picture as SVG text; the same plan gives the same bytes."""
    return Topology(plan).draw()
