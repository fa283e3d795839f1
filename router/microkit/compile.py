# SPDX-License-Identifier: BSD-2-Clause
"""Compiles and links the programs of all protection domains: in parallel, and only what has changed.

Objects lie under `objects/` of the build folder, programs under `programs/`. `router.cbuild` runs the steps; their
inputs are source, headers, flags, compiler and the SDK's library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.cbuild import PRODUCT, Step, contents, digest, headers, run_steps
from router.elf import segments
from router.microkit.programs import ROOT, Program, programs
from router.microkit.sdk import BUILD_INPUTS
from router.microkit.toolchain import LINK, Toolchain, find_toolchain
from router.plan.models import SystemPlan


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program's loaded segments: what its file brings (text and data), and what is zeroed beside it."""

    loaded: int
    zeroed: int


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
        return digest([self.sdk(), *contents(headers(ROOT / folder for folder in program.includes))])

    def object_steps(self, program: Program) -> list[Step]:
        """Compiling the sources of a program; programs with the same folders of headers share objects."""
        common = self.common(program)
        generated = self.folder / "objects" / "generated" / f"{program.name}.c"
        steps = [self.object_step(program, ROOT / name, name, [common]) for name in program.sources]
        return [*steps, self.object_step(program, generated, f"generated/{program.name}.c", [common, self.payloads])]

    def object_step(self, program: Program, source: Path, name: str, inputs: list[str]) -> Step:
        """Compiling one source."""
        group = program.includes[0].replace("/", "-")
        command = (*self.command(program), "-c", str(source), "-o", PRODUCT)
        product = self.folder / "objects" / group / f"{name.replace('/', '-')}.o"
        hashed = digest([*inputs, self.toolchain.version, *command, source.read_bytes()])
        return Step(f"compiling {name}", product, command, hashed)

    def command(self, program: Program) -> tuple[str, ...]:
        """The compiler and its flags for the sources of a program."""
        return (
            *(*self.toolchain.compiler, *self.toolchain.flags),
            *(f"-ffile-prefix-map={ROOT}=.", f"-ffile-prefix-map={self.folder}=build"),
            *(f"-I{ROOT / each}" for each in program.includes),
            *("-isystem", str(self.board_dir / "include")),
            *([f"-Wa,-I{self.folder}"] if program.name == "images" else []),
        )

    def link_step(self, program: Program, objects: Sequence[Step]) -> Step:
        """Linking a program from its objects."""
        command = (
            *(*self.toolchain.linker, *LINK, f"-L{self.board_dir / 'lib'}"),
            *(str(each.product) for each in objects),
            *("-lmicrokit", "-Tmicrokit.ld", "-o", PRODUCT),
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
    run_steps(compiles, log, ROOT)
    run_steps(links, log, ROOT)
    return {program.name: step.product for program, step in zip(objects, links, strict=True)}


def sizes(program: Path) -> Sizes:
    """The sizes of a program's loaded segments."""
    loaded = segments(program.read_bytes())
    in_file = sum(len(each.data) for each in loaded)
    return Sizes(in_file, sum(each.memory_size for each in loaded) - in_file)
