# SPDX-License-Identifier: BSD-2-Clause
"""Two guests in which USB devices are tried: a device is plugged into the server and used in the client over USB/IP.

One boot serves many devices and both engines: the daemon is restarted with the other one. When a guest hangs or dies,
both are booted again.
"""

from __future__ import annotations

import ast
import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, Self

from bench import programs
from bench.guest import usb_device
from bench.systems import Progress, build_system
from router import files
from router.control.timeline import Timeline
from router.description.guest_image import extend_definitions
from router.errors import MachineError
from router.guests.image import build_image, kernel_modules
from router.guests.modules import canonical
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.usb import parse_plug
from router.pipeline.build import Built
from router.usbip.protocol.descriptors import KIND_NAMES, parse_alternates

P = ParamSpec("P")

CLIENT_MODULES = ("usbtest", "wacom", "rndis_host", "uvcvideo", "cdc_ncm", "usblp")
SERVER_MODULES = (
    *("dummy_hcd", "libcomposite", "usbtest", "usb_f_ss_lb", "usb_f_mass_storage", "usb_f_acm", "usb_f_ecm"),
    *("usb_f_ncm", "usb_f_hid", "usb_f_rndis", "usb_f_printer", "usb_f_uac2", "usb_f_uvc", "snd-usb-audio"),
)
PROGRAMS = """
# What a person would use the devices with.
packages: [alsa-utils, evtest, fido2-tools]
files:
  - "usr/bin/aplay"
  - "usr/bin/evtest"
  - "usr/bin/fido2-token"
  - "usr/share/alsa/*"
"""
"""Of the client's image: Debian's."""
IMAGE = """
summary: usb-{role} with more modules
extends: [usb-{role}]
{programs}
# The daemon's script is replaced, and drivers are loaded.
read_only: false
lock_kernel: false
modules:
  available: [{modules}]
"""
DESCRIPTION = """
system: bench-devices
board: qemu
microkit: {{config: release}}
guests:
  server:
    image: {{kernel: kernel, initramfs: server, role: server}}
    memory: 512 MiB
    passthrough: [pcie@3f000000]
  client:
    image: {{kernel: kernel, initramfs: client, role: client}}
    memory: 512 MiB
    vcpus: {vcpus}
network:
  allow: [client -> server tcp/3240]
usb:
{rules}
"""
MACHINES: dict[str, Callable[..., Run]] = {"split": split_run, "sel4": microkit_run}
"""Where the guests run."""
VCPUS = {"split": 2, "sel4": 1}
"""Of the client. usbtest busy-waits in the kernel until a transfer that it unlinks has ended, and vhci ends it in a
thread: with one vCPU that takes as long as Linux lets the one wait for the other.
"""
BOOT_TIMEOUT_S = {"split": 60.0, "sel4": 200.0}
SOUND_PORT = 2
SOUND = f"plug{SOUND_PORT}"
"""QEMU's name of the audio back end that writes `Rig.sound`."""
TIMEOUT_FACTOR = 4
"""Timeouts are given for a quiet computer; on a slow or busy one things take up to so many times as long."""
PATHS = ("1-1", "2-1", "1-1.1", "2-2", "3-1")
"""The first USB port at either speed, the first port of a hub in it, a disk's in the second, and dummy_hcd's port."""


@dataclass(frozen=True)
class Attached:
    """A device as the client sees it. speed: Mbit/s, as in sysfs; drivers: by interface name."""

    name: str
    speed: str
    config: int
    product: str
    descriptors: bytes
    drivers: dict[str, str]
    node: str

    @property
    def transfers(self) -> tuple[str, ...]:
        """Transfer types of its endpoints, in all alternate settings; control first."""
        alternates = parse_alternates(self.descriptors, self.config)
        kinds = {0} | {kind for endpoints in alternates.values() for kind in endpoints.values()}
        return tuple(KIND_NAMES[kind] for kind in sorted(kinds))

    def endpoint(self, interface: int, kind: int, out: bool) -> int:
        """The address of an interface's first endpoint of that transfer type (KIND_NAMES) and direction."""
        endpoints = parse_alternates(self.descriptors, self.config)[interface, 0]
        return next(address for address, its in endpoints.items() if its == kind and (address < 0x80) == out)


