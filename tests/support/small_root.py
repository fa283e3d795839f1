# SPDX-License-Identifier: BSD-2-Clause
"""A root file system of busybox alone, for tests of how a guest gets into its root."""

from __future__ import annotations

from pathlib import Path

from router import files
from router.description.guest_image import load_definition
from router.guests.resolution import Packages
from router.guests.rootfs import ext4
from router.guests.rootfs.tree import Tree
from router.guests.sources import machine_sources

MiB = 1 << 20
INIT = """\
#!/bin/busybox sh
export PATH=/usr/bin
/bin/busybox --install -s /usr/bin
echo "<1>small root: its init is process $$" >/dev/kmsg
while :; do
    sleep 1000 &
    wait
done
"""


def make_small_root(out: Path, folder: Path, label: str, configure: str = "") -> None:
    """Write the file system `out`; `folder` becomes its content. configure: a script for its first start."""
    packages = Packages(files.cache_folder(), machine_sources(), lambda _: None)
    resolution = packages.resolve(load_definition("usb-client"))
    busybox = [package for package in resolution.userland if package.name == "busybox-static"]
    tree = Tree(folder)
    tree.root.mkdir()
    tree.prepare()
    tree.unpack(packages.fetch(busybox)["busybox-static"], (), "")
    tree.link("usr/bin/sh", "busybox")
    tree.link("usr/bin/env", "busybox")
    tree.link("usr/bin/readlink", "busybox")
    tree.link("usr/bin/mkdir", "busybox")
    (tree.root / "etc").mkdir(exist_ok=True)
    tree.write("etc/name", f"{label}\n".encode())
    tree.write("usr/sbin/init", INIT.encode(), 0o755)
    if configure:
        tree.write("usr/lib/router/configure", configure.encode(), 0o755)
        tree.write("var/lib/router/unconfigured", b"")
        (tree.root / "var/log").mkdir()
    tree.finish()
    ext4.make(tree.root, out, label, 32 * MiB, tree.owners)
