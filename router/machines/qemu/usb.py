# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's emulated USB devices by everyday names, as `router run --usb KIND[:ARGUMENT]` plugs them in.

The identities are those of QEMU's hw/usb sources; they tell which of the devices a description's rules will route.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from router.disk.layout import Wanted
from router.disk.prepare import missing
from router.errors import DescriptionError
from router.machines.qemu.host_device import HostDevice, find_host_device
from router.plan.models import Grant, SystemPlan
from router.requirements import look_for


@dataclass(frozen=True)
class UsbKind:
    """One kind of device."""

    device: str
    """QEMU's `-device`."""
    vendor: int | None
    product: int | None
    classes: tuple[int, ...]
    """Device class and interface classes. All three are None or empty where only the device itself tells them."""
    argument: str | None = None
    """What must follow the colon, or None."""
    superspeed: bool = False
    option: str | None = None
    """What may follow the colon, or None."""


LISTENER = "the path of a unix socket on which a program listens"
"""For `ccid` that program is the card, in the protocol of QEMU's ccid-card-passthru (libcacard's vscard_common.h), for
`redir` it has the device, in the protocol of usbredir."""

KINDS = {
    "storage": UsbKind("usb-storage", 0x46F4, 0x0001, (8,), "a disk image", superspeed=True),
    "uas": UsbKind("usb-uas", 0x46F4, 0x0003, (8,), "a disk image", superspeed=True),
    "bot": UsbKind("usb-bot", 0x46F4, 0x0001, (8,), "a disk image", superspeed=True),
    "keyboard": UsbKind("usb-kbd", 0x0627, 0x0001, (3,)),
    "mouse": UsbKind("usb-mouse", 0x0627, 0x0001, (3,)),
    "tablet": UsbKind("usb-tablet", 0x0627, 0x0001, (3,)),
    "wacom": UsbKind("usb-wacom-tablet", 0x056A, 0x0000, (3,)),
    "serial": UsbKind("usb-serial", 0x0403, 0x6001, (0xFF,), option=LISTENER),
    "braille": UsbKind("usb-braille", 0x0403, 0xFE72, (0xFF,), option=LISTENER),
    "audio": UsbKind("usb-audio", 0x46F4, 0x0002, (1,), option="a WAV file to write"),
    "net": UsbKind("usb-net", 0x0525, 0xA4A2, (2, 0x0A)),
    "ccid": UsbKind("usb-ccid", 0x08E6, 0x4433, (0x0B,), option=LISTENER),
    "mtp": UsbKind("usb-mtp", 0x46F4, 0x0004, (6,), "a folder"),
    "hub": UsbKind("usb-hub", 0x0409, 0x55AA, (9,)),
    "redir": UsbKind("usb-redir", None, None, (), LISTENER),
    "host": UsbKind("usb-host", None, None, (), "the VENDOR:PRODUCT of a device of this computer"),
}


@dataclass(frozen=True)
class UsbPlug:
    """A device that is plugged in: its kind by name, its argument, its USB port (from 1)."""

    kind: str
    argument: Path | None
    port: int
    buses: tuple[str, ...] = ()
    """QEMU's names of the buses of the board's own controllers; empty: the controller is on the PCIe bus."""
    host: HostDevice | None = None
    """Which device of this computer it is, of the kind `host`."""

    @property
    def bus(self) -> str:
        """The bus of the controller that it is plugged into."""
        return self.buses[self.port - 1] if self.buses else "usb.0"

    @property
    def bus_port(self) -> str:
        """The port of that bus. A board's own controllers have one each."""
        return "1" if self.buses else str(self.port)

    @property
    def facts(self) -> UsbKind:
        kind = KINDS[self.kind]
        if self.host is None:
            return kind
        its = self.host
        return replace(kind, vendor=its.vendor, product=its.product, classes=its.classes, superspeed=its.superspeed)

    @property
    def path(self) -> str:
        """Where the server's Linux sees it: each controller has a bus for USB 2 and then one for SuperSpeed."""
        controller = self.port - 1 if self.buses else 0
        return f"{2 * controller + (2 if self.facts.superspeed else 1)}-{self.bus_port}"

    @property
    def peer(self) -> str:
        """The same port on the controller's USB 2 bus, which a rule's path may name as well."""
        bus, _, port = self.path.partition("-")
        return f"{int(bus) - 1}-{port}" if int(bus) % 2 == 0 else self.path


