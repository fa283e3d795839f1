# SPDX-License-Identifier: BSD-2-Clause
"""Examines this computer for what the parts of router use: programs, versions, the Microkit SDK, package sources."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from router import __version__, resources
from router.boards import board, names
from router.errors import RouterError
from router.machines.qemu.tool import PROGRAM as QEMU
from router.machines.qemu.tool import find_qemu
from router.requirements import DISTRIBUTION, REQUIREMENTS, look_for


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `state`: `ok`, `partly` (something works without it) or `missing`."""

    state: str
    what: str
    detail: str
    mend: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


def installation() -> Finding:
    """Whether all folders of data that the program needs are there."""
    absent = resources.missing()
    if absent:
        return Finding("missing", "router", f"{resources.root()} lacks {', '.join(absent)}", resources.MEND)
    return Finding("ok", "router", f"{__version__}, {resources.root()}")


def programs() -> list[Finding]:
    """Programs that router runs on this computer."""
    findings = []
    for each in REQUIREMENTS:
        for name in each.programs:
            path = look_for(name)
            state = "missing" if each.needed else "partly"
            if name == QEMU:
                continue
            if path:
                findings.append(Finding("ok", name, path))
            else:
                findings.append(
                    Finding(state, name, f"not installed: it {each.use}", f"apt-get install {each.package}")
                )
    return findings


def python() -> Finding:
    """The interpreter, and the packages that this distribution depends on."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        requirements = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("missing", "python", f"{version}, without {DISTRIBUTION} itself", resources.MEND)
    needed = [re.split(r"[^\w.-]", each, maxsplit=1)[0] for each in requirements if "extra ==" not in each]
    absent = []
    for package in needed:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        return Finding(
            "missing", "python", f"{version}, without {', '.join(absent)}", f"pip install {' '.join(absent)}"
        )
    return Finding("ok", "python", f"{version} in {sys.prefix}")


def qemu() -> list[Finding]:
    """QEMU, and for each board whether its model is good enough."""
    try:
        found = find_qemu()
    except RouterError as error:
        return [Finding("missing", "qemu-system-aarch64", error.message, error.hint)]
    shown = ".".join(map(str, found.version))
    findings = [Finding("ok", "qemu-system-aarch64", f"{shown}, {found.path}")]
    for name in names():
        model = board(name).emulated
        if model is None:
            continue
        machine = model.machine.split(",")[0]
        if found.version[:2] >= model.oldest:
            findings.append(Finding("ok", f"  board {name}", f"runs on QEMU's {machine}"))
        else:
            oldest = ".".join(map(str, model.oldest))
            findings.append(
                Finding(
                    "partly",
                    f"  board {name}",
                    f"its image runs on QEMU's {machine} from {oldest} on; it builds and deploys without",
                    f"install QEMU {oldest} or newer (Debian 12 has 7.2, Debian 13 has 10.0) first on PATH, "
                    "or set ROUTER_QEMU",
                )
            )
    return findings


def sdk() -> list[Finding]:
    """The Microkit SDKs that are installed, and the folders that only look like one."""
    from router.microkit.sdk import survey

    whole, broken = survey()
    findings = [Finding("partly", "Microkit SDK", f"{each.where}: {each.message}", each.hint) for each in broken]
    if whole:
        named = ", ".join(f"{each.version} ({each.path})" for each in whole)
        return [Finding("ok", "Microkit SDK", named), *findings]
    none = "none found: everything but loader.img is built"
    return [Finding("partly", "Microkit SDK", none, "router sdk install"), *findings]


def space(needed: int = 2 << 30) -> Finding:
    """Room for packages, images and build folders (bytes)."""
    free = shutil.disk_usage(Path.home()).free
    state = "ok" if free >= needed else "missing"
    return Finding(state, "disk space", f"{free >> 30} GiB free", None if state == "ok" else "free 2 GiB")


def examine() -> list[Finding]:
    """All findings, in the order in which a user would mend them."""
    return [installation(), python(), *programs(), *qemu(), *sdk(), space()]
