# SPDX-License-Identifier: BSD-2-Clause
"""Finding devices in sysfs by the USB controller that they hang on."""

import os
import time
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    # For the type checker only: guests have no `typing`.
    from typing import TypeVar

    T = TypeVar("T")


def routed(folder: str, mark: str) -> list[str]:
    """Names in a folder of sysfs whose real path contains `mark`: "/vhci_hcd" for what came over USB/IP."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if mark in os.path.realpath(folder + "/" + name)]


def wait(look: "Callable[[], T]", timeout_s: float) -> "T":
    """Poll `look` until it gives something true; what it gave last."""
    end = time.monotonic() + timeout_s
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def read(path: str) -> str:
    """The text of an attribute without white space at its ends; "" when it cannot be read."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
