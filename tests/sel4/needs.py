# SPDX-License-Identifier: BSD-2-Clause
"""What the tests on seL4 need of this computer; without it they are skipped with the reason."""

from __future__ import annotations

import pytest

from router.errors import HostError
from router.machines.qemu.tool import find_qemu
from router.microkit.sdk import require_sdk
from router.microkit.toolchain import find_toolchain
from tests.support.skips import skip


def need_sdk(version: str = "auto", board: str = "qemu_virt_aarch64", config: str = "debug") -> None:
    """Skip with the reason where the SDK or a compiler for it is not installed."""
    try:
        require_sdk(version, board, config)
        find_toolchain()
    except HostError as error:
        skip("SDK", error.message)


def need_qemu() -> None:
    """Skip where QEMU is not installed."""
    try:
        find_qemu()
    except HostError as error:
        pytest.skip(error.message)
