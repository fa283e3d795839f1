"""Two guests on which USB devices are tried: devices are plugged into the server, and used in the client over USB/IP.

One boot serves many devices, and both engines: the daemon is started again with the other one. A guest that hangs or
dies is replaced by a fresh boot.
"""

from __future__ import annotations

import ast
import hashlib
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench import device_programs as programs
from bench.guest_programs import shell
from router import files
from router.control.timeline import Timeline
from router.description.load import load
from router.errors import MachineError
from router.guests import build_image, extend_definitions, kernel_modules
from router.guests.modules import canonical
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.session import split_run
from router.machines.qemu.split import SplitRun
from router.machines.qemu.usb import parse_plug
from router.pipeline.build import Built, build
from router.pipeline.inputs import plan_loaded
from router.usbip.protocol.descriptors import KIND_NAMES, parse_alternates

CLIENT_MODULES = ("usbtest", "wacom", "rndis_host", "uvcvideo", "cdc_ncm", "usblp")
SERVER_MODULES = (
    *("dummy_hcd", "libcomposite", "usbtest", "usb_f_ss_lb", "usb_f_mass_storage", "usb_f_acm", "usb_f_ecm"),
    *("usb_f_ncm", "usb_f_hid", "usb_f_rndis", "usb_f_printer", "usb_f_uac2", "usb_f_uvc", "snd-usb-audio"),
)
IMAGE = (
    "summary: usb-{role} with what trying devices needs\nextends: [usb-{role}]\nmodules:\n  available: [{modules}]\n"
)
DESCRIPTION = """
system: bench-devices
board: qemu
guests:
  server:
    image: {{kernel: {kernel}, initramfs: {server}, role: server}}
    memory: 512 MiB
    passthrough: [pcie@3f000000]
  client:
    image: {{kernel: {kernel}, initramfs: {client}, role: client}}
    memory: 512 MiB
    # usbtest spins in the kernel until a transfer that it takes back has ended, and vhci ends it in a thread.
    vcpus: 2
network:
  allow: [client -> server tcp/3240]
usb:
{rules}
"""
SOUND_SOCKET = 2
SOUND = f"plug{SOUND_SOCKET}"
"""QEMU's name of the audio back end that writes `Stand.sound`."""
SLOW = 4
"""How many times as long as the limits say, which are a quiet computer's, things may take before they count as hung."""
PATHS = ("1-1", "2-1", "1-1.1", "3-1")
"""The first port at either speed, what is behind a hub in it, and dummy_hcd's port."""
ROLE = """. /usr/lib/router/lib
run_usbip serve --engine {engine} --release --policy /etc/router/usb-policy --listen "$IP"
"""
SWITCH = """
daemon() {{ ps | sed -n 's/^ *\\([0-9]*\\).*[u]sbip.py serve.*/\\1/p'; }}
printf %s {role} >/tmp/role
mv /tmp/role /usr/lib/router/role-server
old=$(daemon)
kill $old
n=0
until new=$(daemon) && [ -n "$new" ] && [ "$new" != "$old" ] && grep -q ':0CA8 00000000:0000 0A' /proc/net/tcp; do
  n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.2
done
"""
GONE = """
n=0
while ls -d /sys/devices/platform/vhci_hcd.0/usb*/*-*/idVendor >/dev/null 2>&1; do
  n=$((n+1)); [ $n -lt 240 ] || exit 1; sleep 0.2
done
"""


@dataclass(frozen=True)
class Attached:
    """A device as the client sees it. speed in Mbit/s, as sysfs has it; drivers by interface name."""

    name: str
    speed: str
    config: int
    product: str
    descriptors: bytes
    drivers: dict[str, str]
    node: str

    @property
    def transfers(self) -> tuple[str, ...]:
        """Kinds of transfers that its endpoints make, in all alternate settings, control first."""
        alternates = parse_alternates(self.descriptors, self.config)
        kinds = {0} | {kind for endpoints in alternates.values() for kind in endpoints.values()}
        return tuple(KIND_NAMES[kind] for kind in sorted(kinds))

    def endpoint(self, interface: int, kind: int, out: bool) -> int:
        """The address of an interface's first endpoint of that kind (KIND_NAMES) and direction."""
        endpoints = parse_alternates(self.descriptors, self.config)[interface, 0]
        return next(address for address, its in endpoints.items() if its == kind and (address < 0x80) == out)


