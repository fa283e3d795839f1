# SPDX-License-Identifier: BSD-2-Clause
"""A client with `automount: true`: a disk is there as a folder, and a disk in use does not go without a question."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router.testing import Router, Setup
from tests.support import filesystems
from tests.support.end_to_end import BOOT, MiB
from tests.support.filesystems import FILE_SYSTEMS, HELLO

Says = Callable[..., str]
DESCRIPTION = """
system: automount
board: qemu
guests:
  server: {image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}
  client: {image: usb-client, memory: 256 MiB, automount: true}
  other: {image: usb-client, memory: 256 MiB}
network:
  allow: [client -> server tcp/3240, other -> server tcp/3240]
usb:
  - {class: mass-storage, to: client}
"""
PARTS = FILE_SYSTEMS[:2]
"""ext4 and vfat, labelled by their names."""


def disk_of_two(folder: Path) -> Path:
    """A disk with two partitions."""
    path, start, lines = folder / "two.img", MiB, ["label: gpt"]
    with path.open("wb") as disk:
        disk.truncate(2 * MiB + sum(part.size for part in PARTS))
    for part in PARTS:
        made = folder / f"{part.kind}.part"
        filesystems.make(part, made)
        subprocess.run(["dd", f"if={made}", f"of={path}", "bs=1M", f"seek={start // MiB}", "conv=notrunc"], check=True)
        lines.append(f"start={start // 512}, size={part.size // 512}, type={filesystems.LINUX_DATA}")
        start += part.size
    subprocess.run(["sfdisk", "-q", path], input="\n".join(lines) + "\n", text=True, check=True)
    return path


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """USB port 1 has a disk with an ext4 and a vfat file system."""
    filesystems.needs_tools()
    folder = tmp_path_factory.mktemp("automount")
    description = folder / "description.yaml"
    description.write_text(DESCRIPTION)
    usb = (f"storage:{disk_of_two(folder)}",)
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=folder / "build")


def mounted(router: Router) -> str:
    """The client's mounts below /media."""
    return router.guest("client").run("grep ' /media/' /proc/mounts || true").stdout


def test_partitions_of_a_routed_disk_are_folders_and_the_console_says_so(router: Router) -> None:
    client = router.guest("client")
    client.wait_for("grep /media/EXT4 /proc/mounts && grep /media/VFAT /proc/mounts")
    assert client.run("cat /media/EXT4/hello.txt /media/VFAT/hello.txt").stdout == 2 * HELLO
    for line in mounted(router).splitlines():
        options = line.split()[3].split(",")
        assert {"rw", "nosuid", "nodev"} <= set(options), line
    said = [event.detail for event in router.events("mounted", "client")]
    assert said == ["sda1 at /media/EXT4 (ext4)", "sda2 at /media/VFAT (vfat)"]


def test_a_mounted_disk_goes_to_no_other_guest_and_is_not_detached_unless_forced(router: Router, says: Says) -> None:
    refused = says("usb", "attach", "other", "HARDDRIVE", "--take", code=4)
    assert "(QEMU USB HARDDRIVE) is in use in 'client': sda1 on /media/EXT4, sda2 on /media/VFAT\n" in refused
    assert "is in use in 'client'" in says("usb", "detach", "client", "HARDDRIVE", code=4)
    client = router.guest("client")
    client.run("echo kept >/media/EXT4/kept.txt; umount /media/EXT4 /media/VFAT")
    assert "'other'" in says("usb", "attach", "other", "HARDDRIVE", "--take")
    router.guest("other").wait_for("mount /dev/sda1 /mnt")
    assert router.guest("other").run("cat /mnt/kept.txt; umount /mnt").stdout == "kept\n"
    assert mounted(router) == ""
    says("usb", "attach", "client", "HARDDRIVE", "--take")
    client.wait_for("grep /media/EXT4 /proc/mounts && grep /media/VFAT /proc/mounts")


def test_a_disk_that_is_forced_away_is_unmounted_and_its_folders_go(router: Router, says: Says) -> None:
    client = router.guest("client")
    client.wait_for("grep /media/EXT4 /proc/mounts && grep /media/VFAT /proc/mounts")
    client.run("(sleep 600 </media/EXT4/hello.txt >/dev/null 2>&1 &)")
    since = router.next_event
    says("usb", "detach", "client", "HARDDRIVE", "--force")
    client.wait_for("! grep ' /media/' /proc/mounts")
    assert client.wait_for("! ls /media | grep .").stdout == ""
    told = router.wait_for_event("unmounted", "client", since=since)
    assert told.detail == "/media/EXT4: sda1 has gone"
    says("usb", "attach", "client", "HARDDRIVE")
    client.wait_for("grep /media/EXT4 /proc/mounts && grep /media/VFAT /proc/mounts")
    client.run("kill $(pidof sleep)", check=False)
    rows = json.loads(says("usb", "ports", "client", "--json"))
    (uses,) = (row["device"]["uses"] for row in rows if row["device"])
    assert {use.partition(" on ")[2] for use in uses} == {"/media/EXT4", "/media/VFAT"}


@pytest.mark.last
def test_a_disk_that_is_swapped_to_is_not_detached(router: Router, says: Says) -> None:
    client = router.guest("client")
    client.wait_for("grep /media/EXT4 /proc/mounts && grep /media/VFAT /proc/mounts")
    # Its name is another one where the one of before was still in use when the disk came back.
    part = client.run("sed -n 's#^\\(/dev/sd[a-z]2\\) /media/VFAT .*#\\1#p' /proc/mounts").stdout.strip()
    client.run(f"umount /media/EXT4 /media/VFAT && mkswap {part} && swapon {part}")
    in_use = f"is in use in 'client': {part.removeprefix('/dev/')} as swap\n"
    assert in_use in says("usb", "detach", "client", "HARDDRIVE", code=4)
    client.run(f"swapoff {part}")
    says("usb", "detach", "client", "HARDDRIVE")
