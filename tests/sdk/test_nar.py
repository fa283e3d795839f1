# SPDX-License-Identifier: BSD-2-Clause
"""A folder's NAR hash is what Nix says it is."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from router.errors import HostError
from router.sdk.nar import CHUNK, MAX_DEPTH, nar_sha256


def nar(path: Path) -> str:
    return base64.b64encode(nar_sha256(path)).decode()


def by_nix(path: Path) -> str:
    """What nix-bin says; the test is skipped, with the reason, where it is not installed."""
    nix = shutil.which("nix")
    if nix is None:
        pytest.skip("nix-bin, the judge of NAR hashes, is not installed (apt-get install nix-bin)")
    words = ["hash", "path", "--type", "sha256", "--base64", str(path)]
    run = subprocess.run(
        [nix, "--extra-experimental-features", "nix-command", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "HOME": str(path.parent), "NIX_STATE_DIR": str(path.parent / "nix-state")},
    )
    return run.stdout.strip()


def make_tree(root: Path) -> None:
    """Everything that a NAR can hold: names whose order depends on how one sorts, all paddings, links, modes."""
    root.mkdir()
    for name in ("a", "a-b", "a.b", "B", "_", "é", "ab", "Z z"):
        (root / name).mkdir()
        for size in range(18):
            (root / name / f"{size}").write_bytes(os.urandom(size))
    (root / "large").write_bytes(os.urandom(2 * CHUNK + 3))
    (root / "run").write_bytes(b"#!/bin/sh\n")
    (root / "run").chmod(0o711)
    (root / "group-only").write_bytes(b"x")
    (root / "group-only").chmod(0o655)
    (root / "empty").mkdir()
    (root / "here").symlink_to("a/3")
    (root / "nowhere").symlink_to("/does/not/exist")


def test_a_tree_with_everything_hashes_as_nix_says(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    assert nar(tmp_path / "tree") == by_nix(tmp_path / "tree")


def test_single_files_and_links_hash_as_nix_says(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree")
    for name in ("run", "large", "empty"):
        assert nar(tmp_path / "tree" / name) == by_nix(tmp_path / "tree" / name)


def test_a_known_tree_has_its_known_hash(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_text("#!/bin/sh\n")
    (root / "bin/tool").chmod(0o755)
    (root / "VERSION").write_text("1.2.3\n")
    (root / "link").symlink_to("bin/tool")
    assert nar(root) == "QvTcS2Dr8GW27od/zAc+PirzpSrXsQgEr1Nikw4IZ3E="


@pytest.mark.parametrize("change", ["name", "content", "mode", "target"])
def test_every_part_of_a_tree_counts(tmp_path: Path, change: str) -> None:
    make_tree(tmp_path / "tree")
    before = nar(tmp_path / "tree")
    (tmp_path / "tree/run").touch()  # times do not count
    (tmp_path / "tree/run").chmod(0o700)  # nor does what others may do
    assert nar(tmp_path / "tree") == before
    if change == "name":
        (tmp_path / "tree/run").rename(tmp_path / "tree/Run")
    elif change == "content":
        (tmp_path / "tree/run").write_bytes(b"#!/bin/Sh\n")
    elif change == "mode":
        (tmp_path / "tree/run").chmod(0o655)
    else:
        (tmp_path / "tree/here").unlink()
        (tmp_path / "tree/here").symlink_to("a/4")
    assert nar(tmp_path / "tree") != before


def test_what_a_nar_cannot_hold_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HostError, match="not a file, link or folder") as caught:
        nar_sha256(tmp_path)
    assert caught.value.where == str(tmp_path / "pipe")


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath(*["d"] * (MAX_DEPTH + 1)).mkdir(parents=True)
    with pytest.raises(HostError, match=f"more than {MAX_DEPTH} folders deep"):
        nar_sha256(tmp_path)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(2 * CHUNK))

    def grow(size: int) -> None:
        if size == CHUNK:
            with file.open("ab") as more:
                more.write(b"more")

    with pytest.raises(HostError, match="changed while it was hashed"):
        nar_sha256(file, grow)
