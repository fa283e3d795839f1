# SPDX-License-Identifier: BSD-2-Clause
"""Fixtures of the folders whose tests use router's own pytest plugin: where systems run, and what their machine has."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from router.pipeline.build import Built
from router.testing import Router, Setup
from router.testing.qemu import QemuMachine
from tests.support.end_to_end import Booted, build_text

T = TypeVar("T")


@pytest.fixture(scope="session")
def shared_place() -> Iterator[str]:
    """Temporary files and control sockets of this folder's systems; its path is short, for unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="run") as folder:
        yield folder


@pytest.fixture(autouse=True)
def in_place(shared_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of another program's system is in the way, and each of ours is the only one."""
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, shared_place)


@pytest.fixture
def disk(router_setup: Setup) -> Path:
    """The image of the first USB device, a disk, in the server."""
    return Path(router_setup.usb[0].removeprefix("storage:"))


@pytest.fixture
def booted(router: Router, disk: Path) -> Booted:
    """The system of `router`, for tests that look at what only its machine has."""
    assert isinstance(router.machine, QemuMachine)
    return Booted(router.machine.system, disk, name=router.name, logs=router.machine.logs)


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Built]:
    """Builds a description's text into the test's own folder."""
    return lambda text: build_text(text, tmp_path)


class OncePerBoot(Generic[T]):
    """What the tests of a module share and what takes long: made once for each system, and anew if that has died."""

    def __init__(self) -> None:
        self._made: dict[object, T] = {}
        self._failed: dict[object, Exception] = {}

    def get(self, booted: Booted, make: Callable[[Booted], T]) -> T:
        """What `make` gave for this system, or the error by which it failed: it is not tried twice."""
        system = booted.system
        if system in self._failed:
            raise self._failed[system]
        if system not in self._made:
            try:
                self._made[system] = make(booted)
            except Exception as error:
                self._failed[system] = error
                raise
        return self._made[system]


def by_system(items: list[pytest.Item], folder: Path, *, first: bool) -> list[pytest.Item]:
    """The tests of a folder. Those with the same system are put together, so that each boots once.

    Among these, the ones marked `last` come last. first: tests with a system are put before the others, which boot by
    themselves or not at all, else behind them: no system stands idle beside those.
    """
    places = [place for place, item in enumerate(items) if folder in item.path.parents]
    found = [items[place] for place in places]
    begins: dict[str | None, int] = {}
    for number, item in enumerate(found):
        begins.setdefault(_setup(item), number)

    def turn(item: pytest.Item) -> tuple[bool, int, bool]:
        setup = _setup(item)
        if setup is None:
            return first, 0, False
        return not first, begins[setup], item.get_closest_marker("last") is not None

    found.sort(key=turn)
    for place, item in zip(places, found, strict=True):
        items[place] = item
    return found


def _setup(item: pytest.Item) -> str | None:
    """Where the `router_setup` of the test's system is; None for a test without `router`."""
    if "router" not in getattr(item, "fixturenames", ()):
        return None
    definitions = item._fixtureinfo.name2fixturedefs["router_setup"]  # type: ignore[attr-defined]
    return str(definitions[-1].baseid)
