# SPDX-License-Identifier: BSD-2-Clause
"""Whatever the file holds, reading it ends in a description or in an error of the author's: never in a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.description.catalogue import Catalogue
from router.description.diagnostics import DescriptionErrors
from router.description.load import load
from router.description.text import LINE_END
from router.errors import DescriptionError, RouterError

CATALOGUE = Catalogue(("maaxboard", "qemu"), {"usb-server": "server", "usb-client": "client"})
ROOT = Path(__file__).parents[2]
SEEDS = [path.read_bytes() for path in sorted((ROOT / "system-descriptions").glob("*.yaml"))]
SEEDS += [path.read_bytes() for path in sorted((ROOT / "tests/errors").glob("*.yaml"))]

MANY = settings(max_examples=1000)

SHARDS = [
    b"0525", b"12:34", b"no", b"~", b"[", b"]", b"{", b"}", b": ", b"- ", b"&a ", b"*a", b"!!str ", b"<<: *a", b"\t",
    b"\n", b"  ", b'"', b"'", b"\\x00", b"\\ud800", b"\\UFFFFFFFF", b"# ", b"|", b">", b"---\n", b"...\n",
    b"%YAML 1.1\n", b"\xff", b"\xc2\xa0", b"\xe2\x80\x9c", b"\xf0\x9f\x94\x8c", b"\x85", b"\xe2\x80\xa8",
    b"999999999999999999999999", b"-1", b"1.5", b".inf", b".nan", b"null", b"true", b"server", b"client", b"to",
    b"usb", b"10.77.0.2", b"tcp/3240", b" -> ", b"512 MiB", b"1e999", b"? ", b"@", b"`", b"\r",
]  # fmt: skip
"""What YAML and the description have a meaning for, and what has broken readers before."""

WORDS = [
    "system", "board", "guests", "network", "usb", "image", "memory", "vcpus", "address", "mac", "passthrough",
    "to", "from", "device", "path", "class", "serial", "port", "allow", "subnet", "mtu", "queue", "depth", "buffer",
    "microkit", "sdk", "config", "kernel", "initramfs", "role", "version", "ports", "budget", "period", "cpu",
    "smc", "server", "client", "qemu", "maaxboard", "usb-server", "usb-client", "046d:c31c", "1-1", "hid", "auto",
    "smp-debug", "10.77.0.2", "10.77.0.0/24", "52:54:00:12:34:56", "no", "0525", "tcp/3240", "device_tree",
    "bootargs", "on_exit", "priority", "nonsense",
]  # fmt: skip
words = st.sampled_from(WORDS)
scalars = st.one_of(
    words,
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.booleans().map(str),
    st.sampled_from(["~", '""', "client -> server tcp/3240", "512 MiB", "10 ms", '"\\0"', '"a\\nb"', "."]),
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(words, inner), max_size=5).map(
            lambda entries: "{" + ", ".join(f"{key}: {value}" for key, value in entries) + "}"
        ),
    ),
    max_leaves=12,
)
documents = st.lists(st.tuples(words, trees), max_size=7).map(
    lambda entries: "".join(f"{key}: {value}\n" for key, value in entries)
)


def read(folder: Path, raw: bytes) -> RouterError | None:
    """The error that reading these bytes ends in; anything but a RouterError goes through and fails the test."""
    file = folder / "fuzz.yaml"
    file.write_bytes(raw)
    try:
        load(file, CATALOGUE)
    except RouterError as error:
        return error
    return None


def check_told_well(error: RouterError | None, raw: bytes) -> None:
    """An error is the author's, prints, and its place lies in the file."""
    assert error is None or isinstance(error, DescriptionError)
    text = str(error)
    assert text.encode()
    assert "pydantic" not in text
    if isinstance(error, DescriptionErrors):
        lines = LINE_END.split(raw.decode("utf-8-sig"))
        for one in error.diagnostics:
            assert 1 <= one.span.line <= len(lines)
            assert 1 <= one.span.column <= len(lines[one.span.line - 1]) + 1
            assert one.message
        places = [one.span for one in error.diagnostics]
        assert places == sorted(places)


@MANY
@given(raw=st.binary(max_size=200))
def test_random_bytes_never_cause_a_traceback(raw: bytes, tmp_path: Path) -> None:
    error = read(tmp_path, raw)
    assert error is not None, "random bytes make no description"
    check_told_well(error, raw)


@MANY
@given(seed=st.integers(0, 2**32), cuts=st.integers(1, 5))
def test_a_mutated_description_never_causes_a_traceback(seed: int, cuts: int, tmp_path: Path) -> None:
    raw = mutated(seed, cuts)
    error = read(tmp_path, raw)
    assert error is None or error.exit_code == 2
    check_told_well(error, raw)


@MANY
@given(document=documents)
def test_well_formed_yaml_of_any_shape_never_causes_a_traceback(document: str, tmp_path: Path) -> None:
    error = read(tmp_path, document.encode())
    assert error is None or error.exit_code == 2
    check_told_well(error, document.encode())


def mutated(seed: int, cuts: int) -> bytes:
    """A description with pieces replaced, doubled, moved or taken out."""
    chance = random.Random(seed)
    raw = bytearray(chance.choice(SEEDS))
    for _ in range(cuts):
        at = chance.randrange(len(raw) + 1)
        end = min(len(raw), at + chance.choice((0, 1, 2, 5, 20)))
        piece = chance.choice((chance.choice(SHARDS), bytes(raw[at:end]) * 2, b"", bytes([chance.randrange(256)])))
        raw[at:end] = piece
    return bytes(raw)


@pytest.mark.parametrize("depth", [10, 1_000, 100_000])
@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_any_depth_of_nesting_is_refused_without_a_crash(depth: int, opening: str, tmp_path: Path) -> None:
    error = read(tmp_path, ("a:\n  " + opening * depth).encode()[: 200 << 10])
    assert isinstance(error, DescriptionError)
