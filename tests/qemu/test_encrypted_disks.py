# SPDX-License-Identifier: BSD-2-Clause
"""An encrypted disk over the route, by the commands of its guide; killed in the middle; made for more memory."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built
from router.testing.console import GuestConsole
from tests.support.end_to_end import BOOT, Booted, MiB, build_text, own_place
from tests.support.patience import PATIENCE

GUIDE = (Path(__file__).parents[2] / "docs/guide/encrypted-disks.md").read_text()
PASSPHRASE = "correct horse"
WRITTEN = "head -c 4000000 /dev/urandom >/mnt/kept && sync /mnt/kept && sha256sum </mnt/kept"
"""Makes a file that fsync(2) has put on the disk, and says what is in it."""
WRITING = "while :; do dd if=/dev/urandom of=/mnt/more bs=64k count=40 2>/dev/null; mv /mnt/more /mnt/$((n+=1)); done"


def section(title: str) -> list[list[str]]:
    """The commands of each block in a section of the guide."""
    text = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = [re.findall(r"^client:~# (.+)$", block, re.M) for block in re.findall(r"```\n(.*?)```", text, re.S)]
    assert found, f"the guide has no section {title!r} with commands"
    assert all(found)
    return found


def description() -> str:
    """The guide's guest in a system with a server."""
    client = re.search(r"```yaml\n(.*?)```", GUIDE, re.S)
    assert client is not None
    return (
        "system: encrypted\nboard: qemu\nguests:\n"
        "  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}\n"
        f"{textwrap.indent(textwrap.dedent(client[1]), '  ')}"
        "usb:\n  - {class: mass-storage, to: client}\n"
    )


class Typist:
    """A person at the client's console."""

    def __init__(self, booted: Booted) -> None:
        self._booted = booted
        self._console = GuestConsole("client")
        self._console.typing = self
        booted.system.listen("client", self._console.take)
        self.command("cd")

    def send(self, data: bytes) -> None:
        self._booted.system.type_in("client", data)

    def ended(self) -> bool:
        self._booted.system.check()
        return False

    def command(self, line: str) -> None:
        """Type a command, answer what it asks, and see that it succeeds."""
        self._console.send(f"{line}; echo ended=$?\n")
        while True:
            asked = self._console.expect(rf"Type 'yes'|[Pp]assphrase.*:|{PASSPHRASE}|ended=(\d+)", 5 * PATIENCE)
            if asked[1] is not None:
                assert asked[1] == "0", f"{line}: {self._console.text[-2000:]}"
                return
            if asked[0] == PASSPHRASE:
                # It came before the echo was off, and with that change (TCSAFLUSH) the terminal forgets what was typed.
                time.sleep(1)
            self._console.send("YES\n" if "yes" in asked[0] else f"{PASSPHRASE}\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_text(description(), tmp_path_factory.mktemp("encrypted"))


@contextmanager
def running(built: Built, *disks: Path) -> Iterator[Booted]:
    plugs = parse_plugs([f"storage:{disk}" for disk in disks])
    with own_place(), split_run(built, plugs, disks[0].parent / "logs", Timeline()) as system:
        system.wait_ready(BOOT)
        yield Booted(system, disks[0])


@pytest.fixture(scope="module")
def made(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A disk that was made by the guide's commands, and the sum of a file on it."""
    disk = tmp_path_factory.mktemp("made") / "disk.img"
    with disk.open("wb") as file:
        file.truncate(96 * MiB)
    make, close = section("Make one")
    with running(built, disk) as booted:
        person = Typist(booted)
        for line in make:
            person.command(line)
        content = booted.run("client", WRITTEN)
        for line in close:
            person.command(line)
        (use,) = section("Use it")
        for line in use:
            person.command(line)
        assert booted.run("client", "sha256sum </mnt/kept") == content
        for line in close:
            person.command(line)
        booted.run("client", "sync /dev/sda")
    yield disk, content
    shutil.rmtree(disk.parent, ignore_errors=True)


def test_a_disk_is_encrypted_filled_closed_and_read_back_by_the_guides_commands(made: tuple[Path, str]) -> None:
    disk, _ = made
    data = disk.read_bytes()
    assert data.startswith(b"LUKS\xba\xbe")
    assert b"PRIVATE" not in data, "the label of the file system is ciphertext"


@pytest.mark.parametrize("killed", ["server", "client"])
def test_what_was_synced_survives_a_kill_in_the_middle_of_writing(
    built: Built, made: tuple[Path, str], tmp_path: Path, killed: str
) -> None:
    disk = tmp_path / "disk.img"
    shutil.copy(made[0], disk)
    (use,) = section("Use it")
    with running(built, disk) as booted:
        person = Typist(booted)
        for line in use:
            person.command(line)
        content = booted.run("client", WRITTEN)
        assert content != made[1]
        booted.run("client", f"({WRITING}) >/dev/null 2>&1 &")
        booted.wait("client", "[ -e /mnt/2 ]")
        booted.run("client", "sync")
        os.kill(booted.system.guests[killed].child.pid, signal.SIGKILL)
        with pytest.raises(MachineError, match=f"guest '{killed}' is gone"):
            deadline = time.monotonic() + PATIENCE
            while time.monotonic() < deadline:
                booted.system.poll(0.2)
    (recover,) = section("After a crash")
    with running(built, disk) as booted:
        person = Typist(booted)
        for line in recover:
            # e2fsck(8): 1 says that it has corrected something.
            person.command(f"{line} || [ $? = 1 ]" if line.startswith("e2fsck") else line)
        assert booted.run("client", "sha256sum </mnt/kept") == content
        assert booted.run("client", "ls /mnt/1 && umount /mnt && e2fsck -f -n /dev/mapper/private")


def test_a_stick_whose_key_slot_needs_more_memory_than_the_guest_has_is_refused_with_that_memory(
    built: Built, tmp_path: Path
) -> None:
    if shutil.which("cryptsetup", path="/usr/sbin:/sbin") is None:
        pytest.skip("cryptsetup is not installed")
    stick = tmp_path / "stick.img"
    with stick.open("wb") as file:
        file.truncate(32 * MiB)
    options = ["-q", "--pbkdf", "argon2id", "--pbkdf-memory", "1048576", "--pbkdf-force-iterations", "4"]
    subprocess.run(["/usr/sbin/cryptsetup", "luksFormat", *options, stick, "-"], input=b"x", check=True, timeout=300)
    with running(built, stick) as booted:
        said = booted.fails("client", "printf x | cryptsetup open /dev/sda private 2>&1")
        assert "its key slot needs 1024 MiB of memory" in said
        free = re.search(r"and (\d+) MiB are free", said)
        assert free is not None
        assert 256 < int(free[1]) < 512
        least = re.search(r"write memory: (\d+) MiB in the description", said)
        assert least is not None
        assert 1024 + 64 < int(least[1]) <= 1024 + 512
        assert "Out of memory" not in booted.run("client", "dmesg")
        # What opens no key slot is not kept from its work.
        assert "1048576" in booted.run("client", "cryptsetup luksDump /dev/sda")
