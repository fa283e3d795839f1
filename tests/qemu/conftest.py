"""A running system for the end-to-end tests: three guests, booted once for all tests of the session."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from end_to_end import BOOT, THREE_GUESTS, Booted, MiB, build_text

from router.build.pipeline import Built
from router.control.place import Claim
from router.control.server import ControlServer
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.machines.timeline import Timeline


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder boots guests from packages."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.qemu)
            item.add_marker(pytest.mark.packages)
            if shutil.which("qemu-system-aarch64") is None:
                item.add_marker(pytest.mark.skip(reason="qemu-system-aarch64 is not installed"))


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """Three guests; the server has a disk, a keyboard (socket 2, granted by path) and a mouse (not granted)."""
    folder = tmp_path_factory.mktemp("end-to-end")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    built = build_text(THREE_GUESTS, folder)
    plugs = parse_plugs([f"storage:{disk}", "keyboard", "mouse"])
    with (
        tempfile.TemporaryDirectory(prefix="e2e") as runtime,
        pytest.MonkeyPatch.context() as environment,
        ExitStack() as stack,
    ):
        environment.setenv("XDG_RUNTIME_DIR", runtime)
        claim = stack.enter_context(Claim(built.plan.name))
        system = stack.enter_context(split_run(built, plugs, folder / "logs", Timeline()))
        stack.enter_context(ControlServer(claim, system, "split"))
        system.wait_ready(BOOT)
        yield Booted(system, disk)


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Built]:
    """Builds a description's text into the test's own folder."""
    return lambda text: build_text(text, tmp_path)
