# SPDX-License-Identifier: BSD-2-Clause
"""How tests wait for what must happen. No test is about this limit: it only ends one that would hang."""

from __future__ import annotations

import os
import random
import resource
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 60.0
"""Seconds; far more than anything takes on a computer that is slow, busy with other work, or has just been started."""


def wait_until(true: Callable[[], object], seconds: float = PATIENCE, interval: float = 0.01) -> bool:
    """Ask every `interval` seconds until it is so; whether it became so within `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(interval)
    return True


def alive(pid: int) -> bool:
    """Whether the process runs (a zombie that nobody has reaped yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port on loopback for a program that wants to be told one, and opens it a moment later.

    It is below those that the kernel gives out by itself (ip(7), ip_local_port_range), so nobody gets it meanwhile.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def processor_seconds(*command: str, **environment: str) -> float:
    """Processor time of a command that must succeed, the quickest of five: other load only ever adds to a run.

    As installed programs run: with their byte code on disk, which the first run writes where `environment` says
    PYTHONPYCACHEPREFIX (a test machine may forbid to write it at all).
    """
    took = []
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=2 * PATIENCE,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment},
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)