def parse_plug(text: str, port: int, buses: tuple[str, ...] = ()) -> UsbPlug:
    """A plug from `storage:disk.img`; DescriptionError says which kinds there are and what is missing."""
    kind, colon, argument = text.partition(":")
    if kind not in KINDS:
        raise DescriptionError(f"no USB device of kind '{kind}'", hint=f"kinds: {', '.join(KINDS)}", where="--usb")
    wanted = KINDS[kind].argument or (KINDS[kind].option if colon else None)
    if wanted is None and colon:
        raise DescriptionError(f"'{kind}' takes no argument", hint=f"write --usb {kind}", where="--usb")
    if wanted is None:
        return UsbPlug(kind, None, port, buses)
    if not argument:
        example = "host:VENDOR:PRODUCT, as lsusb shows them" if kind == "host" else f"{kind}:PATH"
        raise DescriptionError(f"'{kind}' needs {wanted}", hint=f"write --usb {example}", where="--usb")
    if kind == "host":
        return UsbPlug(kind, None, port, buses, find_host_device(argument))
    path = Path(argument).expanduser().resolve()
    if not path.exists() and not (kind == "audio" and path.parent.is_dir()):
        raise DescriptionError(f"{argument}: no such file or folder", hint=f"'{kind}' needs {wanted}", where="--usb")
    if wanted is LISTENER and not path.is_socket():
        raise DescriptionError(f"{argument} is not a unix socket", hint=f"'{kind}' needs {wanted}", where="--usb")
    return UsbPlug(kind, path, port, buses)


def parse_plugs(texts: list[str], buses: tuple[str, ...] = ()) -> tuple[UsbPlug, ...]:
    """Plugs in ports 1, 2, … of the controller, or of a board's own controllers with these buses."""
    return tuple(parse_plug(text, port, buses) for port, text in enumerate(texts, 1))


def owned_buses(plan: SystemPlan) -> tuple[str, ...]:
    """QEMU's buses of the board's own USB controllers that guests own, in the order in which Linux finds these.

    () where the machine takes a controller on PCI.
    """
    model = plan.board.emulated
    owned = {path.rpartition("/")[2] for guest in plan.guests for path in guest.passthrough.nodes}
    return tuple(bus for node, bus in (model.usb_buses if model is not None else {}).items() if node in owned)


def plugs_of(texts: Sequence[str], plan: SystemPlan) -> tuple[UsbPlug, ...]:
    """Plugs for this system; DescriptionError also where no guest owns a controller that they could go into."""
    buses = owned_buses(plan)
    model = plan.board.emulated
    if texts and not buses and model is not None and model.usb_buses:
        controllers = " or ".join(model.usb_buses)
        raise DescriptionError(
            f"no guest owns a USB controller that QEMU's {model.machine} has",
            hint=f"give one to the server guest: passthrough: [{next(iter(model.usb_buses))}] ({controllers})",
            where="--usb",
        )
    if buses and len(texts) > len(buses):
        raise DescriptionError(
            f"{len(texts)} devices for {len(buses)}: QEMU has one socket for each USB controller that a guest owns",
            hint="plug in fewer; router usb unplug makes room while the system runs",
            where="--usb",
        )
    plugs = parse_plugs(list(texts), buses)
    for text, plug in zip(texts, plugs, strict=True):
        _require_parts(text, plug, plan)
    return plugs


def _require_parts(text: str, plug: UsbPlug, plan: SystemPlan) -> None:
    """DescriptionError for an image without the partitions that guests are to get of it. Not seen without sfdisk."""
    grant = grant_of(plug, plan.grants)
    if plug.kind not in DISKS or plug.argument is None or grant is None or not grant.size or not look_for("sfdisk"):
        return
    parts = [Wanted(one.name, one.to, one.size) for one in grant.parts_in(plan.grants)]
    if lacks := missing(plug.argument, parts):
        raise DescriptionError(
            f"{text} is not prepared: it has no partition {', '.join(lacks)} as the description's disks want it",
            hint=f"router disk prepare FILE.yaml {plug.argument}",
            where="--usb",
        )


