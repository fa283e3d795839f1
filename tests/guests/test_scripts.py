# SPDX-License-Identifier: BSD-2-Clause
"""The guests' `late`, `harden`, `nest`, `root` and `init` under a real busybox shell; their places are in a folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from router.control.milestones import match
from router.description.guest_image import SHIPPED
from tests.support.patience import PATIENCE

SCRIPTS = SHIPPED / "common/usr/lib/router"
ROOT = SHIPPED / "client/usr/lib/router/root"
MAX_RECORD = 992
"""Bytes of a record that /dev/kmsg takes (Linux kernel/printk/printk.c: LOG_LINE_MAX)."""
BUSYBOX = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")


def run_script(folder: Path, name: str, *words: str, fakes: str = "") -> list[str]:
    """What the script writes to the kernel log. fakes: shell functions in place of programs."""
    for path in ("run/router", "etc/router", "lib"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    log = folder / "kmsg"
    log.touch()

    def moved(text: str) -> str:
        text = re.sub(r"(?<=[ =\"<])/(run|etc|sys|proc|tmp|root|mnt|var)(?=[/ ])", rf"{folder}/\1", text)
        # A disk is a file here.
        text = text.replace("[ -b ", "[ -e ")
        return text.replace("/usr/lib/router/", f"{folder}/lib/").replace(">/dev/kmsg", f">>{log}")

    for script in (*(SCRIPTS / name for name in ("lib", "late", "harden")), ROOT):
        (folder / "lib" / script.name).write_text(moved(script.read_text()))
    # It removes /lib and /usr: here those of a folder.
    nest = moved((SCRIPTS / "nest").read_text())
    nest = nest.replace(" /[a-z]*", f" {folder}/host/[a-z]*").replace(" /$", f" {folder}/host/$")
    assert not re.search(r"[ ={;]/(?!tmp/|\*)", nest.replace(str(folder), "/tmp"))
    (folder / "lib/nest").write_text(nest)
    # Guests have usleep, and this computer may not: without it nothing would be waited for.
    waits = "usleep() { sleep 0.1; }"
    (folder / "lib/lib").write_text(f"{(folder / 'lib/lib').read_text()}\n{waits}\n{fakes}\n")
    command = ["busybox", "sh", f"{folder}/lib/{name}", *words]
    # No pipe to this process: what a program leaves behind would keep it open.
    null = subprocess.DEVNULL
    subprocess.run(command, timeout=PATIENCE, check=False, stdin=null, stdout=null, stderr=null)
    return log.read_text(errors="replace").splitlines()


LATE = "renice() { :; }; mount() { return 1; }; dmesg() { :; }; load_modules() { :; }"


def late(folder: Path, program: str) -> list[str]:
    (folder / "etc/router").mkdir(parents=True)
    run = folder / "etc/router/run"
    run.write_text(f"#!/bin/sh\n{program}\n")
    run.chmod(0o755)
    return [line for line in run_script(folder, "late", fakes=LATE) if "image's program" in line]


@BUSYBOX
def test_a_failed_program_is_a_milestone_however_long_its_last_line_is(tmp_path: Path) -> None:
    (line,) = late(tmp_path, "echo first; head -c 5000 /dev/zero | tr '\\0' x; exit 7")
    found = match(line)
    assert found is not None
    assert found[0].name == "program"
    assert found[1].startswith("failed with 7: xxx")
    assert len(line) < 300


@BUSYBOX
def test_the_log_of_a_program_that_prints_without_end_is_bounded_and_its_last_words_are_kept(tmp_path: Path) -> None:
    (line,) = late(tmp_path, "head -c 3000000 /dev/zero | tr '\\0' '\\n'; echo the last word; exit 3")
    assert line.endswith("failed with 3: the last word")
    assert (tmp_path / "run/router/run.log").stat().st_size <= 1 << 20
    assert (tmp_path / "run/router/run.log.end").stat().st_size <= 4096


@BUSYBOX
def test_a_program_that_leaves_a_service_behind_has_ended_all_the_same(tmp_path: Path) -> None:
    (line,) = late(tmp_path, "sleep 5 & echo started; exit 0")
    assert line.endswith("the image's program has ended well")


@BUSYBOX
def test_no_record_is_longer_than_the_kernel_takes(tmp_path: Path) -> None:
    program = "; ".join(f"{kind} {'x' * 3000}" for kind in ("milestone", "note"))
    lines = run_script(tmp_path, "late", fakes=f"{program}; exit 0")
    assert len(lines) == 2
    assert all(800 < len(line) <= MAX_RECORD for line in lines)


MOUNTS = """
mount() { echo "<7>mount $*" >>{log}; }
umount() { echo "<7>umount $*" >>{log}; }
"""


@BUSYBOX
@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_that_cannot_be_copied_whole_is_not_put_in_place(tmp_path: Path, whole: bool) -> None:
    (tmp_path / "etc/router").mkdir(parents=True)
    (tmp_path / "etc/router/image.conf").write_text("READ_ONLY=yes\n")
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/file").touch()
    fakes = MOUNTS.replace("{log}", str(tmp_path / "kmsg")) + ("cp() { :; }" if whole else "cp() { return 1; }")
    lines = run_script(tmp_path, "harden", "root", fakes=fakes)
    moves = [line for line in lines if "mount -o move" in line]
    said = [line for line in lines if match(line)]
    if whole:
        assert len(moves) == 4
        assert said == []
        return
    assert moves == []
    assert f"<7>umount {tmp_path}/run/router/new" in lines
    (milestone,) = map(match, said)
    assert milestone is not None
    assert (milestone[0].name, milestone[1]) == ("unhardened", "the root stays writable")


@BUSYBOX
def test_a_kernel_that_cannot_be_locked_is_said_in_milestones(tmp_path: Path) -> None:
    (tmp_path / "etc/router").mkdir(parents=True)
    (tmp_path / "etc/router/image.conf").write_text("LOCK_KERNEL=yes\n")
    found = [match(line) for line in run_script(tmp_path, "harden", "kernel", fakes="mount() { return 1; }")]
    assert [(each[0].name, each[1]) for each in found if each] == [
        ("unhardened", "this kernel has no lockdown"),
        ("unhardened", "the kernel goes on taking modules"),
    ]


@BUSYBOX
def test_what_a_daemon_says_that_it_keeps_becomes_a_milestone(tmp_path: Path) -> None:
    line = "router-usbip: unhardened: no Landlock: files are not confined"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/usbip.pyz").touch()
    (tmp_path / "router-usbip").write_text(f"#!/bin/sh\necho '{line}' >&2\n")
    (tmp_path / "router-usbip").chmod(0o755)
    fakes = f"PATH={tmp_path}:$PATH\nrun_usbip serve; exit 0"
    (found,) = map(match, run_script(tmp_path, "late", fakes=fakes))
    assert found is not None
    assert (found[0].name, found[1], found[0].warning) == ("unhardened", "no Landlock: files are not confined", True)


def root(folder: Path, fakes: str) -> list[str]:
    """The milestones of the script that looks for the guest's root file system, which is LABEL=HOME."""
    (folder / "etc/router").mkdir(parents=True)
    (folder / "etc/router/guest.conf").write_text("ROOT=LABEL=HOME\n")
    quick = 'sleep() { :; }; wait_for() { shift; "$@"; }; modprobe() { :; }; : "${NESTED=yes}"; '
    said = (line for line in run_script(folder, "root", fakes=quick + fakes) if line.startswith("<1>"))
    return [line.partition(": ")[2].partition(": ")[2] for line in said]


