# SPDX-License-Identifier: BSD-2-Clause
"""A lab of one fake board: a build folder, a lab file, and the command line run on them."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from router.control.facts import GuestFacts, SystemFacts
from router.deploy.plan import AwaitedMilestone, DeployPlan, payload, write_plan
from router.seeds import ROOM
from tests.deploy.fakeboard import FakeBoard
from tests.deploy.running_board import RunningBoard
from tests.support.patience import PATIENCE, free_port

ROUTER = (sys.executable, "-c", "import sys; from router.cli import main; sys.exit(main())")
SERVER, CLIENT = "127.0.0.1", "127.0.0.2"
FACTS = SystemFacts(
    system="demo",
    board="fake",
    guests=tuple(
        GuestFacts(name=name, role=name, address=address, usb_version=2, usb_ports=8, owns_devices=name == "server")
        for name, address in (("server", "10.77.0.2"), ("client", "10.77.0.3"))
    ),
    grants=({"source": "server", "to": "client", "device_class": 8},),
    rules=({"from": "client", "to": "server", "protocol": "tcp", "port": 3240},),
)
MILESTONES = (
    AwaitedMilestone(name="loader", pattern=r"LDR\|INFO"),
    AwaitedMilestone(name="seL4", pattern="Booting all finished"),
    AwaitedMilestone(name="server up", pattern=r"^server\| up"),
    AwaitedMilestone(name="client up", pattern=r"^client\| up"),
)


def write_build(folder: Path, **changes: object) -> DeployPlan:
    fields: dict[str, object] = {
        "system": "demo",
        "board": "fake",
        "payloads": (payload(folder, "loader.img", 0x50000000),),
        "start": "go 0x50000000",
        "identity": "qemu-arm",
        "milestones": MILESTONES,
        "boot_seconds": 10.0,
        "quiet_seconds": 2.0,
    }
    plan = DeployPlan(**(fields | changes))  # type: ignore[arg-type]
    write_plan(folder, plan)
    return plan


def with_room_for_seeds(build: Path) -> bytes:
    """Give the loader image of a build folder room for the seeds of two guests; its bytes then."""
    room = b"".join(struct.pack(">III", 3, len(value), 0x40) + value for value in ROOM.values())
    image = (build / "loader.img").read_bytes() + room + b"rest" + room
    (build / "loader.img").write_bytes(image)
    return image


def seeds_in(sent: bytes, image: bytes) -> list[bytes]:
    """The seeds of both guests in what a board got of an image that `with_room_for_seeds` made."""
    size = sum(12 + len(value) for value in ROOM.values())
    start = len(image) - 2 * size - 4
    assert len(sent) == len(image) and sent[:start] == image[:start]
    assert not any(value in sent for value in ROOM.values())
    found = []
    for at in (start, start + size + 4):
        names = struct.unpack_from(">III", sent, at), struct.unpack_from(">III", sent, at + 44)
        assert names == ((3, 32, 0x47), (3, 8, 0x47))
        found += [sent[at + 12 : at + 44], sent[at + 56 : at + 64]]
    return found


class LabOfOne:
    """A lab file with the board `desk` on a fake board's line, and the command line that uses it."""

    def __init__(self, folder: Path, board: FakeBoard | RunningBoard, **extra: object) -> None:
        self.folder = folder
        self.board = board
        self.locks = folder / "locks"
        self.file = folder / "boards.yaml"
        entry: dict[str, object] = {
            "board": "fake",
            "serial": board.device,
            "network": {"board": f"{CLIENT}/8", "server": SERVER},
            "tftp": {"port": free_port(socket.SOCK_DGRAM)},
        }
        self.write({"desk": entry | extra})

    def write(self, boards: dict[str, object]) -> None:
        self.file.write_text(json.dumps({"boards": boards}))

    def command(self, *arguments: str) -> list[str]:
        # What follows the guest of `exec` is the guest's; the environment names the lab file too.
        named = () if arguments[0] == "exec" else ("--lab", str(self.file))
        return [*ROUTER, *arguments, *named]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ROUTER_LOCK_DIR": str(self.locks), "ROUTER_LAB": str(self.file), "NO_COLOR": "1"}

    def run(self, *arguments: str, timeout: float = 2 * PATIENCE, data: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self.environment(),
            input=data,
        )
        print(done.args, done.returncode, done.stdout, done.stderr, sep="\n")
        return done


MakeLab = Callable[..., LabOfOne]
