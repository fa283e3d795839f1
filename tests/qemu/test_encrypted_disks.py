# SPDX-License-Identifier: BSD-2-Clause
"""An encrypted disk over the route, by the commands of its guide; killed in the middle; made for more memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.testing import GuestConsole, Plugged, Router, Setup
from tests.support.end_to_end import MiB, set_up
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

    def __init__(self, console: GuestConsole) -> None:
        self._console = console
        self.command("cd")

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
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The guide's client and a server, without a device."""
    return set_up(tmp_path_factory.mktemp("encrypted"), description(), on="split")


@contextmanager
def person(router: Router) -> Iterator[Typist]:
    """A person at the client's console."""
    with router.guest("client").console() as console:
        yield Typist(console)


def plugged(router: Router, disk: Path) -> Plugged:
    """Plug the disk in: it is /dev/sda in the client."""
    device = router.plug(f"storage:{disk}")
    router.guest("client").wait_for("true </dev/sda")
    return device


class Made:
    """A disk that was made by the guide's commands, and the sum of a file on it."""

    def __init__(self, folder: Path) -> None:
        self.disk = folder / "disk.img"
        self.content = ""

    def make(self, router: Router) -> None:
        """Make it; also use it once more as the guide says."""
        with self.disk.open("wb") as file:
            file.truncate(96 * MiB)
        make, close = section("Make one")
        client = router.guest("client")
        disk = plugged(router, self.disk)
        with person(router) as typist:
            for line in make:
                typist.command(line)
            content = client.run(WRITTEN).stdout
            for line in close:
                typist.command(line)
            (use,) = section("Use it")
            for line in use:
                typist.command(line)
            assert client.run("sha256sum </mnt/kept").stdout == content
            for line in close:
                typist.command(line)
            client.run("sync /dev/sda")
        router.unplug(disk)
        client.wait_for("! [ -e /sys/block/sda ]")
        self.content = content


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    yield Made(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def made(kept: Made, router: Router) -> Made:
    if not kept.content:
        kept.make(router)
    return kept


def test_a_disk_is_encrypted_filled_closed_and_read_back_by_the_guides_commands(made: Made) -> None:
    data = made.disk.read_bytes()
    assert data.startswith(b"LUKS\xba\xbe")
    assert b"PRIVATE" not in data, "the label of the file system is ciphertext"


@pytest.mark.parametrize("killed", ["server", "client"])
def test_what_was_synced_survives_a_kill_in_the_middle_of_writing(
    router: Router, made: Made, tmp_path: Path, killed: str
) -> None:
    disk = tmp_path / "disk.img"
    shutil.copy(made.disk, disk)
    (use,) = section("Use it")
    client = router.guest("client")
    plugged(router, disk)
    with person(router) as typist:
        for line in use:
            typist.command(line)
        content = client.run(WRITTEN).stdout
        assert content != made.content
        client.run(f"({WRITING}) >/dev/null 2>&1 &")
        client.wait_for("[ -e /mnt/2 ]")
        client.run("sync")
        router.guest(killed).kill()
    router.restart()
    (recover,) = section("After a crash")
    plugged(router, disk)
    with person(router) as typist:
        for line in recover:
            # e2fsck(8): 1 says that it has corrected something.
            typist.command(f"{line} || [ $? = 1 ]" if line.startswith("e2fsck") else line)
        assert client.run("sha256sum </mnt/kept").stdout == content
        client.run("ls /mnt/1 && umount /mnt && e2fsck -f -n /dev/mapper/private")
        client.run("cryptsetup close private")


def test_a_stick_whose_key_slot_needs_more_memory_than_the_guest_has_is_refused_with_that_memory(
    router: Router, tmp_path: Path
) -> None:
    if shutil.which("cryptsetup", path="/usr/sbin:/sbin") is None:
        pytest.skip("cryptsetup is not installed")
    stick = tmp_path / "stick.img"
    with stick.open("wb") as file:
        file.truncate(32 * MiB)
    options = ["-q", "--pbkdf", "argon2id", "--pbkdf-memory", "1048576", "--pbkdf-force-iterations", "4"]
    subprocess.run(["/usr/sbin/cryptsetup", "luksFormat", *options, stick, "-"], input=b"x", check=True, timeout=300)
    plugged(router, stick)
    client = router.guest("client")
    refused = client.run("printf x | cryptsetup open /dev/sda private 2>&1", 3 * PATIENCE, check=False)
    assert refused.code != 0
    assert "its key slot needs 1024 MiB of memory" in refused.stdout
    free = re.search(r"and (\d+) MiB are free", refused.stdout)
    assert free is not None
    assert 256 < int(free[1]) < 512
    least = re.search(r"write memory: (\d+) MiB in the description", refused.stdout)
    assert least is not None
    assert 1024 + 64 < int(least[1]) <= 1024 + 512
    assert "Out of memory" not in client.run("dmesg").stdout
    # What opens no key slot is not kept from its work.
    assert "1048576" in client.run("cryptsetup luksDump /dev/sda").stdout
