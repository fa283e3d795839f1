"""Compiles and links the programs of all protection domains: in parallel, and only what has changed.

Objects lie under `objects/` of the build folder, programs under `programs/`. Beside each lies a file `*.inputs` with a
hash of all that went into it (source, headers, flags, compiler, the SDK's library); an equal hash means nothing to do.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.errors import HostError
from router.microkit.programs import ROOT, Program, programs
from router.microkit.sdk import BUILD_INPUTS
from router.microkit.toolchain import FLAGS, LINK, Toolchain, find_toolchain
from router.plan.models import SystemPlan


@dataclass(frozen=True)
class Step:
    """One command and what it makes. `inputs`: a hash of all that the product depends on."""

    what: str
    product: Path
    command: tuple[str, ...]
    inputs: str

    @property
    def stamp(self) -> Path:
        return self.product.with_name(f"{self.product.name}.inputs")

    def is_done(self) -> bool:
        """Whether the product is there and was made from the same inputs."""
        return self.product.is_file() and self.stamp.is_file() and self.stamp.read_text() == self.inputs


def digest(parts: Iterable[str | bytes]) -> str:
    """One hash of several parts, each with its length so that no two lists run together."""
    found = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        found.update(b"%d:" % len(raw) + raw)
    return found.hexdigest()


def run_step(step: Step, log: Path) -> None:
    """Run a step's command; it writes `%` in place of the product, aside. HostError with its first error line."""
    step.product.parent.mkdir(parents=True, exist_ok=True)
    aside = step.product.with_name(f".{step.product.name}.new")
    command = [str(aside) if word == "%" else word for word in step.command]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode:
        aside.unlink(missing_ok=True)
        output = run.stderr.strip() or run.stdout.strip()
        with log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n{output}\n")
        lines = output.splitlines() or [f"exit code {run.returncode}"]
        first = next((line for line in lines if "error" in line.lower() or "undefined" in line), lines[-1])
        raise HostError(
            f"{Path(command[0]).name} fails at {step.what}: {first.removeprefix(f'{ROOT}/')}",
            hint=f"all it says: {log}",
        )
    step.stamp.unlink(missing_ok=True)
    aside.replace(step.product)
    step.stamp.write_text(step.inputs)


def run_steps(steps: Sequence[Step], log: Path) -> None:
    """Run those that are not done, as many at a time as there are processors; the first error ends it."""
    todo = [step for step in steps if not step.is_done()]
    if not todo:
        return
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = [pool.submit(run_step, step, log) for step in todo]
        try:
            for each in running:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@dataclass(frozen=True)
class Compilation:
    """What all programs of one build have in common."""

    toolchain: Toolchain
    board_dir: Path
    """The SDK's folder for the board and configuration."""
    folder: Path
    """The build folder, absolute."""
    payloads: str
    """A hash of the files that the generated `images.c` takes in as they are."""

    def sdk(self) -> str:
        """A hash of the SDK's part in the programs."""
        return digest(part for name in BUILD_INPUTS for part in (name, (self.board_dir / name).read_bytes()))

    def common(self, program: Program) -> str:
        """A hash of the SDK, and of all headers that the program's sources can include."""
        found = [path for folder in program.includes for path in sorted((ROOT / folder).glob("*.h"))]
        return digest([self.sdk(), *(part for path in found for part in (path.name, path.read_bytes()))])

    def object_steps(self, program: Program) -> list[Step]:
        """Compiling the sources of a program; programs with the same folders of headers share objects."""
        common = self.common(program)
        generated = self.folder / "objects" / "generated" / f"{program.name}.c"
        steps = [self.object_step(program, ROOT / name, name, [common]) for name in program.sources]
        return [*steps, self.object_step(program, generated, f"generated/{program.name}.c", [common, self.payloads])]

    def object_step(self, program: Program, source: Path, name: str, inputs: list[str]) -> Step:
        """Compiling one source."""
        group = program.includes[0].replace("/", "-")
        command = (
            *(*self.toolchain.compiler, *FLAGS),
            *(f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={self.folder}=build"),
            *(f"-I{ROOT / each}" for each in program.includes),
            *("-isystem", str(self.board_dir / "include")),
            *([f"-Wa,-I{self.folder}"] if program.name == "images" else []),
            *("-c", str(source), "-o", "%"),
        )
        product = self.folder / "objects" / group / f"{name.replace('/', '-')}.o"
        hashed = digest([*inputs, self.toolchain.version, *command, source.read_bytes()])
        return Step(f"compiling {name}", product, command, hashed)

    def link_step(self, program: Program, objects: Sequence[Step]) -> Step:
        """Linking a program from its objects."""
        command = (
            *(*self.toolchain.linker, *LINK, f"-L{self.board_dir / 'lib'}"),
            *(str(each.product) for each in objects),
            *("-lmicrokit", "-Tmicrokit.ld", "-o", "%"),
        )
        inputs = digest([self.sdk(), self.toolchain.version, *command, *(each.inputs for each in objects)])
        return Step(f"linking {program.name}", self.folder / "programs" / f"{program.name}.elf", command, inputs)


def compile_programs(
    plan: SystemPlan, board_dir: Path, configuration: Mapping[str, str], folder: Path, progress: Callable[[str], None]
) -> dict[str, Path]:
    """Compile and link the programs of all protection domains; each program's path by its domain's name.

    configuration: the generated C sources by file name. HostError when there is no compiler or it refuses a source.
    """
    folder = folder.absolute()
    for name, text in configuration.items():
        files.write(folder / "objects" / "generated" / name, text)
    payloads = digest(files.sha256(folder / each.payload) for each in plan.regions if each.payload is not None)
    compilation = Compilation(find_toolchain(), board_dir, folder, payloads if "images.c" in configuration else "")
    objects = {program: compilation.object_steps(program) for program in programs(plan)}
    links = [compilation.link_step(program, steps) for program, steps in objects.items()]
    log = folder / "objects" / "compiler.log"
    log.unlink(missing_ok=True)
    compiles = list({step.product: step for steps in objects.values() for step in steps}.values())
    if not all(step.is_done() for step in (*compiles, *links)):
        progress(f"compiling {len(links)} protection domains with {compilation.toolchain.name}")
    run_steps(compiles, log)
    run_steps(links, log)
    return {program.name: step.product for program, step in zip(objects, links, strict=True)}
