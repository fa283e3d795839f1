# SPDX-License-Identifier: BSD-2-Clause
"""`router demo` shows seL4 where there is an SDK, and the split run where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from router import files
from router.errors import HostError
from router.microkit.sdk import require_sdk
from router.microkit.toolchain import find_toolchain
from tests.support.end_to_end import BOOT, router


def demo(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "MICROKIT_SDK"}
    return subprocess.run(
        router("demo", "--size", "4", "--timeout", f"{BOOT:g}"),
        cwd=folder,
        env=environment | {"HOME": str(home), "XDG_CACHE_HOME": str(files.cache_folder().parent)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )


@pytest.mark.sel4
def test_the_demo_shows_sel4_where_an_sdk_is_installed(tmp_path: Path) -> None:
    try:
        require_sdk("auto", "qemu_virt_aarch64", "debug")
        find_toolchain()
    except HostError as error:
        pytest.skip(error.message)
    done = demo(tmp_path, Path.home())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 MiB read through the route match, on seL4 with Microkit SDK " in done.stdout
    assert "without seL4" not in done.stdout


def test_the_demo_says_in_one_line_that_it_is_a_split_run(tmp_path: Path) -> None:
    if list(Path("/opt").glob("microkit-sdk-*")):
        pytest.skip("an SDK under /opt is found whatever the environment says")
    done = demo(tmp_path, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == (
        "note: no Microkit SDK is installed: the demo is a split run, each guest in a QEMU of its own, without seL4"
    )
    assert done.stdout.endswith("4 MiB read through the route match\n")
