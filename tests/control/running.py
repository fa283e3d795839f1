# SPDX-License-Identifier: BSD-2-Clause
"""A system that runs nothing: its guests answer from a model of their devices, by the real programs' own code."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from router.control.facts import facts_of
from router.control.timeline import Timeline
from router.errors import DescriptionError, MachineError
from router.machines.qemu.usb import UsbPlug, parse_plug
from router.plan.models import SystemPlan
from router.usbip.policy import edit as policy_edit
from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import Device
from router.usbip.runtime.jsontext import dumps
from router.usbip.server.control import describe
from router.usbip.server.server import Export, Server
from tests.support.systems import described, plan_of

if TYPE_CHECKING:
    from router.usbip.server.server import Engine

HID = (3, 1, 1)
DISK = (8, 6, 0x50)
DEVICES = (
    Device("1-2", 3, 1, 2, 0x0627, 1, interfaces=(HID,), serial="K1", manufacturer="QEMU", product="QEMU USB Keyboard"),
    Device("1-3", 3, 1, 3, 0x0627, 1, interfaces=(HID,), serial="M1", manufacturer="QEMU", product="QEMU USB Mouse"),
    Device("2-1", 5, 2, 2, 0x46F4, 1, interfaces=(DISK,), manufacturer="QEMU", product="QEMU USB HARDDRIVE"),
)
POLICY = "# made from the description\nallow 10.77.0.3 class mass-storage\nallow 10.77.0.3 path 1-2 port 5\n"


def plan(name: str) -> SystemPlan:
    """A server, a client with USB 3, one with USB 2 and few ports, and one that the switch lets nowhere."""
    client = {"image": "usb-client"}
    return plan_of(
        described(
            {
                "system": name,
                "board": "qemu",
                "guests": {
                    "server": {"image": "usb-server", "passthrough": ["pcie@3f000000"]},
                    "client": {**client, "usb": {"version": 3, "ports": 8}},
                    "small": {**client, "usb": {"version": 2, "ports": 1}},
                    "cut-off": client,
                },
                "network": {"allow": ["client -> server tcp/3240", "small -> server tcp/3240"]},
                "usb": [{"class": "mass-storage", "to": "client"}, {"path": "1-2", "to": "client", "port": 5}],
            }
        )
    )


class FakeSockets:
    """Sockets without a QEMU behind them."""

    def __init__(self) -> None:
        self._plugs: list[UsbPlug] = []

    def plugged(self) -> list[UsbPlug]:
        return list(self._plugs)

    def plug(self, text: str) -> UsbPlug:
        plug = parse_plug(text, len(self._plugs) + 1)
        self._plugs.append(plug)
        return plug

    def unplug(self, port: int) -> UsbPlug:
        for plug in self._plugs:
            if plug.port == port:
                self._plugs.remove(plug)
                return plug
        raise DescriptionError(f"nothing is plugged into USB port {port}")


@dataclass
class FakeGuest:
    """A guest's turn, how many wait for it, and what was run in it."""

    turn: threading.Lock = field(default_factory=threading.Lock)
    asking: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
    commands: list[str] = field(default_factory=list)
    running: int = 0
    most: int = 0
    echoes: list[Callable[[bytes], None]] = field(default_factory=list)


class FakeServer:
    """What `describe` looks at of a daemon."""

    def __init__(self, system: FakeSystem) -> None:
        self.policy = parse_policy(system.policy)
        self.engines = [self]
        self.name = "fake"
        self.exports: dict[str, Export] = {}
        addresses = {guest.name: text for text, guest in system.clients.items()}
        for device in DEVICES:
            if self.policy.is_granted(device):
                export = Export(device, cast("Engine", self))
                export.claimed = True
                self.exports[device.busid] = export
        for busid, (name, _) in system.held.items():
            self.exports[busid].client = addresses[name]
            self.exports[busid].session = Handed()

    def seen(self, _: object) -> dict[str, Device]:
        return {device.busid: device for device in DEVICES}

    def watchers(self) -> list[str]:
        return []


class Handed:
    """A session of nobody's."""

    def close(self) -> None:
        return

    def leave(self) -> None:
        return


