# SPDX-License-Identifier: BSD-2-Clause
"""What a person does first in a client and in a server, where a description extends the client's image."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from router.testing import Setup
from tests.support import filesystems
from tests.support.end_to_end import Booted, MiB, set_up
from tests.support.filesystems import FILE_SYSTEMS, FileSystem
from tests.support.patience import PATIENCE

HERE = Path(__file__).parent
MOUNTED = [system for system in FILE_SYSTEMS if system.kind != "ntfs"]


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A disk with a partition of each kind is sda, one without partitions sdb; a mouse that no rule names."""
    filesystems.needs_tools()
    folder = tmp_path_factory.mktemp("people")
    parts = filesystems.one_disk(folder / "all.img", folder)
    assert list(parts.values()) == list(range(1, len(FILE_SYSTEMS) + 1))
    filesystems.make(FILE_SYSTEMS[0], folder / "whole.img")
    overlay = folder / "overlay"
    (overlay / "sbin").mkdir(parents=True)
    (overlay / "sbin/hello").write_text("#!/bin/sh\necho from the folder\n")
    (overlay / "sbin/hello").chmod(0o755)
    (folder / "start.sh").write_text("#!/bin/sh\nmodprobe dm-crypt\necho not everything is well\nexit 3\n")
    disks = (f"storage:{folder / 'all.img'}", f"storage:{folder / 'whole.img'}")
    yield set_up(folder, (HERE / "people.yaml").read_text(), 0, *disks, "mouse", on="split")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def people(booted: Booted) -> Booted:
    """The system as a person has it."""
    return booted


def partition(system: FileSystem) -> str:
    return f"/dev/sda{FILE_SYSTEMS.index(system) + 1}"


@pytest.mark.parametrize("system", MOUNTED, ids=lambda system: system.kind)
@pytest.mark.parametrize("option", ["", "-t"], ids=["without -t", "with -t"])
def test_a_disk_is_mounted_read_and_written(people: Booted, system: FileSystem, option: str) -> None:
    kind = f"-t {system.kind}" if option else ""
    read_only = "-o ro" if not system.writable else ""
    people.run("client", f"mount {kind} {read_only} {partition(system)} /mnt")
    try:
        assert f"{partition(system)} /mnt {system.kind} " in people.run("client", "cat /proc/mounts")
        if system.filled:
            assert people.run("client", "cat /mnt/hello.txt") == filesystems.HELLO
        if system.writable:
            people.run("client", f"echo written {option} >/mnt/new.txt; sync")
    finally:
        people.run("client", "umount /mnt")
    if system.writable:
        again = f"mount {partition(system)} /mnt && cat /mnt/new.txt; umount /mnt"
        assert people.run("client", again) == f"written {option}".strip() + "\n"


def test_a_disk_without_partitions_is_mounted_too_and_one_by_its_label(people: Booted) -> None:
    assert people.run("client", "mount /dev/sdb /mnt && cat /mnt/hello.txt; umount /mnt") == filesystems.HELLO
    assert people.run("client", "mount LABEL=VFAT /mnt && cat /mnt/hello.txt; umount /mnt") == filesystems.HELLO


def test_a_script_mounts_as_a_person_does(people: Booted) -> None:
    """busybox's shell has a mount of its own, which a script that names no shell function gets."""
    script = "printf '#!/bin/sh\\nmount /dev/sda1 /mnt && cat /mnt/hello.txt; umount /mnt\\n' >/tmp/s; sh /tmp/s"
    assert people.run("client", script) == filesystems.HELLO


def test_ntfs_is_mounted_where_the_kernel_has_it_and_else_the_reason_is_said(people: Booted) -> None:
    place = f"/dev/sda{[system.kind for system in FILE_SYSTEMS].index('ntfs') + 1}"
    if people.system.execute("client", "modprobe ntfs3 2>/dev/null", PATIENCE)[0] == 0:
        people.run("client", f"mount {place} /mnt && echo new >/mnt/new.txt && umount /mnt")
    else:
        assert "has no driver for NTFS" in people.fails("client", f"mount {place} /mnt")


