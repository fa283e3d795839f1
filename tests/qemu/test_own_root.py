# SPDX-License-Identifier: BSD-2-Clause
"""A client that goes on in a root file system on a routed disk: a small one here; test_debian_root.py has Debian."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from router.control.place import Claim
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built
from tests.support.end_to_end import BOOT, Booted, build_text, own_place
from tests.support.patience import PATIENCE, wait_until
from tests.support.small_root import make_small_root, wait_for_event, wait_for_root

ROOTED = """
system: rooted
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB, root: {label: SMALL}}
usb:
  - {class: mass-storage, to: client}
"""
BLOCKS = ROOTED.replace("to: client}", "to: client, as: block, name: root}")
DATA = "head -c 3000000 /dev/zero | tr '\\0' x >/data && sync && echo 3 >/proc/sys/vm/drop_caches && sha256sum </data"

NUMBER_OF_MARKS = 40
MARKS = (
    f"n=0; while [ $n -lt {NUMBER_OF_MARKS} ]; do echo $n >>/marks && sync || break;"
    " n=$((n + 1)); echo $n >/run/marks; done"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build_text(ROOTED, tmp_path_factory.mktemp("rooted"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    make_small_root(folder / "small.img", folder / "root", "SMALL")
    return folder / "small.img"


@contextmanager
def running(built: Built, *disks: Path) -> Iterator[Booted]:
    with (
        own_place(),
        split_run(built, parse_plugs([f"storage:{disk}" for disk in disks]), disks[0].parent / "logs", Timeline()) as (
            system
        ),
    ):
        wait_for_event(system, "client", "userspace", seconds=BOOT)
        yield Booted(system, disks[0])


def wait_in_root(booted: Booted, command: str) -> None:
    """Until a command succeeds in the client's root, which has no folder for temporary files."""
    done = wait_until(lambda: booted.system.execute("client", command, PATIENCE)[0] == 0, BOOT, 1)
    assert done, f"{command}: not within {BOOT} s"


def test_the_client_goes_on_in_its_root_and_restarts_when_that_is_lost(
    built: Built, small: Path, tmp_path: Path, says: Callable[..., str]
) -> None:
    disk = Path(shutil.copy(small, tmp_path / "disk.img"))
    with running(built, disk) as booted:
        said = wait_for_event(booted.system, "client", "root", 2)
        assert said[-1] == "LABEL=SMALL is /dev/sda (ext4); starting its /sbin/init"
        wait_for_root(booted, "client")
        assert booted.run("client", "cat /etc/name") == "SMALL\n"
        assert booted.run("client", "tr '\\0' ' ' </proc/1/cmdline") == "/bin/busybox sh /sbin/init "
        assert " / ext4 " in booted.run("client", "cat /proc/1/mounts")
        assert booted.run("client", DATA).split()[0] == hashlib.sha256(b"x" * 3000000).hexdigest()
        # The modules are the running kernel's, and what keeps the disk attached runs on.
        booted.run("client", "modprobe usbmon && grep -w usbmon /proc/modules")
        assert "46f4:0001" in booted.run("client", "router-usbip port")
        assert booted.run("client", "cat /run/router/hosts").endswith("10.77.0.3 client\n")
        # The confined daemon knows that the root is in use, and so does a program of its own.
        with Claim("rooted") as claim, ControlServer(claim, booted.system, "split"):
            refused = says("usb", "detach", "client", "46f4:0001", code=4)
        assert "is in use in 'client': sda on /\n" in refused
        assert '"sda on /"' in booted.run("client", "router-usbip ports --json && true")
        assert booted.run("client", "head -c 4 /data") == "xxxx"
        ports = booted.system.usb
        assert ports is not None
        ports.unplug(1)
        assert wait_for_event(booted.system, "client", "root_lost") == ["sda has gone; the guest restarts"]
        wait_for_event(booted.system, "client", "userspace", 2)
        ports.plug(f"storage:{disk}")
        said = wait_for_event(booted.system, "client", "root", 4)
        assert said[-2:] == ["waiting for LABEL=SMALL", said[1]]
        wait_for_root(booted, "client")
        assert booted.run("client", "head -c 4 /data") == "xxxx"


def test_of_two_disks_with_the_roots_name_none_is_taken(built: Built, small: Path, tmp_path: Path) -> None:
    disks = [Path(shutil.copy(small, tmp_path / name)) for name in ("first.img", "second.img")]
    with running(built, *disks) as booted:
        (said,) = wait_for_event(booted.system, "client", "no_root")
        assert said == "several routed disks have LABEL=SMALL: /dev/sda /dev/sdb; the guest stays in its initramfs"
        assert booted.run("client", "cat /etc/router/image") == "usb-client\n"
        booted.run("client", "! grep -q ' ext4 ' /proc/mounts")
        assert booted.wait("client", "ps | grep -v grep | grep 'sh -l'", PATIENCE)


def test_a_root_as_blocks_waits_for_a_server_that_restarts_and_goes_on(small: Path, tmp_path: Path) -> None:
    disk = Path(shutil.copy(small, tmp_path / "disk.img"))
    with running(build_text(BLOCKS, tmp_path), disk) as booted:
        said = wait_for_event(booted.system, "client", "root", 2)
        assert said[-1] == "LABEL=SMALL is /dev/nvme0n1 (ext4); starting its /sbin/init"
        wait_for_root(booted, "client")
        assert booted.run("client", DATA).split()[0] == hashlib.sha256(b"x" * 3000000).hexdigest()
        booted.run("client", f"({MARKS}) >/run/marks.log 2>&1 &")
        wait_in_root(booted, "[ $(cat /run/marks) -ge 3 ]")
        server = booted.system.guests["server"].qmp
        server.execute("set-action", reboot="reset")
        server.execute("system_reset")
        server.execute("set-action", reboot="shutdown")
        news = wait_for_event(booted.system, "client", "disk-news", 2)
        assert ("server away" in news[0], "server back" in news[1]) == (True, True), news
        wait_in_root(booted, f"[ $(cat /run/marks) = {NUMBER_OF_MARKS} ]")
        assert booted.run("client", "cat /run/marks.log") == ""
        booted.run("client", "echo 3 >/proc/sys/vm/drop_caches")
        assert booted.run("client", "sha256sum </data").split()[0] == hashlib.sha256(b"x" * 3000000).hexdigest()
        assert booted.run("client", "cat /marks").split() == [str(number) for number in range(NUMBER_OF_MARKS)]
        assert " / ext4 rw" in booted.run("client", "cat /proc/1/mounts")
        assert booted.system.timeline.seen("client", "root_lost") == []
