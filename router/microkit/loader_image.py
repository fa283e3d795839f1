# SPDX-License-Identifier: BSD-2-Clause
"""From a build folder to `loader.img`: generated configuration, programs, and the SDK's `microkit` tool."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from router import files, trusted
from router.cbuild import digest
from router.errors import HostError
from router.microkit.compile import Sizes, compile_programs, sizes
from router.microkit.configuration import Loaded, render_configuration
from router.microkit.guard import guard_code, guarded
from router.microkit.placed import placed_sdk
from router.microkit.sdk import Sdk
from router.plan.models import SystemPlan

IMAGE = "loader.img"
KERNEL = "sel4.elf"
REPORT = "report.txt"
"""The tool's own account of the image: capabilities, addresses, who has what."""


@dataclass(frozen=True)
class LoaderImage:
    """A bootable image and what it is made of."""

    path: Path
    sdk: str
    config: str
    start: str
    """The boot loader's command that starts it."""
    programs: Mapping[str, Sizes]
    """By protection domain."""
    kernel: Path
    """seL4 as the SDK has it."""

    @property
    def size(self) -> int:
        """Bytes of the image."""
        return self.path.stat().st_size

    def summary(self) -> str:
        """One line for people."""
        return f"SDK {self.sdk} {self.config} → {self.path} {self.size / 1e6:.1f} MB   start with: {self.start}"

    def program_summary(self) -> str:
        """The programs and the sizes of their text and data."""
        kib = {name: each.loaded / 1024 for name, each in self.programs.items()}
        return ", ".join(
            f"{name} {size:.1f} KiB" if size < 1024 else f"{name} {size / 1024:.1f} MiB" for name, size in kib.items()
        )


def build_loader_image(
    plan: SystemPlan, sdk: Sdk, loaded: Mapping[str, Loaded], folder: Path, progress: Callable[[str], None]
) -> LoaderImage:
    """Make `loader.img` in a build folder that has all other files; what is unchanged is not made again.

    loaded: where each guest's files go. HostError when the SDK lacks the board, the compiler is missing or refuses a
    source, or the tool refuses the system.
    """
    board_dir = sdk.board_dir(plan.board.microkit, plan.config)
    built = compile_programs(plan, board_dir, render_configuration(plan, loaded), folder, progress)
    image = folder / IMAGE
    used = [folder / f"{plan.name}.system", *built.values(), *payloads(plan, folder), sdk.tool]
    used += sorted((board_dir / "elf").iterdir())
    guard = guard_code(folder / "objects")
    place = f"{plan.board.loader:#x}"
    inputs = digest([str(sdk.path), place, guard, *(part for path in used for part in (str(path), files.sha256(path)))])
    products = (image, folder / REPORT)
    if not all(trusted.is_ours(product, inputs) for product in products):
        progress(f"making {IMAGE} with Microkit SDK {sdk.version}")
        image.unlink(missing_ok=True)
        run_tool(plan, sdk, folder, guard)
        for product in products:
            trusted.remember(product, inputs)
    for product in products:
        trusted.remember(product, product.name)  # for `discard_ours`, which does not know the inputs
    programs = {name: sizes(path) for name, path in built.items()}
    kernel = board_dir / "elf" / KERNEL
    return LoaderImage(image, sdk.version, plan.config, plan.board.start, programs, kernel)


def payloads(plan: SystemPlan, folder: Path) -> list[Path]:
    """The files that regions are filled with."""
    return [folder / region.payload for region in plan.regions if region.payload is not None]


def run_tool(plan: SystemPlan, sdk: Sdk, folder: Path, guard: bytes) -> None:
    """Run `microkit`; its outputs get their names only when it succeeds. HostError with its words otherwise.

    guard: the code that goes in front of the boot loader (`router.microkit.guard`).
    """
    objects = folder / "objects"
    with tempfile.TemporaryDirectory(dir=objects) as scratch:
        image, report = Path(scratch) / IMAGE, Path(scratch) / REPORT
        outputs = ["-o", str(image), "-r", str(report)]
        call_tool(plan, sdk, folder / f"{plan.name}.system", folder, outputs, objects / "microkit.log")
        files.write(folder / IMAGE, guarded(image.read_bytes(), guard))
        report.replace(folder / REPORT)


def call_tool(plan: SystemPlan, sdk: Sdk, system: Path, folder: Path, outputs: list[str], log: Path) -> None:
    """Run `microkit` on a system description with the programs and payloads of a build folder.

    HostError with its words when it fails; all that it says goes to `log`.
    """
    # The description comes first: the search path takes all words that follow it.
    command = [str(sdk.tool), str(system), "--board", plan.board.microkit, "--config", plan.config, *outputs]
    command += ["--search-path", str(folder), str(folder / "programs")]
    with placed_sdk(plan, sdk) as place:
        run = subprocess.run(
            command,
            env={**os.environ, "MICROKIT_SDK": str(place)},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    files.write(log, f"$ {' '.join(command)}\n{run.stdout}{run.stderr}")
    if run.returncode:
        raise HostError(
            f"the microkit tool of SDK {sdk.version} fails: {first_error(run.stderr or run.stdout, run.returncode)}",
            hint=f"all it says: {log}",
        )


def first_error(output: str, code: int) -> str:
    """The line of the tool's output that says what is wrong: its own error, or the message of a panic."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for n, line in enumerate(lines):
        if "panicked at" in line:
            return " ".join(lines[n : n + 2])
        if line.lower().startswith("error"):
            return line.partition(":")[2].strip() or line
    return lines[-1] if lines else f"exit code {code}, and it says nothing"


MADE_OF_IT = (IMAGE, REPORT, "deploy.json", "loader.booti")


def discard(folder: Path) -> None:
    """Remove an image that must not be used, and what was made for it."""
    for name in MADE_OF_IT:
        (folder / name).unlink(missing_ok=True)


def discard_ours(folder: Path) -> None:
    """Remove what an earlier build of this user made: without an SDK it cannot be made anew, and it would not be this
    system's. An image that was copied in from elsewhere is not ours to remove; it is deployed with --no-build only."""
    for name in MADE_OF_IT:
        if trusted.is_ours(folder / name, name):
            (folder / name).unlink()
