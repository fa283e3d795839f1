# SPDX-License-Identifier: BSD-2-Clause
"""Tries USB devices over the route: each device with each engine, with a new boot only after a guest failed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.devices.catalogue import DEVICES
from bench.devices.models import ENGINES, UNTRIED, Device, NotTried, Outcome, Trial, trial
from bench.devices.rig import VCPUS, Rig, build_bench
from bench.systems import Progress
from router.errors import DescriptionError, HostError, MachineError
from router.machines.qemu.tool import find_qemu

KINDS = {"split": "split run", "sel4": "seL4 on one core, configuration release"}


def choose(names: Sequence[str]) -> tuple[Device, ...]:
    """The devices of these names, or all without names; DescriptionError for an unknown one."""
    known = {device.name: device for device in DEVICES}
    for name in names:
        if name not in known:
            raise DescriptionError(f"no device '{name}'", hint=f"there are: {', '.join(known)}", where="--only")
    return tuple(device for device in DEVICES if not names or device.name in names)


def try_device(rig: Rig, device: Device, engine: str, there: frozenset[str], progress: Progress) -> Trial:
    """One device with the daemon's current engine."""
    missing = [name for name in device.modules if name not in there]
    if missing:
        reason = f"the guests' kernel has no module {', '.join(missing)}"
        return Trial(device.name, device.what, engine, UNTRIED, reason)
    start = time.monotonic()
    outcome: Outcome | str
    try:
        outcome = device.exercise(rig)
    except NotTried as error:
        rig.reset()
        return Trial(device.name, device.what, engine, UNTRIED, reason_of(error))
    except MachineError as error:
        outcome = reason_of(error)
        progress(f"{device.name} with {engine}: {outcome}")
        rig.show_kernel_logs()
    seen = rig.device
    trouble = rig.reset()
    return trial(device, engine, seen, outcome, trouble, round(time.monotonic() - start, 1))


def reason_of(error: MachineError) -> str:
    """Why an exercise failed, in one line; a timeout is called one."""
    if "did not end within" in error.message or "does not answer" in error.message:
        return f"timed out ({error.hint or error.message})"
    return " ".join(error.message.split())


def run_devices(
    devices: Sequence[Device],
    engines: Sequence[str],
    progress: Progress,
    report: Callable[[Trial], None],
    on: str = "split",
) -> tuple[list[Trial], tuple[str, ...]]:
    """Every device with every engine: the rows and the conditions. `report` gets each row when it is ready.

    on: one of MACHINES. HostError for seL4 without an SDK.
    """
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built, there, kernel = build_bench(folder, on, progress)
        if on == "sel4" and built.loader_image is None:
            raise HostError("there is no Microkit SDK to build the system with", hint="router sdk install")
        rows: list[Trial] = []
        with Rig(built, folder, on, progress) as rig:
            for engine in engines:
                rig.use_engine(engine)
                for device in devices:
                    progress(f"trying {device.name} with engine {engine}")
                    rows.append(try_device(rig, device, engine, there, progress))
                    report(rows[-1])
    version = ".".join(map(str, find_qemu().version))
    return rows, (
        f"QEMU {version}, {KINDS[on]}, TCG; cortex-a53, 512 MiB a guest; vCPUs: server 1, client {VCPUS[on]}",
        "USB controller of the server: qemu-xhci",
        f"Debian's kernel {kernel} in both guests; MTU 1500 between them",
    )


def chosen_engines(text: str) -> tuple[str, ...]:
    """The engines that `--engine` names."""
    return ENGINES if text == "both" else (text,)
