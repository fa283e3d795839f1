"""Tries USB devices over the route: each device with each engine, in as few boots as the guests' health allows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.device_models import ENGINES, UNTRIED, Device, NotTried, Outcome, Trial, trial
from bench.device_stand import Stand, build_bench
from bench.exercises import QEMU_DEVICES
from bench.exercises_gadget import GADGETS
from router.errors import DescriptionError, MachineError
from router.machines.qemu.tool import find_qemu

DEVICES = (*QEMU_DEVICES, *GADGETS)
LEFT_OUT = (
    ("usb-host", "hands a real device of this computer to a guest"),
    ("usb-redir", "needs another machine that has the device"),
    ("u2f-passthru, u2f-emulated", "need a real security key, or a QEMU that was built with libu2f-emu"),
    ("ccid-card-emulated", "needs a certificate store of NSS; the reader is tried with ccid-card-passthru instead"),
    ("isochronous transfers to the client", "no emulated device makes them, and dummy_hcd has no endpoints for them"),
    ("low speed", "no emulated device has it"),
)
"""What is not tried, and why: of QEMU's devices, and of what USB has."""


def choose(names: Sequence[str]) -> tuple[Device, ...]:
    """The devices of these names, all without any; DescriptionError for one that there is not."""
    known = {device.name: device for device in DEVICES}
    for name in names:
        if name not in known:
            raise DescriptionError(f"no device '{name}'", hint=f"there are: {', '.join(known)}", where="--only")
    return tuple(device for device in DEVICES if not names or device.name in names)


def try_device(
    stand: Stand, device: Device, engine: str, there: frozenset[str], progress: Callable[[str], None]
) -> Trial:
    """One device with the engine that runs."""
    missing = [name for name in device.modules if name not in there]
    if missing:
        reason = f"the guests' kernel has no module {', '.join(missing)}"
        return Trial(device.name, device.what, engine, UNTRIED, reason)
    start = time.monotonic()
    outcome: Outcome | str
    try:
        outcome = device.exercise(stand)
    except NotTried as error:
        stand.clear()
        return Trial(device.name, device.what, engine, UNTRIED, reason_of(error))
    except MachineError as error:
        outcome = reason_of(error)
        progress(f"{device.name} with {engine}: {outcome}")
        stand.tell_trouble()
    seen = stand.seen
    trouble = stand.clear()
    return trial(device, engine, seen, outcome, trouble, round(time.monotonic() - start, 1))


def reason_of(error: MachineError) -> str:
    """Why an exercise failed, in one line; a time limit is called that."""
    if "did not end within" in error.message or "does not answer" in error.message:
        return f"timed out ({error.hint or error.message})"
    return " ".join(error.message.split())


def run_devices(
    devices: Sequence[Device], engines: Sequence[str], progress: Callable[[str], None], report: Callable[[Trial], None]
) -> tuple[list[Trial], tuple[str, ...]]:
    """Every device with every engine: the rows, and the conditions. `report` gets each row as it is made."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built, there, kernel = build_bench(folder, progress)
        rows: list[Trial] = []
        with Stand(built, folder, progress) as stand:
            for engine in engines:
                stand.use(engine)
                for device in devices:
                    rows.append(try_device(stand, device, engine, there, progress))
                    report(rows[-1])
    version = ".".join(map(str, find_qemu().version))
    return rows, (
        f"QEMU {version}, split run, TCG; cortex-a53, 512 MiB a guest; 1 vCPU in the server, 2 in the client",
        "USB controller of the server: qemu-xhci",
        f"Debian's kernel {kernel} in both guests; MTU 1500 between them",
    )


def chosen_engines(text: str) -> tuple[str, ...]:
    """The engines that `--engine` names."""
    return ENGINES if text == "both" else (text,)
