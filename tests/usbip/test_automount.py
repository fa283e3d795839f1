# SPDX-License-Identifier: BSD-2-Clause
"""What is mounted when a disk comes, where, and what is left when it has gone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from router.usbip.client.automount import MAX_MOUNTS, MAX_NAME, Automount, run_program, safe_name
from router.usbip.runtime import proc
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.sysfs import Sysfs
from tests.support.patience import PATIENCE

REMOVE = {"ACTION": "remove", "SUBSYSTEM": "block"}


@dataclass
class Machine:
    """Block devices in sysfs, and mount and blkid that know what they should say of them."""

    folder: Path
    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By name: the type and label that blkid finds."""
    mounts: dict[str, str] = field(default_factory=dict)
    """By place: the source."""
    commands: list[list[str]] = field(default_factory=list)
    refused: str = ""
    """What mount says, when it refuses."""

    def add(self, name: str, kind: str = "", label: str = "", *, of: str = "", mark: str = "vhci_hcd.0/1-1") -> None:
        """A disk, or a partition `of` one."""
        real = self.folder / f"devices/{mark}/block/{of or name}" / (name if of else "")
        real.mkdir(parents=True)
        (real / "size").write_text("2048\n")
        (real / "ro").write_text("0\n")
        (real / "dev").write_text(f"8:{len(self.kinds)}\n")
        if of:
            (real / "partition").write_text("1\n")
        blocks = self.folder / "class/block"
        blocks.mkdir(parents=True, exist_ok=True)
        (blocks / name).symlink_to(real)
        self.kinds[name] = (kind, label)

    def run(self, words: list[str]) -> tuple[int, str]:
        self.commands.append(words)
        match words:
            case ["blkid", *_, node]:
                kind, label = self.kinds[node.removeprefix("/dev/")]
                return (0, f"DEVNAME={node}\nLABEL={label}\nTYPE={kind}\nUSAGE=filesystem\n") if kind else (2, "")
            case ["mount", "-o", _, node, place]:
                if self.refused:
                    return 32, self.refused
                self.mounts[place] = node
            case ["umount", "-l", place]:
                del self.mounts[place]
        self.write()
        return 0, ""

    def write(self) -> None:
        """The list of mounts, as the kernel writes it."""
        lines = (f"30 1 0:99 / {place} rw - ext4 {node} rw\n" for place, node in self.mounts.items())
        (self.folder / "self/mountinfo").write_text("".join(lines))

    @property
    def media(self) -> Path:
        return self.folder / "media"

    def automount(self, loop: Loop) -> Automount:
        return Automount(loop, Sysfs(str(self.folder)), str(self.media), self.run, str(self.folder / "notes"))

    def restarted(self, loop: Loop) -> Automount:
        """One that starts where another one was."""
        second = self.automount(loop)
        second._adopt()
        second.look()
        return second


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path)
    (tmp_path / "self").mkdir()
    machine.media.mkdir()
    machine.write()
    monkeypatch.setattr(proc, "PROC", str(tmp_path))
    return machine


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.removeprefix("router-usbip: ") for line in capsys.readouterr().out.splitlines()]


