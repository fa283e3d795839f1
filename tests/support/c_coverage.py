# SPDX-License-Identifier: BSD-2-Clause
"""Lines of the C cores that the host's cases execute (`make coverage`): compiled by gcc --coverage, counted by gcov.

Fuzzers, proofs, threads and seL4 reach more; they are not counted. PD entry files and drivers that touch hardware
cannot run on the host, and are listed as not covered.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.vmm.cc import CORES, FOLDERS, PROGRAMS, ROOT, cases

FLAGS = ["-std=gnu11", "--coverage", "-O0", "-g"]
_FILE = re.compile(r"^File '(.*)'\nLines executed:([\d.]+)% of (\d+)$", re.MULTILINE)


def measure(folder: Path) -> dict[Path, tuple[int, int]]:
    """Lines executed and lines that there are, by source."""
    includes = [f"-I{each}" for each in (*FOLDERS, PROGRAMS)]
    objects = []
    for source in CORES:
        subprocess.run(["gcc", *includes, *FLAGS, "-c", str(source), "-o", f"{source.stem}.o"], cwd=folder, check=True)
        objects.append(f"{source.stem}.o")
    for program in sorted({source for source, _ in cases()}):
        command = ["gcc", *includes, *FLAGS, str(PROGRAMS / program), *objects, "-o", Path(program).stem]
        subprocess.run(command, cwd=folder, check=True)
    for program, case in cases():
        subprocess.run([f"./{Path(program).stem}", case], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    found = {}
    for source in CORES:
        said = subprocess.run(
            ["gcov", "-n", f"{source.stem}.o"], cwd=folder, check=True, capture_output=True, text=True
        ).stdout
        for name, percent, lines in _FILE.findall(said):
            if Path(name) == source:
                found[source] = (round(float(percent) * int(lines) / 100), int(lines))
    return found


def main() -> int:
    """Print a line for each core, the sum, and what is not covered."""
    with tempfile.TemporaryDirectory(prefix="router-coverage-") as name:
        found = measure(Path(name))
    for source, (executed, lines) in sorted(found.items()):
        print(f"{source.relative_to(ROOT)!s:<28} {lines:>5} lines  {100 * executed / lines:5.1f} %")
    executed, lines = (sum(values) for values in zip(*found.values(), strict=True))
    print(f"{'C cores':<28} {lines:>5} lines  {100 * executed / lines:5.1f} %")
    ours = {path for folder in ("common", "vmm", "drivers", "vswitch") for path in (ROOT / folder).rglob("*.c")}
    rest = sorted(str(path.relative_to(ROOT)) for path in ours - set(found))
    print(f"not covered: {len(rest)} files that need hardware, Microkit or a host process: {', '.join(rest)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
