# SPDX-License-Identifier: BSD-2-Clause
"""`python -m tests.fuzz TARGET [--seconds N]`: looks for inputs that a target does not survive.

With atheris (`pip install -e '.[fuzz]'`) coverage guides it in Python; without, the corpus is changed at random. Those
in C need clang. New inputs that reach more code go to --new, a folder outside the tree; `--merge` brings those that add
coverage into the corpus.

The search runs in a process of its own, and tests/fuzz/results.json notes how it ended; `--table` shows all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

from tests.fuzz import CORPUS, MAX_FILES, MAX_INPUT, NATIVE_TARGETS, TARGETS, results

INPUT_TIMEOUT_S = 20
"""Of one input in a guided search."""
MAX_MEMORY_MB = 2048
EXECUTED = re.compile(r"number_of_executed_units:\s*(\d+)")
Step = tuple[str, int, int]
TraceFunction = Callable[[FrameType, str, Any], Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=(*NATIVE_TARGETS, *TARGETS), nargs="?")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--new", type=Path, help="where new inputs go; a temporary folder by default")
    parser.add_argument("--merge", action="store_true", help="bring the inputs of --new into the corpus")
    parser.add_argument("--seed", action="store_true", help="begin a corpus with the honest inputs")
    parser.add_argument("--table", action="store_true", help="show and write how the searches ended")
    parser.add_argument("--search", action="store_true", help="search in this process, and note nothing")
    options = parser.parse_args()
    if options.table:
        print(results.refresh())
        return 0
    if options.target is None:
        parser.error(f"which target? {', '.join((*NATIVE_TARGETS, *TARGETS))}")
    new = options.new or Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    new.mkdir(parents=True, exist_ok=True)
    if options.target in NATIVE_TARGETS and (options.search or options.seed or options.merge):
        # Not for a target in Python: this imports a part of router, which the search must import itself, instrumented.
        from tests.fuzz import native

        return (
            native.search(options.target, new, options.seconds) if options.search else native.merge(options.target, new)
        )
    corpus = CORPUS / options.target
    if options.target in TARGETS:
        corpus.mkdir(exist_ok=True)
    if options.seed or options.merge:
        return merge(load(options.target), corpus, new)
    if options.search:
        return search(options.target, corpus, new, options.seconds)
    return noted_search(options.target, new, options.seconds)


def noted_search(name: str, new: Path, seconds: int) -> int:
    """Searches in another process, and notes how that ended."""
    words = [sys.executable, "-m", "tests.fuzz", name, "--search", f"--seconds={seconds}", f"--new={new}"]
    start, inputs = time.monotonic(), 0
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, errors="replace") as child:
        assert child.stderr is not None
        for line in child.stderr:
            sys.stderr.write(line)
            if found := EXECUTED.search(line):
                inputs = int(found[1])
    results.note(name, round(time.monotonic() - start), inputs, found=child.returncode != 0)
    return child.returncode


def search(name: str, corpus: Path, new: Path, seconds: int) -> int:
    """Searches in this process, which a finding ends."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: inputs are changed at random, without coverage", flush=True)
        return at_random(load(name).one_input, corpus, seconds)
    early = [module for module in sys.modules if module.startswith("router.")]
    assert not early, f"imported before it is instrumented: {early}"
    with atheris.instrument_imports(include=["router"]):
        target = load(name)
    words = [sys.argv[0], f"-max_len={MAX_INPUT}", f"-rss_limit_mb={MAX_MEMORY_MB}", f"-artifact_prefix={new}/"]
    words += [f"-max_total_time={seconds}", f"-timeout={INPUT_TIMEOUT_S}", "-print_final_stats=1"]
    print(f"new inputs: {new}", flush=True)
    atheris.Setup([*words, str(new), str(corpus)], lambda data: target.one_input(bytes(data)))
    atheris.Fuzz()
    return 0


class Target(Protocol):
    """A module of `targets`."""

    def one_input(self, data: bytes) -> None: ...

    def seeds(self) -> list[bytes]: ...


def load(name: str) -> Target:
    """The target's module."""
    return cast(Target, importlib.import_module(f"tests.fuzz.targets.{name}"))


def merge(target: Target, corpus: Path, new: Path) -> int:
    """Writes the corpus anew: of seeds, corpus and new inputs those that go another way, the smallest first."""
    inputs = {*target.seeds(), *(path.read_bytes() for folder in (corpus, new) for path in folder.iterdir())}
    seen: set[Step] = set()
    kept: list[bytes] = []
    for data in sorted(inputs, key=lambda data: (len(data), data)):
        ways = way_of(target.one_input, data)
        if len(data) <= MAX_INPUT and not ways <= seen and len(kept) < MAX_FILES:
            seen |= ways
            kept.append(data)
    for path in corpus.iterdir():
        path.unlink()
    for data in kept:
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{len(kept)} of {len(inputs)} inputs, {sum(map(len, kept))} bytes, {len(seen)} steps")
    results.refresh()
    return 0


def way_of(one_input: Callable[[bytes], None], data: bytes) -> set[Step]:
    """The steps from line to line that an input takes through router."""
    found: set[Step] = set()
    last = [0]

    def trace(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        if event == "call" and "/router/" not in frame.f_code.co_filename:
            return None
        found.add((frame.f_code.co_filename, last[0], frame.f_lineno))
        last[0] = frame.f_lineno
        return trace

    sys.settrace(trace)
    try:
        one_input(data)
    finally:
        sys.settrace(None)
    return found


def at_random(one_input: Callable[[bytes], None], corpus: Path, seconds: float) -> int:
    """Changes inputs of the corpus; an exception shows the input and leaves the program."""
    inputs = [path.read_bytes() for path in sorted(corpus.iterdir())] or [b""]
    rng = random.Random()
    end = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < end:
        data = bytearray(rng.choice(inputs))
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(data) + 1)
            match rng.randrange(4):
                case 0:
                    data[at : at + 1] = bytes([rng.randrange(256)])
                case 1:
                    del data[at : at + rng.randrange(16)]
                case 2:
                    data[at:at] = rng.randbytes(rng.randrange(8))
                case 3:
                    other = rng.choice(inputs)
                    data[at:] = other[rng.randrange(len(other) + 1) :]
        runs += 1
        try:
            one_input(bytes(data[:MAX_INPUT]))
        except Exception:
            print(f"input: {bytes(data[:MAX_INPUT]).hex()}", file=sys.stderr)
            raise
    print(f"stat::number_of_executed_units: {runs}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
