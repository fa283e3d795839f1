"""`python -m tests.fuzz TARGET [--seconds N]`: looks for inputs that a target does not survive.

With atheris (`pip install -e '.[fuzz]'`) coverage guides it; without, the corpus is changed at random. New inputs that
reach more code go to --new, a folder outside the tree; `--merge` brings those that add coverage into the corpus.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
TARGETS = sorted(path.stem for path in (Path(__file__).parent / "targets").glob("[a-z]*.py"))
MAX_INPUT = 2048
"""Bytes of an input."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--new", type=Path, help="where new inputs go; a temporary folder by default")
    parser.add_argument("--merge", action="store_true", help="bring the inputs of --new into the corpus")
    parser.add_argument("--seed", action="store_true", help="write the honest inputs into the corpus")
    options = parser.parse_args()
    corpus = CORPUS / options.target
    corpus.mkdir(exist_ok=True)
    new = options.new or Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    new.mkdir(parents=True, exist_ok=True)
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: inputs are changed at random, without coverage", flush=True)
        return at_random(load(options.target).one_input, corpus, options.seconds)
    with atheris.instrument_imports(include=["router"]):
        target = load(options.target)
    if options.seed:
        for number, data in enumerate(target.seeds()):
            (corpus / f"seed-{number}").write_bytes(data)
        return 0
    words = [sys.argv[0], f"-max_len={MAX_INPUT}", "-rss_limit_mb=2048", f"-artifact_prefix={new}/"]
    if options.merge:
        words += ["-merge=1", str(corpus), str(new)]
    else:
        words += [f"-max_total_time={options.seconds}", "-timeout=20", "-print_final_stats=1", str(new), str(corpus)]
    print(f"new inputs: {new}", flush=True)
    atheris.Setup(words, lambda data: target.one_input(bytes(data)))
    atheris.Fuzz()
    return 0


def load(name: str) -> object:
    return importlib.import_module(f"tests.fuzz.targets.{name}")


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
    print(f"{runs} inputs in {seconds} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
