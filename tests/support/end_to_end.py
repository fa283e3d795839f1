# SPDX-License-Identifier: BSD-2-Clause
"""What the end-to-end tests share: the description of three guests, and what can be asked of them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router import files
from router.description.load import load
from router.machines.qemu.running import Run
from router.pipeline.build import Built, build
from router.pipeline.inputs import plan_loaded
from router.testing import Setup
from tests.support.patience import PATIENCE

MiB = 1 << 20
BOOT = 400.0
"""Seconds for guests to come up: it takes them 10 to 30 on a quiet computer."""
LISTENS = "until cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ':08AE 0*:0000 0A'; do sleep 0.1; done"
"""In a guest: wait until somebody listens on TCP port 2222 (proc(5))."""
READ = "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q input/event0; do sleep 0.1; done"
"""In a guest: wait until somebody reads its first input device, which keeps no events for who comes later."""

THREE_GUESTS = """
system: end-to-end
board: qemu
guests:
  server:
    image: usb-server-tools
    memory: 256 MiB
    passthrough: [pcie@3f000000]
  client:
    image: usb-client-tools
    memory: 256 MiB
    usb: {version: 3, ports: 8}
  stranger:
    image: usb-client-tools
    memory: 256 MiB
    usb: {version: 2, ports: 3}
network:
  allow:
    - client -> server tcp/3240
    - client -> server icmp
    - stranger -> server tcp/3240
usb:
  - {class: mass-storage, to: client}
  - {path: 1-2, to: client, port: 5}
"""


TWO = """
system: {name}
board: qemu
guests:
  server:
    image: {server}
    memory: 256 MiB
    passthrough: [pcie@3f000000]
    on_exit: stop
    {more}
  client: {{image: usb-client, memory: 256 MiB, on_exit: stop}}
usb:
  - {{class: mass-storage, to: client}}
"""


def describe_two(folder: Path, name: str, server: str = "usb-server", more: str = "") -> Path:
    """A description of two guests, as a file in that folder."""
    path = folder / f"{name}.yaml"
    path.write_text(TWO.format(name=name, server=server, more=more))
    return path


def router(*words: str | Path) -> list[str]:
    """The command line of `router` with these words."""
    return [sys.executable, "-m", "router", *map(str, words)]


def processes_in(folder: Path) -> list[int]:
    """The processes that work in a folder: those of a run that was started there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile, or is another user's
                if (entry / "cwd").readlink() == folder.resolve():
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def own_place() -> Iterator[Path]:
    """Temporary files and control sockets of the runs that are started meanwhile are in a folder of their own.

    Nobody else's run of a system of the same name is then in the way. Its path is short, for unix sockets in it.
    """
    with tempfile.TemporaryDirectory(prefix="run") as folder, pytest.MonkeyPatch.context() as environment:
        for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
            environment.setenv(name, folder)
        yield Path(folder)


def set_up(
    folder: Path, text: str, disk: int = 0, *usb: str, on: str = "microkit", qemu: tuple[str, ...] = ()
) -> Setup:
    """A system whose description and build are in `folder`.

    disk: so many random bytes are the first USB device, as `folder`/disk.img; 0: none. usb: more USB devices.
    """
    description, image = folder / "description.yaml", folder / "disk.img"
    description.write_text(text)
    if disk:
        image.write_bytes(os.urandom(disk))
        usb = (f"storage:{image}", *usb)
    return Setup(description=description, on=on, usb=usb, boot_timeout=BOOT, build=folder / "build", qemu=qemu)


def build_text(text: str, folder: Path, *, loader_image: bool = False, emulated: bool = False) -> Built:
    """Build a description that is given as text; without loader.img, which a split run does not need."""
    path = folder / "description.yaml"
    path.write_text(text)
    planned = plan_loaded(load(path), files.cache_folder(), lambda _: None, emulated=emulated)
    return build(planned, folder / "build", files.cache_folder(), lambda _: None, loader_image=loader_image)


@dataclass
class Booted:
    """The running system and the image of the disk that is plugged into its server guest."""

    system: Run
    disk: Path
    name: str = field(default="", kw_only=True)
    """What it is called among running systems, where it is served."""
    logs: Path = field(default=Path(), kw_only=True)
    """The folder with its consoles."""

    def run(self, guest: str, command: str, timeout: float = 3 * PATIENCE) -> str:
        """The output of a command that must succeed in a guest."""
        code, output = self.system.execute(guest, command, timeout)
        text = output.decode(errors="replace")
        assert code == 0, f"{guest}: {command}: exit code {code}: {text}"
        return text

    def asking(self, guest: str) -> Callable[[str], tuple[int, str]]:
        """What runs commands in a guest: exit code and output of each."""

        def ask(command: str) -> tuple[int, str]:
            code, output = self.system.execute(guest, f"{{ {command}; }} 2>&1", 3 * PATIENCE)
            return code, output.decode(errors="replace")

        return ask

    def fails(self, guest: str, command: str, timeout: float = 3 * PATIENCE) -> str:
        """The output of a command that must fail in a guest."""
        code, output = self.system.execute(guest, command, timeout)
        text = output.decode(errors="replace")
        assert code != 0, f"{guest}: {command}: succeeded: {text}"
        return text

    def wait(self, guest: str, command: str, seconds: float = PATIENCE) -> str:
        """Repeat a command in a guest until it succeeds."""
        tries = int(seconds * 4)
        loop = f"n=0; until ({command}) >/tmp/wait 2>&1; do n=$((n+1)); [ $n -lt {tries} ] || exit 1; sleep 0.25; done"
        code, _ = self.system.execute(guest, loop, 5 * seconds)
        shown = self.run(guest, "cat /tmp/wait")
        assert code == 0, f"{guest}: not within {seconds} s: {command}: {shown}"
        return shown
