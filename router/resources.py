# SPDX-License-Identifier: BSD-2-Clause
"""Where the files are that the program needs beside its Python code: C sources, trees, guest images, descriptions.

In a checkout (also one that is installed with `pip install --editable`) they are the top-level folders; in a wheel
they lie below `router/_data`. No other module computes a place of its own.
"""

from __future__ import annotations

from pathlib import Path

from router.errors import HostError

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parent
MEND = "install it again: pip install --force-reinstall, from a wheel or a checkout"
FOLDERS = ("common", "drivers", "dts", "guest-images", "system-descriptions", "vmm", "vswitch")


def checkout() -> Path | None:
    """The top folder of the checkout that the program runs from, or None where it is installed from a wheel."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "vmm").is_dir() else None


def root() -> Path:
    """The folder that holds FOLDERS."""
    return checkout() or PACKAGE / "_data"


def missing() -> list[str]:
    """Those of FOLDERS that the installation lacks."""
    return [name for name in FOLDERS if not (root() / name).is_dir()]


def folder(name: str) -> Path:
    """One of FOLDERS; HostError when the installation lacks it."""
    found = root() / name
    if not found.is_dir():
        raise HostError(f"this installation of router is incomplete: {found} is missing", hint=MEND)
    return found