def build_bench(folder: Path, on: str, progress: Progress) -> tuple[Built, frozenset[str], str]:
    """The system for one of MACHINES, the names of the modules of the guests' kernel, and that kernel's version."""
    cache = files.cache_folder()
    there = kernel_modules(cache=cache, progress=progress)
    wanted = {"server": SERVER_MODULES, "client": CLIENT_MODULES}
    texts = {
        f"bench-{role}": IMAGE.format(
            role=role,
            programs=PROGRAMS if role == "client" else "",
            modules=", ".join(name for name in names if canonical(name) in there),
        )
        for role, names in wanted.items()
    }
    definitions = extend_definitions(folder / "definitions", texts)
    images = {role: build_image(f"bench-{role}", cache=cache, folder=definitions, progress=progress) for role in wanted}
    rules = "".join(f"  - {{path: {path}, to: client}}\n" for path in PATHS)
    # A description reads no file outside its folder.
    for source, name in (
        (images["server"].kernel, "kernel"),
        *((image.initramfs, role) for role, image in images.items()),
    ):
        shutil.copy(source, folder / name)
    text = DESCRIPTION.format(rules=rules, vcpus=VCPUS[on])
    built = build_system(folder, text, progress, loader_image=on == "sel4")
    return built, there, images["server"].kernel_version


