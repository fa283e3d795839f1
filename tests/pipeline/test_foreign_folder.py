# SPDX-License-Identifier: BSD-2-Clause
"""A build folder from elsewhere leads nothing astray: what it holds is judged by content, and links are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.errors import HostError
from router.pipeline.folder import FILES, FOLDERS, prepare_folder


@pytest.mark.parametrize("name", [*FOLDERS, *FILES, "desk.system"])
def test_a_link_in_the_place_of_anything_that_is_built_is_refused(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    build = tmp_path / "build"
    build.mkdir()
    (build / name).symlink_to(victim)
    with pytest.raises(HostError, match="a symbolic link is in this build folder") as caught:
        prepare_folder(build)
    assert caught.value.where == str(build / name)


@pytest.mark.parametrize("place", ["objects/microkit.log", "guests/server/dtb", "programs/console.elf"])
def test_a_link_or_pipe_below_is_refused(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "bashrc")
    with pytest.raises(HostError, match="a symbolic link is in"):
        prepare_folder(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HostError, match="a device, pipe or socket is in"):
        prepare_folder(tmp_path)
    path.unlink()
    prepare_folder(tmp_path)


def test_what_is_not_the_builds_is_the_users(tmp_path: Path) -> None:
    (tmp_path / "notes").symlink_to("/dev/null")
    (tmp_path / "logs").mkdir()
    os.mkfifo(tmp_path / "logs/server.console.log")
    prepare_folder(tmp_path)
    assert (tmp_path / "objects").is_dir()
