# SPDX-License-Identifier: BSD-2-Clause
"""One list says what pip cannot install, and everything that lacks a program of it says so alike."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest

from router import requirements
from router.errors import HostError

ROOT = Path(__file__).parents[2]


def test_a_missing_program_says_what_it_is_for_and_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "look_for", lambda program: None)
    with pytest.raises(HostError) as caught:
        requirements.find("zstd")
    assert str(caught.value) == (
        "error: zstd is not installed: it compresses the guests' initramfs\n  apt-get install zstd"
    )


@pytest.mark.parametrize(("fields", "has"), [("12", False), ("13", True), ("14", True), (None, False)])
def test_the_model_checker_is_a_package_where_debian_has_it(
    monkeypatch: pytest.MonkeyPatch, fields: str | None, has: bool
) -> None:
    release = {"ID": "debian", **({"VERSION_ID": fields} if fields else {})}
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: release)
    assert ("cbmc" in requirements.packages(tests=True)) == has
    assert "cbmc" not in requirements.packages(tests=False)


def test_no_other_list_of_packages_exists() -> None:
    script = (ROOT / "tests/install-packages").read_text()
    assert "-m router.requirements" in script
    assert not re.search(r"^ *(qemu|gcc|clang)", script, re.MULTILINE)
    names = requirements.packages(tests=True)
    assert len(names) == len(set(names))