class Rig:
    """The running guests, as a context. `folder`: for images and sockets of the devices. on: one of MACHINES."""

    def __init__(self, built: Built, folder: Path, on: str, progress: Progress) -> None:
        self.folder = folder
        self._on = on
        self.device: Attached | None = None
        """The device that is being tried; None until the client has it."""
        self.engine = "kernel"
        """The daemon's engine, with which devices are tried."""
        self.native: dict[str, Any] = {}
        """Results without USB/IP, which are the same for both engines, by exercise."""
        self._built = built
        self._progress = progress
        self._system: Run | None = None
        self.sound = folder / "sound.wav"
        # In a USB port that no rule grants. Older QEMUs make audio back ends at their start only, so the device is
        # plugged in then and unplugged at once; its back end remains.
        self._plugs = (parse_plug(f"audio:{self.sound}", SOUND_PORT),)
        self._cleanups: list[Callable[[], object]] = []

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
                # One failed boot must not cost the whole table.
                self._stop()
                if last:
                    raise
                self._progress(str(error))

    def _start(self) -> None:
        timeline = Timeline()
        timeline.mute()
        system = MACHINES[self._on](self._built, self._plugs, self.folder / "logs", timeline)
        self._system = system.__enter__()
        system.wait_ready(BOOT_TIMEOUT_S[self._on] * TIMEOUT_FACTOR)
        assert system.usb is not None, "the server has a USB controller"
        for plug in self._plugs:
            system.usb.unplug(plug.port)
        self.use_engine(self.engine)

    def _stop(self) -> None:
        if self._system is not None:
            self._system.__exit__(None, None, None)
            self._system = None

    @property
    def system(self) -> Run:
        """The running system."""
        assert self._system is not None, "inside the context"
        return self._system

    @property
    def qmp(self) -> Qmp:
        """The server guest's machine."""
        return self.system.guests["server"].qmp

    def use_engine(self, engine: str) -> None:
        """Restart the server's daemon with that engine. `none` exports nothing, until the next call or boot."""
        if engine != "none":
            self.engine = engine
        self.run("server", programs.script("restart_daemon", engine), 60)

    # Commands

    def run(self, guest: str, command: str, seconds: float = 20) -> str:
        """The output of a command that must succeed. MachineError has the last line of its output."""
        code, output = self.system.execute(guest, command, TIMEOUT_FACTOR * seconds)
        text = output.decode(errors="replace")
        if code:
            last = (text.strip().splitlines() or [f"exit code {code}"])[-1]
            raise MachineError(f"in the {guest}: {last}")
        return text

    def program(
        self, guest: str, seconds: float, program: Callable[P, None], *args: P.args, **arguments: P.kwargs
    ) -> Any:
        """The last value that a program of bench/guest prints."""
        return value_of(self.run(guest, programs.command(program, *args, **arguments), seconds))

    def rows(
        self, guest: str, seconds: float, program: Callable[P, None], *args: P.args, **arguments: P.kwargs
    ) -> list[Any]:
        """The tuples that a program prints, one a line; fewer when it hangs or dies."""
        printed: list[bytes] = []
        command = programs.command(program, *args, **arguments)
        try:
            self.system.execute(guest, command, TIMEOUT_FACTOR * seconds, printed.append)
        except MachineError as error:
            self._progress(error.message[:80])
        lines = b"".join(printed).decode(errors="replace").splitlines()
        return [ast.literal_eval(line) for line in lines if line.startswith("(") and line.endswith(")")]

    def start(
        self, guest: str, seconds: float, program: Callable[P, None], *args: P.args, **arguments: P.kwargs
    ) -> Callable[[], Any]:
        """Start a program and wait until it prints `ready`. The returned function waits for its last value."""
        command = programs.command(program, *args, **arguments)
        name = f"/tmp/bench-{hashlib.sha256(f'{command}{time.monotonic_ns()}'.encode()).hexdigest()[:12]}"
        self.run(guest, programs.script("background", name, command), 40)

        def finish() -> Any:
            limit = int(TIMEOUT_FACTOR * seconds) + 5
            return value_of(self.run(guest, programs.script("await_background", name, limit), seconds + 20))

        return finish

    def wait_for_paths(self, guest: str, glob: str, seconds: int) -> list[str]:
        """The paths in a guest that match, once there is one."""
        return self.run(guest, programs.script("wait_for_paths", glob, seconds), seconds + 10).split()

    # Devices

    def plug(self, text: str) -> None:
        """Plug one of QEMU's devices into the first free USB port; `text` as for `router run --usb`."""
        assert self.system.usb is not None, "the server has a USB controller"
        port = self.system.usb.plug(text).port
        usb = self.system.usb
        self.add_cleanup(lambda: usb.unplug(port))

    def add_cleanup(self, action: Callable[[], object]) -> None:
        """Do something when the device has been tried; the last one added is done first."""
        self._cleanups.append(action)

    def wait_attached(self, device: str, driver: str = "", seconds: float = 20, settle: float = 6) -> Attached:
        """Wait for `vvvv:pppp` in the client, and for a driver on one of its interfaces; else MachineError."""
        timeout_s, settle_s = TIMEOUT_FACTOR * seconds, TIMEOUT_FACTOR * settle
        facts = self.program(
            "client",
            seconds + settle + 20,
            usb_device.describe,
            device=device,
            driver=driver,
            timeout_s=timeout_s,
            settle_s=settle_s,
        )
        if facts is None:
            raise MachineError(f"timed out: {device} did not appear in the client within {timeout_s:g} s")
        self.device = Attached(**facts)
        if driver and driver not in self.device.drivers.values():
            raise MachineError(f"the driver {driver} did not bind")
        return self.device

    def wait_routed(self, folder: str, pattern: str) -> str:
        """The routed device in a folder of the client's sysfs whose name fits a pattern of grep, once it is there."""
        return self.run("client", programs.script("routed_name", folder, pattern, 15), 40).strip()

    def wait_disk(self) -> str:
        """The path of the client's routed disk, once there is one."""
        return f"/dev/{self.wait_routed('/sys/block', 'sd.')}"

    def disk_bytes(self, disk: str) -> int:
        """How many bytes the client has read from that disk so far (Documentation/block/stat.rst)."""
        return 512 * int(self.run("client", f"cat /sys/block/{Path(disk).name}/stat").split()[2])

    def note(self, text: str) -> None:
        """A line for whoever watches."""
        self._progress(text)

    def cleanup(self) -> str:
        """Do what `add_cleanup` asked for; what went wrong with that, or ""."""
        trouble = ""
        while self._cleanups:
            action = self._cleanups.pop()
            try:
                action()
            except MachineError as error:
                trouble = error.message
        return trouble

    def reset(self) -> str:
        """After a device: `cleanup`, and usable guests, by a fresh boot if need be; what went wrong, or ""."""
        trouble = self.cleanup()
        self.device = None
        try:
            self.run("client", programs.script("all_detached"), 40)
            self.run("server", "! dmesg | grep -q -e Oops -e 'BUG:'")
            return trouble
        except MachineError as error:
            self._progress(f"booting again, because a guest is not as before: {error.message}")
            self._stop()
            self._boot()
            return trouble or "the client kept the device after it was unplugged"

    def show_kernel_logs(self) -> None:
        """The last lines of both kernels' logs, with their blocked tasks (sysrq w), as progress."""
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