def grant_of(plug: UsbPlug, grants: tuple[Grant, ...]) -> Grant | None:
    """The rule that gives this device to a guest, or None: the most exact one, of equal ones the first.

    Serial numbers are not known before the device runs. Of a device whose identity is not known before, that is so only
    by rules that name its port and nothing else.
    """
    facts = plug.facts
    fitting = (
        grant
        for grant in grants
        if (
            grant.vendor in (None, facts.vendor)
            and grant.product in (None, facts.product)
            and grant.path in (None, plug.path, plug.peer)
            and (grant.device_class is None or grant.device_class in facts.classes)
            and (not grant.only or (bool(facts.classes) and set(facts.classes) <= set(grant.only)))
            and grant.serial is None
        )
    )
    return max(fitting, key=_exactness, default=None)


def _exactness(grant: Grant) -> tuple[bool, ...]:
    """As `router.usbip.policy.rules.Rank` has it."""
    return grant.path is not None, grant.product is not None, grant.device_class is not None, bool(grant.only)


DISKS = ("storage", "uas", "bot")
"""The kinds with an image behind them."""
LINES = ("serial", "braille", "redir")
"""The kinds that take a character device of QEMU's, a socket perhaps."""
AUDIO_RATE = 48000
"""Of QEMU's usb-audio, in Hz. A back end of another rate would have QEMU resample."""


def port_count(plugs: tuple[UsbPlug, ...], buses: tuple[str, ...] = ()) -> int:
    """How many USB ports there are for such plugs: on PCI some are free for what is plugged in later.

    A board's own controllers have one each. A hub there would add none: QEMU's i.MX 8M models let a controller have two
    devices, the hub among them (`slots` in hw/arm/fsl-imx8mp.c).
    """
    return len(buses) if buses else min(15, max(8, len(plugs) + 4))


def arguments(plugs: tuple[UsbPlug, ...], buses: tuple[str, ...] = ()) -> list[str]:
    """QEMU's arguments for the devices on their USB ports, and for the xhci on PCIe where the board has no `buses`."""
    out: list[str] = []
    if not buses:
        ports = port_count(plugs)
        out = ["-device", f"qemu-xhci,id=usb,p2={ports},p3={ports}"]
    for plug in plugs:
        out += _plug_arguments(plug)
    return out


def _plug_arguments(plug: UsbPlug) -> list[str]:
    name = f"plug{plug.port}"
    path = escape(plug.argument)
    out: list[str] = []
    options = f"{plug.facts.device},bus={plug.bus},port={plug.bus_port},id={name}"
    if plug.kind in DISKS:
        out += ["-drive", f"if=none,id={name},file={path},format=raw"]
    if plug.kind == "storage":
        options += f",drive={name},serial=ROUTER{plug.port:04}"
    elif plug.kind == "mtp":
        options += f",rootdir={path}"
    elif plug.kind in LINES or (plug.kind == "ccid" and plug.argument):
        plain = "ringbuf" if plug.kind == "serial" else "null"
        out += ["-chardev", f"socket,path={path},server=off,id={name}" if plug.argument else f"{plain},id={name}"]
        options += f",chardev={name}" if plug.kind != "ccid" else ""
    elif plug.kind == "audio":
        out += [
            "-audiodev",
            f"wav,path={path},out.frequency={AUDIO_RATE},id={name}" if plug.argument else f"none,id={name}",
        ]
        options += f",audiodev={name}"
    elif plug.kind == "net":
        out += ["-netdev", f"hubport,hubid=7,id={name}"]
        options += f",netdev={name}"
    if plug.host is not None:
        options += f",vendorid={plug.host.vendor:#06x},productid={plug.host.product:#06x}"
    out += ["-device", options]
    if plug.kind in ("uas", "bot"):
        out += ["-device", f"scsi-hd,bus={name}.0,drive={name}"]
    elif plug.kind == "ccid" and plug.argument:
        out += ["-device", f"ccid-card-passthru,bus={name}.0,chardev={name}"]
    return out


def escape(path: Path | None) -> str:
    """A path in a QEMU option: commas are doubled."""
    return str(path).replace(",", ",,")