VHCI = "readlink() { echo /sys/devices/platform/vhci_hcd.0/usb2/2-1/block/${2##*/}; }; "
STAYS = "; the guest stays in its initramfs"


@BUSYBOX
def test_a_guest_whose_root_does_not_come_says_so_and_stays(tmp_path: Path) -> None:
    said = root(tmp_path, "blkid() { return 2; }")
    assert said == ["root: waiting for LABEL=HOME", f"no root: no routed disk has LABEL=HOME within 120 s{STAYS}"]


@BUSYBOX
def test_a_disk_that_is_not_routed_is_not_taken(tmp_path: Path) -> None:
    said = root(tmp_path, "blkid() { echo /dev/vda1; }; readlink() { echo /sys/devices/platform/virtio0/block/vda1; }")
    assert said[-1] == f"no root: no routed disk has LABEL=HOME within 120 s{STAYS}"


@BUSYBOX
def test_of_several_disks_with_the_name_none_is_taken(tmp_path: Path) -> None:
    said = root(tmp_path, VHCI + "blkid() { echo /dev/sda1; echo /dev/sdb; }")
    assert said == [f"no root: several routed disks have LABEL=HOME: /dev/sda1 /dev/sdb{STAYS}"]


@BUSYBOX
def test_a_disk_that_goes_at_once_is_said(tmp_path: Path) -> None:
    said = root(tmp_path, VHCI + "blkid() { echo /dev/absent; }")
    assert said == [f"no root: the disk with LABEL=HOME has gone again{STAYS}"]


