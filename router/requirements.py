# SPDX-License-Identifier: BSD-2-Clause
"""Programs of the host that router and its tests run, and the Debian packages that bring them.

This is the one list of what pip cannot install: `router doctor`, the verbs' errors and tests/install-packages read it.
Standard library only: `python3 -m router.requirements` prints the packages before anything else is installed.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass

from router.errors import HostError

DISTRIBUTION = "sel4-usb-router"
"""The name in pyproject.toml, under which pip knows the program."""


@dataclass(frozen=True)
class Requirement:
    """One Debian package. `programs`: what router looks for on PATH; `use`: what for; `needed`: build or run fails
    without it.
    """

    package: str
    programs: tuple[str, ...]
    use: str
    needed: bool = True


REQUIREMENTS = (
    Requirement("device-tree-compiler", ("dtc", "fdtoverlay"), "compiles the base device trees"),
    Requirement("gcc", ("cc",), "builds the switch for split runs"),
    Requirement("libc6-dev", (), "headers of the C library, for the switch of split runs"),
    Requirement("apt", ("apt-get", "apt-cache", "apt-config"), "fetches the guests' packages"),
    Requirement("dpkg", ("dpkg", "dpkg-deb"), "unpacks the guests' packages"),
    Requirement("e2fsprogs", ("mke2fs", "debugfs"), "writes root file systems", needed=False),
    Requirement("zstd", ("zstd",), "compresses the guests' initramfs"),
    Requirement("util-linux", ("setpriv", "wipefs"), "ends QEMU and the switch when router is killed; looks at disks"),
    Requirement("fdisk", ("sfdisk",), "prepares disks for several guests, and reads what is on them", needed=False),
    Requirement("qemu-system-arm", ("qemu-system-aarch64",), "runs systems on this computer"),
    Requirement(
        "gcc-aarch64-linux-gnu",
        ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld"),
        "compiles the protection domains of loader.img, together with the Microkit SDK (or: clang and lld)",
        needed=False,
    ),
)
TEST_PACKAGES = (
    *("make", "qemu-utils", "clang", "clang-format", "lld", "libclang-rt-dev", "cppcheck", "python3-venv"),
    *(
        "xz-utils",
        "kmod",
        "usbip",
        "tshark",
        "u-boot-qemu",
        "u-boot-tools",
        "openssh-server",
        "openssh-client",
        "ser2net",
        "rsync",
    ),
    *("curl", "tftp-hpa", "tftpd-hpa", "atftp", "iproute2", "mtools", "dosfstools", "busybox", "cpio"),
    *("gpg", "gpg-agent", "nix-bin"),
    *("exfatprogs", "genisoimage", "udftools", "btrfs-progs", "xfsprogs", "ntfs-3g", "lz4", "bzip2"),
    "cryptsetup-bin",
)
"""What only the tests use: peers, judges and other compilers."""
CBMC_SINCE = 13
"""Debian 13 has CBMC 6.6; Debian 12 has none."""


def packages(*, tests: bool) -> list[str]:
    """The Debian packages to install, with `tests` also those that only the tests use.

    The model checker is among them where the release has the version that the proofs need; tests/newer-tools unpacks it
    elsewhere.
    """
    more = [*TEST_PACKAGES, *(["cbmc"] if debian_release() >= CBMC_SINCE else [])] if tests else []
    return [each.package for each in REQUIREMENTS] + more


def debian_release() -> int:
    """The number of the Debian release (os-release(5)); 0 on other systems, and on a release without a number."""
    try:
        fields = platform.freedesktop_os_release()
    except OSError:
        return 0
    number = fields.get("VERSION_ID", "")
    return int(number) if fields["ID"] == "debian" and number.isdecimal() else 0


def requirement(program: str) -> Requirement:
    """The entry that brings a program; KeyError for a program that is not on the list."""
    for each in REQUIREMENTS:
        if program in each.programs:
            return each
    raise KeyError(program)


def look_for(program: str) -> str | None:
    """Path of a program on PATH, or where Debian puts system programs; None when it is not installed."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def missing(program: str) -> HostError:
    """The error for a program of the list that is not installed."""
    entry = requirement(program)
    return HostError(f"{program} is not installed: it {entry.use}", hint=f"apt-get install {entry.package}")


def find(program: str) -> str:
    """Path of a program of the list; HostError with the line that installs it."""
    path = look_for(program)
    if path is None:
        raise missing(program)
    return path


if __name__ == "__main__":
    print("\n".join(packages(tests=True)))