def test_each_file_system_is_mounted_by_its_label_or_the_kernels_name(
    machine: Machine, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.add("sda")
    machine.add("sda1", "vfat", "MY\\ DISK", of="sda")
    machine.add("sda2", "ext4", of="sda")
    machine.add("sda3", of="sda")
    machine.automount(loop).look()
    assert machine.mounts == {
        f"{machine.media}/MY_DISK": "/dev/sda1",
        f"{machine.media}/sda2": "/dev/sda2",
    }
    assert said(capsys) == [
        f"mounted sda1 at {machine.media}/MY_DISK (vfat)",
        f"mounted sda2 at {machine.media}/sda2 (ext4)",
    ]
    assert ["mount", "-o", "nosuid,nodev", "/dev/sda1", f"{machine.media}/MY_DISK"] in machine.commands


def test_a_write_protected_disk_is_mounted_read_only(
    machine: Machine, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.add("sda", "ext4", "X")
    (machine.folder / "class/block/sda/ro").write_text("1\n")
    machine.automount(loop).look()
    assert ["mount", "-o", "nosuid,nodev,errors=remount-ro,ro", "/dev/sda", f"{machine.media}/X"] in machine.commands
    assert said(capsys) == [f"mounted sda at {machine.media}/X (ext4, read-only)"]


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_an_error_on_a_disk_does_not_stop_the_guest_even_if_the_disk_says_so(
    machine: Machine, loop: Loop, kind: str
) -> None:
    machine.add("sda", kind, "X")
    machine.automount(loop).look()
    assert machine.commands[-1] == ["mount", "-o", "nosuid,nodev,errors=remount-ro", "/dev/sda", f"{machine.media}/X"]


def test_news_without_end_put_nothing_off(machine: Machine, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.usbip.client.automount.SETTLE_S", 0.2)
    machine.add("sda", "ext4", "X")
    automount = machine.automount(loop)
    end = time.monotonic() + PATIENCE
    while not machine.mounts and time.monotonic() < end:
        automount.heard([{"ACTION": "change", "SUBSYSTEM": "block", "DEVNAME": "sda"}])
        loop.run_once(0.01)
    assert list(machine.mounts) == [f"{machine.media}/X"]


def test_a_disk_that_was_not_routed_an_empty_one_and_a_mounted_one_are_left_alone(machine: Machine, loop: Loop) -> None:
    machine.add("vda", "ext4", mark="virtio0")
    machine.add("sda", "ext4")
    (machine.folder / "class/block/sda/size").write_text("0\n")
    machine.add("sdb", "ext4", mark="vhci_hcd.0/1-2")
    machine.mounts["/mnt"] = "/dev/sdb"
    machine.write()
    machine.automount(loop).look()
    assert machine.mounts == {"/mnt": "/dev/sdb"}
    (machine.folder / "class/block/sda/size").write_text("2048\n")
    machine.automount(loop).look()
    assert machine.mounts[f"{machine.media}/sda"] == "/dev/sda"


def test_a_disk_that_goes_is_unmounted_and_its_folder_removed(
    machine: Machine, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.add("sda", "ext4", "X")
    automount = machine.automount(loop)
    automount.look()
    (machine.folder / "class/block/sda").unlink()
    automount.heard([{**REMOVE, "DEVNAME": "sda"}])
    assert (machine.mounts, list(machine.media.iterdir())) == ({}, [])
    assert said(capsys)[-1] == f"unmounted {machine.media}/X: sda has gone"


def test_lost_news_are_made_up_for_by_a_look_at_everything(machine: Machine, loop: Loop) -> None:
    machine.add("sda", "ext4", "X")
    automount = machine.automount(loop)
    automount.look()
    (machine.folder / "class/block/sda").unlink()
    machine.add("sdb", "ext4", "Y", mark="vhci_hcd.0/1-2")
    automount.heard(None)
    while f"{machine.media}/Y" not in machine.mounts:
        loop.run_once(1)
    assert list(machine.mounts) == [f"{machine.media}/Y"]


def test_what_a_user_unmounts_stays_unmounted_until_the_disk_comes_again(machine: Machine, loop: Loop) -> None:
    machine.add("sda", "ext4", "X")
    automount = machine.automount(loop)
    automount.look()
    machine.run(["umount", "-l", f"{machine.media}/X"])
    automount.look()
    assert machine.mounts == {}
    automount.heard([{**REMOVE, "DEVNAME": "sda"}])
    assert list(machine.media.iterdir()) == []
    automount.look()
    assert list(machine.mounts) == [f"{machine.media}/X"]


def test_two_equal_labels_get_two_folders(machine: Machine, loop: Loop) -> None:
    machine.add("sda", "ext4", "X")
    machine.add("sdb", "ext4", "X", mark="vhci_hcd.0/1-2")
    machine.automount(loop).look()
    assert sorted(machine.mounts) == [f"{machine.media}/X", f"{machine.media}/X-sdb"]


def test_a_folder_that_is_there_already_is_not_used(machine: Machine, loop: Loop) -> None:
    for name in ("sda", "X", "X-sdb", "X-2"):
        (machine.media / name).mkdir()
    machine.add("sda", "ext4")
    machine.add("sdb", "ext4", "X", mark="vhci_hcd.0/1-2")
    machine.automount(loop).look()
    assert sorted(machine.mounts) == [f"{machine.media}/X-3", f"{machine.media}/sda-2"]


def test_a_program_that_starts_again_keeps_what_it_mounted_and_clears_what_has_gone(
    machine: Machine, loop: Loop
) -> None:
    machine.add("sda", "ext4", "X")
    first = machine.automount(loop)
    first.look()
    machine.add("sdb", "ext4", "OLD", mark="vhci_hcd.0/1-2")
    first.look()
    (machine.folder / "class/block/sdb").unlink()
    second = machine.restarted(loop)
    assert (machine.mounts, [one.name for one in machine.media.iterdir()]) == (
        {f"{machine.media}/X": "/dev/sda"},
        ["X"],
    )
    second.heard([{**REMOVE, "DEVNAME": "sda"}])
    assert machine.mounts == {}


def test_what_others_mounted_below_media_stays_also_when_this_starts_again(machine: Machine, loop: Loop) -> None:
    machine.add("sda", "ext4", "X")
    machine.automount(loop).look()
    others = {"SAFE": "/dev/mapper/safe", "MEMORY": "tmpfs", "IMAGE": "/dev/loop0"}
    for name, source in others.items():
        machine.mounts[f"{machine.media}/{name}"] = source
    # Over what this program has mounted.
    machine.run(["umount", "-l", f"{machine.media}/X"])
    machine.mounts[f"{machine.media}/X"] = "tmpfs"
    machine.write()
    before = dict(machine.mounts)
    (machine.folder / "class/block/sda").unlink()
    machine.restarted(loop)
    assert machine.mounts == before


def test_what_a_user_unmounted_stays_unmounted_also_when_this_starts_again(machine: Machine, loop: Loop) -> None:
    machine.add("sda", "ext4", "X")
    machine.automount(loop).look()
    machine.run(["umount", "-l", f"{machine.media}/X"])
    machine.restarted(loop)
    assert machine.mounts == {}
    # Another disk has come meanwhile, and has its name.
    (machine.folder / "class/block/sda").unlink()
    machine.add("sda", "ext4", "Y", mark="vhci_hcd.0/1-3")
    machine.restarted(loop)
    assert machine.mounts == {f"{machine.media}/Y": "/dev/sda"}
    assert [one.name for one in machine.media.iterdir()] == ["Y"]


def test_notes_that_make_no_sense_are_left_out(machine: Machine, loop: Loop) -> None:
    (machine.folder / "notes").write_text("sda 8:1 7 ../etc\nx\nsdz 8:9 7 ..\n")
    machine.add("sda", "ext4", "X")
    machine.restarted(loop)
    assert machine.mounts == {f"{machine.media}/X": "/dev/sda"}


def test_a_refusal_is_said_with_mounts_words_and_leaves_no_folder(
    machine: Machine, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.add("sda", "ntfs", "WIN")
    machine.refused = "mount: this guest's kernel has no driver for NTFS\nmore\n"
    machine.automount(loop).look()
    assert list(machine.media.iterdir()) == []
    assert said(capsys) == ["not mounted: sda (ntfs): mount: this guest's kernel has no driver for NTFS"]


def test_a_device_with_file_systems_without_end_gets_a_bounded_number(
    machine: Machine, loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(MAX_MOUNTS + 2):
        machine.add(f"sd{number}", "ext4", mark=f"vhci_hcd.0/1-{number}")
    machine.automount(loop).look()
    assert len(machine.mounts) == MAX_MOUNTS
    assert len((machine.folder / "notes").read_text().splitlines()) == MAX_MOUNTS
    assert said(capsys)[-1].endswith("64 file systems are mounted already")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("PHOTOS 2024", "PHOTOS_2024"),
        ("../../etc", "etc"),
        ("..", ""),
        ("/..", ""),
        ("/.", ""),
        ("_.hidden", "hidden"),
        ("-rf", "rf"),
        (" _-rf", "rf"),
        ("a/b\x1b[2J\n", "a_b__2J"),
        ("." * MAX_NAME + "a", "a"),
        ("Größe", "Gr__e"),
        ("x" * 999, "x" * MAX_NAME),
        ("   ", ""),
    ],
)
def test_a_label_is_never_more_than_the_name_of_one_folder(label: str, name: str) -> None:
    assert safe_name(label) == name


def test_a_programs_output_and_code_are_told_and_its_output_is_cut() -> None:
    assert run_program(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\nerr\n")
    code, output = run_program(["sh", "-c", "yes | head -c 100000"])
    assert (code, len(output)) == (0, 4096)


def test_a_program_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.usbip.client.automount.PROGRAM_TIMEOUT_S", 0.2)
    monkeypatch.setattr("router.usbip.client.automount.KILL_AFTER_S", 0.2)
    began = time.monotonic()
    code, _ = run_program(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    assert (code in (137, -9), time.monotonic() - began < PATIENCE) == (True, True)
