# SPDX-License-Identifier: BSD-2-Clause
"""The console multiplexer in C, compiled for this computer: guests' ends and the serial line's bytes."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    ROOT / "tests/vmm/c/mux_pair.c",
    *(ROOT / f"drivers/{name}.c" for name in ("mux", "mux_counts", "mux_input", "mux_frame")),
]
FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fPIC", "-shared"]
SANITIZE = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
PATIENCE_TICKS = 1000


def compile_pair(folder: Path) -> Path:
    """The shared library, or a skip that names the missing compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed")
    library = folder / "mux_pair.so"
    includes = [f"-I{ROOT / name}" for name in ("drivers", "common")]
    command = [compiler, *FLAGS, *SANITIZE, *includes, *map(str, SOURCES), "-o", str(library)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return library


class Multiplexer:
    """The far end of a line with these ports; those whose names end in `.control` are control channels."""

    def __init__(self, library: Path, ports: Sequence[str]) -> None:
        self._c = ctypes.CDLL(str(library))
        self._c.pair_type.restype = ctypes.c_bool
        self._c.pair_start(ctypes.c_uint64(PATIENCE_TICKS))
        for index, name in enumerate(ports):
            raw = name.encode()
            assert self._c.pair_add(raw, len(raw), name.endswith(".control")) == index, name

    def print(self, port: int, data: bytes) -> int:
        """A guest prints; how many bytes its ring took."""
        return int(self._c.pair_print(port, data, len(data)))

    def read(self, port: int, size: int = 1024) -> bytes:
        """A guest reads what was typed."""
        buffer = ctypes.create_string_buffer(size)
        count = self._c.pair_read(port, buffer, size)
        return buffer.raw[:count]

    def line(self, size: int = 1 << 16) -> bytes:
        """Up to that many bytes from the line."""
        buffer = ctypes.create_string_buffer(size)
        count = self._c.pair_line(buffer, size)
        return buffer.raw[:count]

    def type(self, data: bytes, now: int = 0) -> bytes:
        """Put bytes on the line; those that have to wait."""
        for at, byte in enumerate(data):
            if not self._c.pair_type(byte, ctypes.c_uint64(now)):
                return data[at:]
        return b""


def is_subsequence(part: bytes, whole: bytes) -> bool:
    """Whether `part` is what is left of `whole` when some bytes are taken away."""
    rest = iter(whole)
    return all(byte in rest for byte in part)


def damaged(data: bytes, chance: random.Random, rate: float) -> bytes:
    """Bytes as a bad line delivers them: single ones and runs are missing, others are altered."""
    if not rate:
        return data
    out = bytearray()
    missing = 0
    for byte in data:
        if missing:
            missing -= 1
            continue
        fate = chance.random()
        if fate < rate / 2:
            continue
        if fate < 0.7 * rate:
            missing = chance.choice((1, 8, 16, 30))
            continue
        out.append(byte if fate >= rate else chance.choice((chance.randrange(256), 10, 96, 7, byte ^ 1)))
    return bytes(out)
