"""What the daemons say: milestones on stdout, which a guest's init forwards, and the log on stderr."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One milestone line on stdout, at once."""
    sys.stdout.write(f"router-usbip: {text}\n")
    sys.stdout.flush()


def log(text: str) -> None:
    """One log line on stderr."""
    sys.stderr.write(f"router-usbip: {text}\n")
    sys.stderr.flush()