def build_bench(folder: Path, progress: Callable[[str], None]) -> tuple[Built, frozenset[str], str]:
    """The system, the names of the modules that the guests' kernel has, and the kernel's version."""
    cache = files.cache_folder()
    there = kernel_modules(cache=cache, progress=progress)
    wanted = {"server": SERVER_MODULES, "client": CLIENT_MODULES}
    texts = {
        f"bench-{role}": IMAGE.format(role=role, modules=", ".join(name for name in names if canonical(name) in there))
        for role, names in wanted.items()
    }
    definitions = extend_definitions(folder / "definitions", texts)
    images = {role: build_image(f"bench-{role}", cache=cache, folder=definitions, progress=progress) for role in wanted}
    rules = "".join(f"  - {{path: {path}, to: client}}\n" for path in PATHS)
    initramfs = {role: image.initramfs for role, image in images.items()}
    text = DESCRIPTION.format(kernel=images["server"].kernel, rules=rules, **initramfs)
    (folder / "bench.yaml").write_text(text)
    planned = plan_loaded(load(folder / "bench.yaml"), cache, progress)
    built = build(planned, folder / "build", cache, progress, loader_image=False)
    return built, there, images["server"].kernel_version


class Stand:
    """The running guests, as a context. `folder`: for images and sockets of the devices that are tried."""

    def __init__(self, built: Built, folder: Path, progress: Callable[[str], None]) -> None:
        self.folder = folder
        self.seen: Attached | None = None
        """What was attached last; None until the client has it."""
        self.engine = "kernel"
        """Which one the devices are tried with."""
        self.notes: dict[str, Any] = {}
        """What an exercise found out for its next time."""
        self._built = built
        self._progress = progress
        self._system: SplitRun | None = None
        self.sound = folder / "sound.wav"
        # On a port that no rule grants. Older QEMUs make audio back ends only as they start, so it is plugged in
        # then, and out again at once: its back end stays.
        self._plugs = (parse_plug(f"audio:{self.sound}", SOUND_SOCKET),)
        self._asked: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self._boot()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _boot(self) -> None:
        for last in (False, True):
            self._progress("booting two guests")
            try:
                self._start()
                return
            except MachineError as error:
                # One boot that fails must not cost the table.
                self._stop()
                if last:
                    raise
                self._progress(str(error))

    def _start(self) -> None:
        timeline = Timeline()
        timeline.mute()
        system = split_run(self._built, self._plugs, self.folder / "logs", timeline)
        self._system = system.__enter__()
        system.wait_ready(60 * SLOW)
        assert system.usb is not None, "the server has a USB controller"
        for plug in self._plugs:
            system.usb.unplug(plug.port)
        self.use(self.engine)

    def _stop(self) -> None:
        if self._system is not None:
            self._system.__exit__(None, None, None)
            self._system = None

    @property
    def system(self) -> SplitRun:
        """The running system."""
        assert self._system is not None, "inside the context"
        return self._system

    @property
    def qmp(self) -> Qmp:
        """The server guest's machine."""
        return self.system.guests["server"].qmp

    def use(self, engine: str) -> None:
        """Start the server's daemon again with that engine. `none`, which exports nothing, does not outlive a boot."""
        if engine != "none":
            self.engine = engine
        self.run("server", SWITCH.format(role=shlex.quote(ROLE.format(engine=engine))), 60)

    # Commands

    def run(self, guest: str, command: str, seconds: float = 20) -> str:
        """The output of a command that must succeed. MachineError says what it said last."""
        code, output = self.system.execute(guest, command, SLOW * seconds)
        text = output.decode(errors="replace")
        if code:
            last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
            raise MachineError(f"in the {guest}: {last}")
        return text

    def program(self, guest: str, program: str, seconds: float = 20, **constants: object) -> Any:
        """What a program of device_programs prints last, as a value."""
        return value_of(self.run(guest, shell(program, False, **{"MARK": "/vhci_hcd", **constants}), seconds))

    def rows(self, guest: str, program: str, seconds: float, **constants: object) -> list[Any]:
        """The values that a program prints line by line and then `end`; fewer when it hangs or dies."""
        printed: list[bytes] = []
        command = shell(program, False, **{"MARK": "/vhci_hcd", **constants})
        try:
            self.system.execute(guest, command, SLOW * seconds, printed.append)
        except MachineError as error:
            self._progress(error.message[:80])
        lines = b"".join(printed).decode(errors="replace").splitlines()
        return [ast.literal_eval(line) for line in lines if line.startswith("(") and line.endswith(")")]

    def begin(self, guest: str, program: str, seconds: float = 20, **constants: object) -> Callable[[], Any]:
        """Start a program and wait for its `ready`; the function that is returned waits for the end, as `program`."""
        name = f"/tmp/bench-{hashlib.sha256(repr((program, constants, time.monotonic_ns())).encode()).hexdigest()[:12]}"
        command = shell(program, False, **{"MARK": "/vhci_hcd", "SECONDS": seconds, **constants})
        patience = int(5 * SLOW * seconds) + 25
        self.run(
            guest,
            f"( ( {command} ) >{name}.out 2>&1; echo $? >{name}.code ) </dev/null >/dev/null 2>&1 & "
            f"n=0; until grep -q ready {name}.out 2>/dev/null || [ -e {name}.code ]; do "
            f"n=$((n+1)); [ $n -lt 400 ] || exit 1; sleep 0.2; done",
            40,
        )

        def finish() -> Any:
            wait = f"n=0; until [ -e {name}.code ]; do n=$((n+1)); [ $n -lt {patience} ] || exit 1; sleep 0.2; done"
            return value_of(self.run(guest, f"{wait}; cat {name}.out; exit $(cat {name}.code)", seconds + 20))

        return finish

    # Devices

    def plug(self, text: str) -> None:
        """Plug one of QEMU's devices into the first free port, as `router run --usb` names it."""
        assert self.system.usb is not None, "the server has a USB controller"
        port = self.system.usb.plug(text).port
        usb = self.system.usb
        self.on_end(lambda: usb.unplug(port))

    def on_end(self, undo: Callable[[], object]) -> None:
        """What is to be done when the device that is tried has had its turn."""
        self._asked.append(undo)

    def attached(self, device: str, driver: str = "", seconds: float = 20, settle: float = 6) -> Attached:
        """Wait for `vvvv:pppp` in the client, and for a driver on one of its interfaces; MachineError if it is not."""
        words = {"DEVICE": device, "DRIVER": driver, "SECONDS": SLOW * seconds, "SETTLE": SLOW * settle}
        facts = self.program("client", programs.FACTS, seconds + settle + 20, **words)
        if facts is None:
            raise MachineError(f"timed out: {device} did not appear in the client within {SLOW * seconds:g} s")
        self.seen = Attached(**facts)
        if driver and driver not in self.seen.drivers.values():
            raise MachineError(f"the driver {driver} did not bind")
        return self.seen

    def undo(self) -> str:
        """Take away what was plugged in; what went wrong with that, or ""."""
        trouble = ""
        while self._asked:
            undo = self._asked.pop()
            try:
                undo()
            except MachineError as error:
                trouble = error.message
        return trouble

    def clear(self) -> str:
        """After a device's turn: `undo`, and guests that are usable, by a fresh boot if need be; what went wrong."""
        trouble = self.undo()
        self.seen = None
        try:
            self.run("client", GONE, 40)
            self.run("server", "! dmesg | grep -q -e Oops -e 'BUG:'")
            return trouble
        except MachineError as error:
            self._progress(f"the guests are not as before ({error.message}): a fresh boot")
            self._stop()
            self._boot()
            return trouble or "the client kept the device after it was unplugged"

    def tell_trouble(self) -> None:
        """Say the last lines of both kernels' logs, with what hangs there (sysrq w)."""
        for guest in ("server", "client"):
            try:
                log = self.run(guest, "echo w >/proc/sysrq-trigger; dmesg | tail -n 40")
            except MachineError as error:
                log = error.message
            self._progress(f"{guest}:\n{log}")


def value_of(output: str) -> Any:
    """The Python literal in the last line of a program's output. MachineError: there is none."""
    last = (output.strip().splitlines() or [""])[-1]
    try:
        return ast.literal_eval(last)
    except (ValueError, SyntaxError) as error:
        raise MachineError(f"the guest's program printed {last[:200]!r}") from error
