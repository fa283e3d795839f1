# SPDX-License-Identifier: BSD-2-Clause
"""A Debian arm64 root file system as an ext4 file: packages by name, unpacked here, configured by the first boot.

What this computer cannot do is run arm64 programs, so maintainer scripts run in the guest (`CONFIGURE`), before systemd
is started: router's initramfs calls it as long as the file `PENDING` is there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files, resources
from router.errors import DescriptionError, HostError
from router.guests.apt import Package, PrivateApt, deb_path
from router.guests.rootfs import ext4
from router.guests.rootfs.database import ADMIN, NEW, SCRIPTS, Control, database, read_control
from router.guests.rootfs.tree import Tree
from router.guests.sources import Source, machine_sources
from router.words import did_you_mean

ESSENTIAL = "?essential"
"""apt-patterns(7): what Debian takes for granted on every system."""
SYSTEM = ("usr-is-merged", "systemd-sysv", "udev", "dbus", "kmod", "e2fsprogs", "iproute2")
"""What makes it a system that boots. `usr-is-merged` keeps the package `usrmerge`, and with it Perl, out."""
OWN_FILES = resources.root() / "guest-images/rootfs"
CONFIGURE = "usr/lib/router/configure"
PENDING = "var/lib/router/unconfigured"
"""Names of the packages with a preinst, in order; its last line is what the first boot removes the file after."""
ROOM = 256 << 20
"""Bytes left for what a person writes, at the least."""


@dataclass(frozen=True)
class RootFs:
    """A finished file. content: bytes of the files in it. packages: in apt's order of names."""

    path: Path
    label: str
    size: int
    content: int
    packages: tuple[Package, ...]


def build_rootfs(
    names: Sequence[str],
    out: Path,
    *,
    label: str,
    size: int | None = None,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> RootFs:
    """Write the file system `out` with the packages `names` and what a Debian needs to boot.

    label: as `check_label` of the description takes it. size: bytes; default what is in it and a third more, at least
    ROOM more. DescriptionError for a package that the sources do not have, HostError for what this computer lacks.
    """
    cache = cache or files.cache_folder()
    apt = PrivateApt(cache / "apt", machine_sources() if sources is None else sources, progress)
    apt.refresh()
    known = apt.names()
    for name in names:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or "`apt-cache search WORD` finds packages of Debian by topic"
            raise DescriptionError(f"the package sources have no package '{name}'", hint)
    packages = apt.packages(apt.closure([ESSENTIAL, *(each for each in SYSTEM if each in known), *names]))
    store = cache / "debs"
    apt.download(packages, store)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="router-rootfs-", dir=out.parent) as scratch:
        tree = Tree(Path(scratch) / "root")
        tree.root.mkdir()
        progress(f"rootfs  unpacking {len(packages)} packages")
        unpack(tree, [deb_path(store, package) for package in packages], label)
        content = used(tree.root)
        size = size or -(-(content + max(ROOM, content // 3)) // (64 << 20)) * (64 << 20)
        progress(f"rootfs  writing {content / 1e6:.0f} MB")
        with files.written_aside(out) as aside:
            ext4.make(tree.root, aside, label, size, tree.owners)
    return RootFs(out, label, size, content, tuple(packages))


def unpack(tree: Tree, debs: Sequence[Path], label: str) -> None:
    """Fill an empty tree: the packages as dpkg unpacks them, its database, and our files."""
    tree.prepare()
    unpacked: list[tuple[Control, list[str]]] = []
    for deb in debs:
        control = read_control(deb)
        unpacked.append((control, tree.unpack(deb, control.conffiles, NEW)))
    for folder in ("info", "triggers", "updates", "alternatives"):
        (tree.root / ADMIN / folder).mkdir(parents=True, exist_ok=True)
    for path, (data, mode) in database(unpacked).items():
        tree.write(path, data, mode)
    # base-passwd's own lists of users and groups: dpkg and the first scripts ask for them before it is configured.
    for name in ("passwd", "group"):
        master = tree.root / f"usr/share/base-passwd/{name}.master"
        if not master.is_file():
            raise HostError("the packages have no list of users", "is base-passwd among the package sources?")
        if not (tree.root / "etc" / name).exists():
            tree.write(f"etc/{name}", master.read_bytes())
    # What maintainer scripts run, and alternatives or diversions make only later.
    tree.link("usr/bin/sh", "dash")
    tree.link("usr/bin/awk", "mawk")
    tree.link("etc/hosts", "/run/router/hosts")
    for file in sorted(OWN_FILES.rglob("*")):
        if file.is_file():
            mode = 0o755 if file.stat().st_mode & 0o100 else 0o644
            tree.write(str(file.relative_to(OWN_FILES)), file.read_bytes(), mode)
    tree.write("etc/fstab", f"LABEL={label} / ext4 defaults 0 1\n".encode())
    stems = [control.stem for control, _ in unpacked if SCRIPTS[0] in control.files]
    tree.write(PENDING, "".join(f"{stem}\n" for stem in sorted(stems, key=first_of_all)).encode())
    tree.finish()


def first_of_all(stem: str) -> tuple[bool, str]:
    """The order of preinst scripts: base-passwd's and base-files' make what the others use."""
    return not stem.startswith("base-"), stem


def used(root: Path) -> int:
    """Bytes that the files below a folder take in blocks of the file system, each once."""
    seen = set()
    total = 0
    for path in root.rglob("*"):
        status = path.lstat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            total += -(-max(status.st_size, 1) // ext4.BLOCK) * ext4.BLOCK
    return total