@BUSYBOX
def test_a_guest_whose_initramfs_was_not_moved_does_not_switch_to_its_root(tmp_path: Path) -> None:
    said = root(tmp_path, "NESTED=; " + VHCI + "blkid() { echo /dev/sda1; }")
    assert said == [f"no root: the initramfs could not be moved out of the way{STAYS}"]


DISK = (
    VHCI
    + """
blkid() { case $* in *TYPE*) echo ext4 ;; *) echo {folder}/disk ;; esac; }
uname() { echo 6.1; }
chroot() { shift 2; echo "<7>$*" >>{folder}/kmsg; {fails}; }
kill() { echo "<7>kill $*" >>{folder}/kmsg; {switches}; }
reboot() { exit; }
"""
)


def mounted_root(folder: Path, fails: str, switches: str = ":") -> tuple[list[str], list[str]]:
    """The milestones of `root` with a disk that is there, and what it does with init's view of the file system.
    fails: shell code that returns 1 for a command, whose words are `$*`, to fail."""
    folder.joinpath("disk").touch()
    fakes = DISK.replace("{folder}", str(folder)).replace("{fails}", fails).replace("{switches}", switches)
    said = root(folder, fakes)
    did = [line.removeprefix("<7>") for line in (folder / "kmsg").read_text().splitlines() if line.startswith("<7>")]
    return said, did


@BUSYBOX
def test_a_root_without_room_for_the_modules_is_not_covered_by_them(tmp_path: Path) -> None:
    said, did = mounted_root(
        tmp_path, "case $* in *lib/modules*) return 1 ;; esac", f"touch {tmp_path}/run/router/switched"
    )
    assert "kill -ALRM 1" in did
    assert not any(each.startswith("mount") and each.endswith("/newroot") and "bind" in each for each in did)
    assert not any("no root" in each for each in said)


@BUSYBOX
@pytest.mark.parametrize("folder", ["proc", "run"])
def test_a_root_that_cannot_take_the_guests_file_systems_is_not_started(tmp_path: Path, folder: str) -> None:
    said, did = mounted_root(tmp_path, f"case $* in 'mkdir -p /newroot/{folder}') return 1 ;; esac")
    assert re.fullmatch(rf"no root: cannot mount /{folder} on \S+{STAYS}", said[-1])
    assert did[-1] == "umount -l /newroot"
    assert "kill -ALRM 1" not in did


@BUSYBOX
def test_a_switch_that_init_has_taken_back_is_said(tmp_path: Path) -> None:
    said, did = mounted_root(tmp_path, ":")
    assert re.fullmatch(rf"no root: init cannot move its file systems to \S+{STAYS}", said[-1])
    assert did[-2:] == ["kill -ALRM 1", "umount -l /newroot"]


def nest(folder: Path, fakes: str) -> list[str]:
    """Runs `nest` on a file system in folder/host; the milestones and calls of mount and umount."""
    (folder / "etc/router").mkdir(parents=True)
    (folder / "etc/router/guest.conf").write_text("ROOT=LABEL=HOME\n")
    for path in ("bin", "lib/modules", "usr/lib", "dev", "proc"):
        (folder / "host" / path).mkdir(parents=True)
    (folder / "host/usr/lib/program").touch()
    lines = run_script(folder, "nest", fakes=MOUNTS.replace("{log}", str(folder / "kmsg")) + fakes)
    return [line.removeprefix("<7>") for line in lines]


@BUSYBOX
def test_the_initramfs_is_moved_whole(tmp_path: Path) -> None:
    said = nest(tmp_path, "")
    copy = tmp_path / "run/router/initramfs"
    assert (copy / "usr/lib/program").exists()
    assert (tmp_path / "host/usr").readlink() == copy / "usr"
    assert len([each for each in said if each.startswith("mount -o bind")]) == 5