def test_disks_and_devices_are_listed_with_their_names(people: Booted) -> None:
    listed = people.run("client", "lsblk -n -o NAME,SIZE /dev/sda /dev/sdb")
    assert len(listed.splitlines()) == len(FILE_SYSTEMS) + 2
    found = people.run("client", "blkid")
    for system in FILE_SYSTEMS:
        assert re.search(rf'^{partition(system)}: .*LABEL="{system.kind.upper()}".* TYPE="{system.kind}"', found, re.M)
    assert "46f4:0001 QEMU" in people.run("client", "lsusb")


def test_the_other_guests_are_known_by_name_and_the_prompt_has_ones_own(people: Booted) -> None:
    assert "1 packets received" in people.run("client", "ping -c 1 server")
    assert people.run("server", "grep -w client /etc/hosts").split() == ["10.77.0.3", "client"]
    shown = people.run("client", "sh -l -i </dev/null 2>&1")
    assert "This is guest client." in shown
    assert "client:" in shown


@pytest.mark.parametrize("guest", ["server", "client"])
def test_the_clock_is_the_hosts(people: Booted, guest: str) -> None:
    assert abs(int(people.wait(guest, "[ $(date +%s) -gt 1000000000 ] && date +%s")) - time.time()) < PATIENCE
    assert int(people.run(guest, "cat /etc/router/date")) < time.time()


def test_the_server_says_what_it_owns_exports_and_why_a_port_is_empty(people: Booted) -> None:
    shown = people.run("server", "router-status")
    assert "(xhci_hcd), 480 Mbit/s" in shown
    assert re.search(r"2-1 +46f4:0001", shown)
    assert re.search(r"1-1 +empty: its device runs at another speed, as 2-1", shown)
    assert re.search(r"1-8 +empty: nothing is plugged in", shown)
    assert "in use by 10.77.0.3" in shown
    assert re.search(r"1-3 +0627:0001 .*\n +not exported", shown)


def test_the_client_says_what_it_was_given(people: Booted) -> None:
    shown = people.run("client", "router-status")
    assert shown.count("QEMU USB HARDDRIVE") == 2
    assert "free" not in shown


def test_what_the_description_adds_is_there_and_works(people: Booted) -> None:
    assert people.run("client", "hello") == "from the folder\n"
    assert "image own-client" in people.run("client", "router-status")
    assert people.run("client", "cryptsetup --version").startswith("cryptsetup 2.")
    people.run("client", "modprobe 'crypto-xts(aes)'")


def test_a_program_of_the_image_that_fails_is_said_with_its_last_line(people: Booted) -> None:
    people.wait("client", "grep well /run/router/run.log")
    people.system.pump()
    deadline = time.monotonic() + PATIENCE
    while not (events := people.system.timeline.seen("client", "program")) and time.monotonic() < deadline:
        people.system.poll(0.2)
    assert [event.detail for event in events] == ["failed with 3: not everything is well"]
    assert "dm_crypt" in people.run("client", "lsmod")


@pytest.mark.last
@pytest.mark.parametrize("guest", ["server", "client"])
def test_the_kernel_has_nothing_to_complain_of_but_what_is_known_and_why(people: Booted, guest: str) -> None:
    known = [re.compile(entry["line"]) for entry in yaml.safe_load((HERE / "kernel-messages.yaml").read_text())]
    said = people.run(guest, "dmesg -r | grep '^<[0-3]>' || true").splitlines()
    assert [line for line in said if not any(pattern.search(line) for pattern in known)] == []


def test_the_disk_of_all_kinds_is_smaller_than_its_partitions(people: Booted) -> None:
    """The images are sparse: a test machine need not have half a gigabyte for them."""
    assert people.disk.stat().st_blocks * 512 < 200 * MiB
