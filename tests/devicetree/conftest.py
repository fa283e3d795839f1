# SPDX-License-Identifier: BSD-2-Clause
"""Trees for the device tree tests, and dtc and fdtget as their judges."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router.boards import board
from router.devicetree import Tree, base_tree
from router.devicetree.dtc import compile_source
from router.errors import HostError
from tests.support.patience import PATIENCE

HERE = Path(__file__).parent
Decompile = Callable[[bytes], str]


@pytest.fixture(autouse=True)
def _needs_dtc() -> None:
    if shutil.which("dtc") is None or shutil.which("fdtget") is None:
        pytest.skip("dtc and fdtget are missing (package device-tree-compiler)")


@pytest.fixture(scope="session")
def toy_blob() -> bytes:
    if shutil.which("dtc") is None:
        pytest.skip("dtc is missing (package device-tree-compiler)")
    return compile_source(HERE / "toy.dts")


@pytest.fixture
def toy(toy_blob: bytes) -> Tree:
    """A made-up SoC with one of everything; see toy.dts."""
    return Tree.parse(toy_blob, "toy.dts")


@pytest.fixture(scope="session")
def decompile() -> Decompile:
    """A blob as dtc prints it; dtc must accept it without an error."""

    def run(blob: bytes) -> str:
        done = subprocess.run(
            ["dtc", "-q", "-I", "dtb", "-O", "dts"], input=blob, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr.decode()
        # dtc 1.7 writes lists of strings apart where 1.6 writes \0: make both look alike.
        return done.stdout.decode().replace("\\0", '", "')

    return run


@pytest.fixture(scope="session")
def warnings_of() -> Callable[[bytes], set[str]]:
    """What dtc warns about, without the file's name."""

    def run(blob: bytes) -> set[str]:
        done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts"], input=blob, capture_output=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr.decode()
        return {line.partition("Warning ")[2] for line in done.stderr.decode().splitlines() if "Warning " in line}

    return run


@pytest.fixture
def fdtget(tmp_path: Path) -> Callable[..., str]:
    """What `fdtget [-t TYPE] BLOB PATH PROPERTY` reads."""

    def run(blob: bytes, path: str, name: str, kind: str = "x") -> str:
        file = tmp_path / "asked.dtb"
        file.write_bytes(blob)
        command = ["fdtget", "-t", kind, str(file), path, name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    return run


@pytest.fixture(scope="session")
def kernel_dtbs() -> Path:
    """The device trees of the guests' kernel package; the machine's apt fetches it once."""
    from router.guests import image

    try:
        return image.kernel_dtbs()
    except HostError as error:
        pytest.skip(f"no kernel package: {error.message}")


@pytest.fixture(scope="session")
def maaxboard(kernel_dtbs: Path) -> Tree:
    return base_tree(board("maaxboard").tree, lambda name: kernel_dtbs / name)
