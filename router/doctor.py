"""Examines this computer for what the parts of router use: programs, versions, the Microkit SDK, package sources."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from router.boards import board, names
from router.errors import RouterError
from router.machines.qemu.tool import find_qemu


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `state`: `ok`, `partly` (something works without it) or `missing`."""

    state: str
    what: str
    detail: str
    mend: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        return asdict(self)


PROGRAMS = (
    ("dtc", "compiles the base device trees", "device-tree-compiler", True),
    ("cc", "builds the switch for split runs", "gcc", True),
    ("apt-get", "fetches the guests' packages", "apt", True),
    ("dpkg-deb", "unpacks the guests' packages", "dpkg", True),
    ("setpriv", "keeps QEMU from outliving router", "util-linux", True),
    (
        "aarch64-linux-gnu-gcc",
        "compiles the protection domains (needs the Microkit SDK too)",
        "gcc-aarch64-linux-gnu",
        False,
    ),
    ("tshark", "judges USB/IP captures in the tests", "tshark", False),
    ("usbip", "the C client that the tests compare with", "usbip", False),
)
"""Program, what it is for, the Debian package that has it, and whether building and running needs it."""


def program(name: str, use: str, package: str, needed: bool) -> Finding:
    """Whether a program is on PATH (or where Debian puts system programs)."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path:
        return Finding("ok", name, path)
    return Finding("missing" if needed else "partly", name, f"not installed: {use}", f"apt-get install {package}")


def python() -> Finding:
    """The interpreter and the packages that pyproject.toml names."""
    version = ".".join(map(str, sys.version_info[:3]))
    absent = []
    for package in ("pydantic", "jinja2", "pyfdt", "PyYAML", "fabric", "pyserial", "pyelftools"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            absent.append(package)
    if absent:
        return Finding("missing", "python", f"{version}, without {', '.join(absent)}", "pip install -e .")
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


def sdk() -> Finding:
    """The Microkit SDKs that are installed."""
    from router.microkit.sdk import installed_sdks

    found = installed_sdks()
    if not found:
        return Finding(
            "partly",
            "Microkit SDK",
            "none found: everything but loader.img is built",
            "unpack a release of it to ~/.local/share/microkit-sdk-VERSION, or set MICROKIT_SDK to where it is",
        )
    return Finding("ok", "Microkit SDK", ", ".join(f"{each.version} ({each.path})" for each in found))


def space(needed: int = 2 << 30) -> Finding:
    """Room for packages, images and build folders (bytes)."""
    free = shutil.disk_usage(Path.home()).free
    state = "ok" if free >= needed else "missing"
    return Finding(state, "disk space", f"{free >> 30} GiB free", None if state == "ok" else "free 2 GiB")


def examine() -> list[Finding]:
    """All findings, in the order in which a user would mend them."""
    rest: tuple[Callable[[], Finding], ...] = (sdk, space)
    return [python(), *(program(*row) for row in PROGRAMS), *qemu(), *(look() for look in rest)]