@BUSYBOX
@pytest.mark.parametrize(
    ("fakes", "why"),
    [
        ('cp() { case $* in */lib*) return 1 ;; esac; busybox cp "$@"; }', "/lib cannot be copied"),
        ("mount() { case $* in *proc) return 1 ;; esac; }", "/proc cannot be mounted"),
    ],
)
def test_an_initramfs_that_cannot_be_moved_stays_and_no_half_of_it_takes_memory(
    tmp_path: Path, fakes: str, why: str
) -> None:
    said = nest(tmp_path, fakes)
    found = [match(each) for each in said]
    assert [(each[0].name, each[1].replace(f"{tmp_path}/host", "")) for each in found if each] == [
        ("no_root", f"the initramfs cannot be moved: {why}")
    ]
    assert sorted(each.name for each in (tmp_path / "run/router/initramfs").iterdir()) == [
        "dev",
        "proc",
        "run",
        "sys",
        "tmp",
    ]
    assert (tmp_path / "host/usr/lib/program").exists()
    assert not (tmp_path / "host/usr").is_symlink()


@BUSYBOX
@pytest.mark.parametrize("fails", ["dev", "sys", "none", "touch"])
def test_init_switches_whole_or_not_at_all_and_lives(tmp_path: Path, fails: str) -> None:
    text = (SHIPPED / "common/init").read_text()
    found = re.search(r"^switch\(\) \{.*?^\}$", text, re.MULTILINE | re.DOTALL)
    assert found
    log, program = tmp_path / "log", tmp_path / "busybox"
    program.write_text(
        f'#!/bin/sh\necho "$*" >>{log}\ncase "$*" in "mount -o move /{fails} "*|{fails}*) exit 1 ;; esac\n'
    )
    program.chmod(0o755)
    switch = found[0].replace("/bin/busybox", str(program)).replace("/newroot/run/router/switched", "/absent/switched")
    script = f"sleep 0 &\n{switch}\nswitch 2>/dev/null\necho lives >>{log}\n"
    subprocess.run(["busybox", "sh", "-c", script], timeout=PATIENCE, check=False)
    moves = {each: f"mount -o move /{each} /newroot/{each}" for each in ("dev", "run", "sys", "proc")}
    back = {each: f"mount -o move /newroot/{each} /{each}" for each in moves}
    whole = [*moves.values(), "touch /absent/switched", "switch_root -c /dev/console /newroot /sbin/init"]
    expected = {
        "dev": [moves["dev"], "lives"],
        "sys": [moves["dev"], moves["run"], moves["sys"], back["run"], back["dev"], "lives"],
        "none": whole,
        "touch": whole,
    }
    assert log.read_text().splitlines() == expected[fails]


@BUSYBOX
def test_each_package_of_a_new_root_is_prepared_once_and_again_only_where_that_failed(tmp_path: Path) -> None:
    text = (SHIPPED / "rootfs/usr/lib/router/configure").read_text()
    text = re.sub(r"(?<=[ =>])/(var|usr/sbin/policy)", rf"{tmp_path}/\1", text).replace("PATH=", f"PATH={tmp_path}:")
    for path in ("var/lib/router", "var/lib/dpkg/info", "usr/sbin"):
        (tmp_path / path).mkdir(parents=True)
    programs = {
        "dpkg": f"[ -e {tmp_path}/again ]",
        "var/lib/dpkg/info/asks.preinst": f"cat; echo asks >>{tmp_path}/ran",
        "var/lib/dpkg/info/fails.preinst": f"echo fails >>{tmp_path}/ran; [ -e {tmp_path}/again ] || exit 3",
        "var/lib/dpkg/info/last.preinst": f"echo last >>{tmp_path}/ran",
    }
    for path, program in programs.items():
        (tmp_path / path).write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / path).chmod(0o755)
    pending = tmp_path / "var/lib/router/unconfigured"
    pending.write_text("asks\nfails\nlast\n")
    command = ["busybox", "sh", "-c", text]
    first = subprocess.run(command, input="", capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (first.returncode, first.stdout) == (1, "the preinst of fails ended with 3\n")
    assert (tmp_path / "ran").read_text().split() == ["asks", "fails", "last"]
    (tmp_path / "again").touch()
    second = subprocess.run(command, input="", capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (second.returncode, second.stdout) == (0, "")
    assert (tmp_path / "ran").read_text().split() == ["asks", "fails", "last", "fails"]
    assert list(pending.parent.iterdir()) == []
