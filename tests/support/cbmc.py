# SPDX-License-Identifier: BSD-2-Clause
"""Running the CBMC model checker on a harness, and planting bugs that it must find.

A harness marks places that it must get to by an assertion "REACHED" that cannot hold: if it held, the assumptions would
admit nothing and everything else would be proved about nothing.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.skips import need_newer

CHECKS = (
    *("--bounds-check", "--pointer-check", "--pointer-overflow-check", "--div-by-zero-check"),
    *("--signed-overflow-check", "--undefined-shift-check", "--unwinding-assertions"),
    "--slice-formula",
)
ARRAYS = "--no-array-field-sensitivity"
"""Arrays as arrays: the solver is twice as fast on the switch's proof, and slower on one with few accesses."""
_PROPERTY = re.compile(r"^\[(\S+)\] (?:line \d+ )?(.*): (SUCCESS|FAILURE|UNKNOWN|ERROR)$", re.MULTILINE)

_SHOWN = re.compile(r"^Property (\S+):\n  .*\n  (.*)$", re.MULTILINE)
_VIOLATED = re.compile(r"^Violated property:\n.*\n  (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """What CBMC says: the properties that do not hold, and of the harness's REACHED which are (not) reached."""

    failed: tuple[str, ...]
    reached: tuple[str, ...]
    missed: tuple[str, ...]
    output: str

    @property
    def proved(self) -> bool:
        """All properties hold, and the harness gets wherever it should."""
        return not self.failed and not self.missed and len(self.reached) > 0


@dataclass(frozen=True)
class Proof:
    """A harness function, the C files with it, and the flags that bound it."""

    function: str
    sources: tuple[Path, ...]
    includes: tuple[Path, ...]
    bounds: tuple[str, ...]

    def run(self, timeout_s: float, *more: str) -> str:
        """CBMC's output. Skips the test where there is no CBMC 6; fails it when CBMC gives no verdict."""
        command = [need_newer("cbmc"), "--function", self.function, *(f"-I{folder}" for folder in self.includes)]
        command += [*CHECKS, *self.bounds, *more, *map(str, self.sources)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        ended = "VERIFICATION SUCCESSFUL" in run.stdout or "VERIFICATION FAILED" in run.stdout
        assert ended or ("--show-properties" in more and run.returncode == 0), run.stdout[-3000:] + run.stderr[-3000:]
        return run.stdout

    def with_bug(self, folder: Path, file: Path, right: str, wrong: str) -> Proof:
        """The same proof with one place of a source or header changed; the copies are in `folder`."""
        text = file.read_text()
        assert text.count(right) == 1, f"{file.name} has {text.count(right)} times {right!r}: plant another bug"
        # All of it is copied: a header is looked for first in the folder of the file that includes it.
        included = (file for place in self.includes for file in place.glob("*.[ch]"))
        for each in (*included, *self.sources):
            shutil.copy(each, folder)
        (folder / file.name).write_text(text.replace(right, wrong))
        return Proof(self.function, tuple(folder / each.name for each in self.sources), (folder,), self.bounds)


def verdict(output: str, function: str) -> Verdict:
    """Reads CBMC's list of properties. A REACHED of another harness in the same file does not count."""
    failed: list[str] = []
    reached: list[str] = []
    missed: list[str] = []
    for name, text, result in _PROPERTY.findall(output):
        if text != "REACHED":
            if result != "SUCCESS":
                failed.append(f"{name}: {text}: {result}")
        elif name.startswith(f"{function}."):
            (reached if result == "FAILURE" else missed).append(name)
    return Verdict(tuple(failed), tuple(reached), tuple(missed), output)


def check_proved(proof: Proof, timeout_s: float) -> None:
    """Fails the test with what CBMC found."""
    found = verdict(proof.run(timeout_s), proof.function)
    assert found.proved, "\n".join(["failed:", *found.failed, "not reached:", *found.missed, found.output[-2000:]])


def check_found(proof: Proof, expected: str, timeout_s: float) -> None:
    """The proof of what has a bug fails at a property with this text in it.

    One bug breaks several properties, and which of them CBMC finds first changes with any other code: so it is asked
    for these alone, if the code has them. It makes those of loops only as it goes: then the first that it finds counts.
    """
    shown = _SHOWN.findall(proof.run(timeout_s, "--show-properties", "-DPLANTED_BUG"))
    named = [word for name, text in shown if expected in text for word in ("--property", name)]
    output = proof.run(timeout_s, "--stop-on-fail", "-DPLANTED_BUG", *named)
    violated = _VIOLATED.search(output)
    assert violated is not None, output[-2000:]
    assert expected in violated[1], violated[0]
