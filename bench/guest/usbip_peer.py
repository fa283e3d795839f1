# SPDX-License-Identifier: BSD-2-Clause
"""Times how long a USB/IP daemon takes to listen, and how long an attach takes. Prints `name value`, in seconds."""

import contextlib
import os
import sys
import time

LOG, PID = "/tmp/serve.log", "/tmp/serve.pid"
TIMEOUT_S = 30.0


def start(command: str) -> None:
    """Start a daemon, with its output in LOG and its process in PID, until it says `listening`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(LOG)
    begin = time.monotonic()
    os.system(f"{command} >{LOG} 2>&1 </dev/null & echo $! >{PID}")
    while not listening():
        if time.monotonic() > begin + TIMEOUT_S:
            sys.exit("it does not listen")
        time.sleep(0.01)
    print("listening", time.monotonic() - begin)


def listening() -> bool:
    """Whether the log says so."""
    try:
        with open(LOG) as log:
            return "listening" in log.read()
    except FileNotFoundError:
        return False


def attach(command: str) -> None:
    """Run a command that attaches a disk, until its block device is there."""
    begin = time.monotonic()
    if os.system(command + " >/dev/null 2>&1"):
        sys.exit("cannot attach")
    while not (name := attached_disk()):
        if time.monotonic() > begin + TIMEOUT_S:
            sys.exit("no block device appeared")
        time.sleep(0.005)
    print("attach", time.monotonic() - begin)
    while not os.path.exists("/dev/" + name):
        time.sleep(0.05)


def attached_disk() -> str:
    """The name of the block device that came over USB/IP, or ""."""
    for name in os.listdir("/sys/block"):
        if name.startswith("sd") and "vhci_hcd" in os.readlink("/sys/block/" + name):
            return name
    return ""
