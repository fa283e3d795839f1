# SPDX-License-Identifier: BSD-2-Clause
"""The guest kernel out of Debian's linux-image package: Image, device trees, and the requested modules.

A package holds about 300 MB of modules of which an image wants 1 %: the package is read as a stream, and only what is
asked for reaches the cache.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.errors import HostError
from router.guests import debs
from router.guests.modules import (
    alias_index,
    builtin_aliases,
    builtin_names,
    canonical,
    driver_index,
    module_aliases,
    module_name,
    resolve,
    unpack_module,
)
from router.linux_boot import NotAKernelImage, read_kernel_header

_VMLINUZ = re.compile(r"boot/vmlinuz-(\S+)$")
_MODULES = re.compile(r"(?:usr/)?lib/modules/([^/]+)/(.+)$")
_DTB = re.compile(r"usr/lib/linux-image-[^/]+/(.+\.dtb)$")
_COPYRIGHT = re.compile(r"usr/share/doc/([^/]+)/copyright$")
_FORMAT = 4
_DRIVERS = "drivers.json"


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache: `root` holds Image, dtbs/ and modules/; the rest is read from the package.

    available: module name -> path. aliases: alias -> names of its modules. date: seconds since 1970, when it was built.
    """

    root: Path
    version: str
    available: dict[str, str]
    builtin: frozenset[str]
    aliases: dict[str, list[str]]
    date: int

    @property
    def image(self) -> Path:
        """The uncompressed arm64 Image."""
        return self.root / "Image"

    @property
    def copyrights(self) -> dict[str, str]:
        """Package name -> text of its copyright file."""
        folder = self.root / "copyright"
        return {path.name: path.read_text(errors="replace") for path in sorted(folder.glob("*"))}

    @property
    def dtbs(self) -> Path:
        """The folder of the package's device trees, with the vendor folders below it."""
        return self.root / "dtbs"

    @property
    def drivers(self) -> dict[str, str]:
        """`compatible` string of a device tree -> the module of the package, extracted or not, with a driver for it."""
        found: dict[str, str] = json.loads((self.root / _DRIVERS).read_bytes())
        return found

    def module(self, path: str) -> bytes:
        """A module's plain ELF; HostError when it was not among those extracted."""
        file = self.root / "modules" / path
        if not file.is_file():
            raise HostError(f"the cached kernel lacks the module {path}", "remove the cache folder", str(self.root))
        return unpack_module(path, file.read_bytes())


def load_kernel(packages: Sequence[Path], cache: Path, wanted: Iterable[str]) -> Kernel:
    """The kernel of the .deb files `packages` (named by sha256), with at least the closure of the modules `wanted`.

    Extracts once; asks for more modules make a second pass. `wanted` names that do not exist are the caller's to judge.
    """
    names = {canonical(name) for name in wanted}
    root = _root(packages, cache)
    with files.locked(root.with_suffix(".lock")):
        kernel, have = _read(root)
        if kernel is None or not names <= have:
            _extract(packages, root, names | have)
            kernel, _ = _read(root)
    assert kernel is not None
    return kernel


def cached_kernel(packages: Sequence[Path], cache: Path) -> Kernel | None:
    """The kernel of `packages` if it was extracted before; nothing is read but the cache."""
    return _read(_root(packages, cache))[0]


def _root(packages: Sequence[Path], cache: Path) -> Path:
    return cache / "kernels" / files.sha256_of(" ".join(sorted(p.name for p in packages)).encode())[:16]


def _read(root: Path) -> tuple[Kernel | None, set[str]]:
    index = root / "kernel.json"
    if not index.is_file() or not (root / _DRIVERS).is_file():
        return None, set()
    facts = json.loads(index.read_bytes())
    if facts["format"] != _FORMAT:
        return None, set()
    builtin = frozenset(facts["builtin"])
    return Kernel(root, facts["version"], facts["modules"], builtin, facts["aliases"], facts["date"]), set(
        facts["wanted"]
    )


def _extract(packages: Sequence[Path], root: Path, wanted: set[str]) -> None:
    image = b""
    version, date = "", 0
    builtin: frozenset[str] = frozenset()
    builtin_info = b""
    packed: dict[str, bytes] = {}  # compressed or not, as the package has them
    names: dict[str, str] = {}
    for package in packages:
        for item in debs.members(package):
            if match := _VMLINUZ.match(item.path):
                image, version, date = item.data, match[1], item.date
            elif match := _DTB.match(item.path):
                files.write(root / "dtbs" / match[1], item.data)
            elif match := _COPYRIGHT.match(item.path):
                files.write(root / "copyright" / match[1], item.data)
            elif match := _MODULES.match(item.path):
                if match[2] == "modules.builtin":
                    builtin = builtin_names(item.data.decode())
                elif match[2] == "modules.builtin.modinfo":
                    builtin_info = item.data
                elif name := module_name(match[2]):
                    packed[match[2]] = item.data
                    names[name] = match[2]
    if not image:
        raise HostError("the kernel package holds no boot/vmlinuz", "see whether linux-image-arm64 is Debian's")
    if image[:2] == b"\x1f\x8b":
        image = gzip.decompress(image)
    try:
        read_kernel_header(image, len(image))
    except NotAKernelImage as error:
        raise HostError(f"vmlinuz-{version} of the kernel package cannot be used: {error}", error.hint) from error
    listed = {name: module_aliases(unpack_module(path, packed[path])) for name, path in names.items()}
    aliases = alias_index(listed)
    for alias, owners in builtin_aliases(builtin_info).items():
        aliases[alias] = [*aliases.get(alias, []), *owners]
    closure = resolve((), names, builtin, lambda path: unpack_module(path, packed[path]), None, aliases, sorted(wanted))
    for module in closure.modules:
        path = names[module.name]
        files.write(root / "modules" / path, packed[path])
    files.write(root / "Image", image)
    files.write(root / _DRIVERS, json.dumps(driver_index(listed)).encode())
    facts = {
        "format": _FORMAT,
        "version": version,
        "modules": names,
        "builtin": sorted(builtin),
        "wanted": sorted(wanted),
        "aliases": aliases,
        "date": date,
    }
    files.write(root / "kernel.json", json.dumps(facts).encode())
