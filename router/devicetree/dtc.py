# SPDX-License-Identifier: BSD-2-Clause
"""Device tree sources to blobs by `dtc`, and overlays onto trees by `fdtoverlay`. Both take a few milliseconds."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from router import requirements
from router.devicetree.tree import Tree
from router.errors import DescriptionError, HostError

TIMEOUT = 20  # seconds; dtc needs 5 ms for the largest tree in Linux


def compile_source(source: Path) -> bytes:
    """The DTB of a .dts or .dtso file, with /__symbols__.

    Raises HostError when dtc is missing and DescriptionError, with dtc's own words, when it refuses the source.
    """
    if not source.is_file():
        raise HostError(
            "the device tree source is missing",
            "this installation lacks the folder dts/: install it again",
            str(source),
        )
    return _run("dtc", ["-q", "-@", "-I", "dts", "-O", "dtb", "-o", "-", str(source)], source.name)


def apply_overlay(base: Tree, overlay: bytes, where: str) -> Tree:
    """`base` with a compiled overlay on it; the labels that the overlay names are looked up in the base's /__symbols__.

    Raises DescriptionError when the overlay does not fit, for instance because a label is missing.
    """
    with tempfile.TemporaryDirectory(prefix="router-dt-") as folder:
        bottom, top, result = (Path(folder) / name for name in ("base.dtb", "overlay.dtbo", "result.dtb"))
        bottom.write_bytes(base.to_bytes())
        top.write_bytes(overlay)
        _run("fdtoverlay", ["-i", str(bottom), "-o", str(result), str(top)], where)
        return Tree.read(result)


def _run(tool: str, arguments: list[str], where: str) -> bytes:
    program = requirements.find(tool)
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise HostError(
            f"'{tool}' did not end within {TIMEOUT} s", "see what else runs on this computer", where
        ) from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        lines = [line for line in said if line]
        raise DescriptionError(
            f"{tool} refuses it: {lines[0] if lines else 'without a word'}", "; ".join(lines[1:4]) or None, where
        )
    return done.stdout