class FakeSystem:
    """Implements `RunningSystem`. `deaf`: guests whose programs fail. `late`: (guest, line) that wait for `pump`, which
    has more to do the first `busy` times.
    """

    def __init__(self, name: str = "desk") -> None:
        self.plan = plan(name)
        self.facts = facts_of(self.plan)
        self.timeline = Timeline(out=None)
        self.timeline.mute()
        self.usb: FakeSockets | None = FakeSockets()
        self.counters: dict[str, dict[str, Any]] | None = None
        self.samples: dict[str, str] = {}
        """What a guest answers when its counters are asked for."""
        self.policy = POLICY
        self.deaf: set[str] = set()
        self.lazy = False
        self.late: deque[tuple[str, str]] = deque()
        self.pumps = 0
        self.busy = 0
        self.keyboard: str | None = None
        self.guests = {guest.name: FakeGuest() for guest in self.plan.guests}
        self.clients = {str(guest.address): guest for guest in self.plan.guests if guest.role == "client"}
        self.held: dict[str, tuple[str, int]] = {}
        self.uses: dict[str, list[str]] = {}
        self.claims: dict[str, tuple[str, int]] = {}
        """Guests that say that they have a device on that port, unused, which they have not."""
        self.failing: list[str] = []
        """What a command that fails has in it."""
        self.unknown: set[str] = set()
        """Devices on a virtual port that its kernel cannot enumerate."""
        for name_ in self.guests:
            self.timeline.line(name_, f"router: guest {name_}: userspace up")
        self._keep()

    def switch_counters(self) -> dict[str, dict[str, Any]] | None:
        return self.counters

    def pump(self) -> bool:
        while self.late:
            self.timeline.line(*self.late.popleft())
        self.pumps += 1
        return self.pumps < self.busy

    def listen(self, guest: str, echo: Callable[[bytes], None]) -> None:
        self.guests[guest].echoes.append(echo)

    def unlisten(self, guest: str, echo: Callable[[bytes], None]) -> None:
        self.guests[guest].echoes.remove(echo)

    def give_keyboard(self, guest: str | None) -> None:
        self.keyboard = guest

    def type_in(self, guest: str, data: bytes) -> None:
        for echo in self.guests[guest].echoes:
            echo(b"typed " + data)

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        mine = self.guests[guest]
        with mine.asking:
            mine.waiting += 1
        with mine.turn:
            with mine.asking:
                mine.waiting -= 1
            mine.commands.append(command)
            mine.running += 1
            mine.most = max(mine.most, mine.running)
            try:
                code, text = self._run(guest, command, timeout, on_output, cancelled)
            finally:
                mine.running -= 1
        if text and on_output:
            on_output(text.encode())
        return code, text.encode()

    def _run(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None,
        cancelled: Callable[[], bool] | None,
    ) -> tuple[int, str]:
        if command == "wait":
            end = time.monotonic() + timeout
            while time.monotonic() < end:
                if cancelled and cancelled():
                    raise MachineError("the command was cancelled: wait", where=guest)
                time.sleep(0.02)
            raise MachineError(f"the command did not end within {timeout:g} s: wait", where=guest)
        if command == "flood":
            for _ in range(10_000):
                if cancelled and cancelled():
                    raise MachineError("the command was cancelled: flood", where=guest)
                if on_output:
                    on_output(b"x" * 4096)
            return 0, ""
        if any(text in command for text in self.failing):
            return 1, ""
        if command.startswith("exit "):
            return int(command.split()[1]), "leaving\n"
        if command.startswith("for d in /sys/bus/usb/") and guest in self.samples:
            return 0, self.samples[guest]
        if guest in self.deaf:
            return 1, "router-usbip: error: out of order\n  repair it\n"
        if command.startswith("router-usbip "):
            return self._program(guest, shlex.split(command)[1:])
        waits = re.search(r"until (! )?grep -\ws ' 006 \.\.\. ([0-9a-f]{8}) '", command)
        if waits:
            mine = [d for d in DEVICES if self.held.get(d.busid, ("",))[0] == guest and d.busid not in self.unknown]
            there = any(f"{d.devid:08x}" == waits[2] for d in mine)
            return (0 if there != bool(waits[1]) else 9), ""
        if command.startswith("dmesg | awk"):
            return 0, "usb 1-1: device descriptor read/64, error -110\n"
        if command.startswith("dmesg"):
            return 0, "[    9.1] router: guest client: usbip: 1-3: the virtual ports are painted shut\n"
        return 0, f"{guest}$ {command}\n"

    def _program(self, guest: str, words: list[str]) -> tuple[int, str]:
        match words:
            case ["status", "--json"]:
                return 0, dumps(describe(cast(Server, FakeServer(self)))) + "\n"
            case ["grant", client, busid, *options]:
                device = next(d for d in DEVICES if d.busid == busid)
                port = int(options[1]) if options[:1] == ["--port"] else 0
                name = self.clients[client].name
                assert "--take" in options or self.held.get(busid, (name, 0))[0] == name
                self.policy = policy_edit.granted(self.policy, client, device, port)
            case ["revoke", client, busid]:
                self.policy = policy_edit.revoked(self.policy, client, next(d for d in DEVICES if d.busid == busid))
            case ["ports", "--json"]:
                return 0, dumps(self._ports(guest)) + "\n"
            case ["controllers", "destroy", index]:
                return 3, f"error: controller {index} has devices on its ports: 1\n  detach them first\n"
            case ["controllers", "create", *_]:
                return 0, "controller 1: USB 3, 4 ports\n"
            case _:
                return 2, f"error: there is no verb {words[0]!r}\n"
        self._keep()
        return 0, ""

    def _ports(self, guest: str) -> dict[str, object]:
        plan = self.plan.guest(guest)
        rows: list[dict[str, object]] = []
        for hub in ("hs", "ss")[: plan.usb_version - 1]:
            for number in range(1, plan.usb_ports + 1):
                there = next(
                    (d for d in DEVICES if self.held.get(d.busid) == (guest, number) and hub_of(d) == hub), None
                )
                claimed = self.claims.get(guest, ("", 0))
                there = there or next((d for d in DEVICES if (d.busid, number, hub_of(d)) == (*claimed, hub)), None)
                device = there and {
                    "local": f"1-{number}",
                    "speed": there.speed,
                    "busnum": there.busnum,
                    "devnum": there.devnum,
                    "server": "10.77.0.2",
                    "busid": there.busid,
                    "vid": there.vid,
                    "pid": there.pid,
                    "manufacturer": there.manufacturer,
                    "product": there.product,
                    "drivers": ["usbhid"],
                    "uses": self.uses.get(there.busid, []) if claimed[0] != there.busid else [],
                }
                state = "used" if there else "free"
                at = {"port": number, "place": number, "rhport": number - 1 + 15 * (hub == "ss"), "hub": hub}
                rows.append({**at, "controller": 0, "state": state, "device": device})
        used = [row["port"] for row in rows if row["device"]]
        controllers = [
            {"index": 0, "present": True, "ports": plan.usb_ports, "usb": plan.usb_version, "used": used},
            {"index": 1, "present": False, "ports": 15, "usb": 3, "used": []},
        ]
        return {"controllers": controllers, "ports": rows}

    def _keep(self) -> None:
        """What the daemons do after a change of the policy: end what is not granted, attach what is."""
        policy = parse_policy(self.policy)
        for device in DEVICES:
            for address, client in self.clients.items():
                if (
                    self.held.get(device.busid, ("", 0))[0] == client.name
                    and not policy.decide(address, device).allowed
                ):
                    _, port = self.held.pop(device.busid)
                    self.timeline.line(client.name, f"router: guest {client.name}: detached {device.busid} port {port}")
            for address, client in self.clients.items():
                decision = policy.decide(address, device)
                if decision.allowed and device.busid not in self.held and not self.lazy:
                    if hub_of(device) == "ss" and client.usb_version < 3:
                        continue
                    taken = {port for name, port in self.held.values() if name == client.name}
                    port = decision.port or next(n for n in range(1, 99) if n not in taken)
                    self.held[device.busid] = (client.name, port)
                    self.timeline.line(client.name, f"router: guest {client.name}: attached {device.busid} port {port}")


def hub_of(device: Device) -> str:
    return "ss" if device.speed >= 5 else "hs"
