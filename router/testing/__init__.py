# SPDX-License-Identifier: BSD-2-Clause
"""Testing a system with pytest: docs/guide/testing.md. The plugin itself is `router.pytest_plugin`."""

from router.testing.console import ConsoleFailure, GuestConsole
from router.testing.events import Event
from router.testing.guest import BlockDevice, Guest, GuestFailure, Result, UsbDevice
from router.testing.needs import NEEDS
from router.testing.setup import Setup
from router.testing.system import Disk, Plugged, Router

__all__ = [
    "NEEDS",
    "BlockDevice",
    "ConsoleFailure",
    "Disk",
    "Event",
    "Guest",
    "GuestConsole",
    "GuestFailure",
    "Plugged",
    "Result",
    "Router",
    "Setup",
    "UsbDevice",
]
