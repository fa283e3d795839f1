# SPDX-License-Identifier: BSD-2-Clause
"""Fuzzing of what reads foreign bytes: `python -m tests.fuzz TARGET --seconds N`; pytest replays the corpora.

A target in Python is a module in `targets` with `one_input(data)`, which raises for a bug, and `seeds()`, honest inputs
to begin with. Its corpus is the folder of its name under `corpus`. native.py has the targets in C.
"""

from pathlib import Path

_HERE = Path(__file__).parent
CORPUS = _HERE / "corpus"
TARGETS = sorted(path.stem for path in (_HERE / "targets").glob("[a-z]*.py"))
NATIVE_TARGETS = ("decide", "device", "forward", "gic", "mux", "packets", "two_guests", "vsock_device", "vsock")
"""Those in C. native.py says what each is; it is not imported here, since it imports a part of router."""
MAX_INPUT = 4096
"""Bytes of an input."""
MAX_FILES = 60
"""Inputs of a corpus: they stand in the tree, and are replayed at each run."""
