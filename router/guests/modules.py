# SPDX-License-Identifier: BSD-2-Clause
"""Kernel modules: which ones an image needs, and the order in which init can load them one by one.

Debian's kernel packages carry no modules.dep (depmod makes it at installation), so the dependencies are read from each
module's own `.modinfo` (scripts/mod/modpost writes it): `depends` for symbols, `softdep=pre: … post: …` for what it
asks for by name while it runs, such as the checksum `crypto-crc32c` of ext4. Such a name may be an alias, which several
modules may have. A module that the kernel has built in is named by modules.builtin.
"""

from __future__ import annotations

import lzma
import re
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from router import requirements
from router.elf import check_machine, module_info
from router.errors import DescriptionError, HostError
from router.words import did_you_mean

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")
# Aliases of hardware identifiers serve hot-plug by modalias, which these guests do not use: they load by explicit list.
_HARDWARE_BUSES = (
    "usb",
    "pci",
    "of",
    "acpi",
    "hid",
    "platform",
    "virtio",
    "input",
    "i2c",
    "spi",
    "dmi",
    "mdio",
    "sdio",
)
# AF_VSOCK (include/linux/socket.h). The guest's script `boot` loads it by name where the description asks for it; as an
# alias any program could have it loaded, by opening such a socket.
_NOT_REQUESTED = frozenset({"net-pf-40"})
_ALIAS = re.compile(rb"\0alias=([^\0]{1,200})(?=\0)")
_OF_ALIAS = re.compile(r"of:N.*?C([^*]+?)(?:C\*)?")
"""What scripts/mod/file2alias.c writes for an entry of a driver's table of `compatible` strings."""


@dataclass(frozen=True)
class Module:
    """One loadable module: `path` below lib/modules/<version>/, as .ko.

    pre, post: the modules of its soft dependencies that the kernel has, aliases resolved. softdep: as it says them.
    """

    name: str
    path: str
    depends: tuple[str, ...]
    pre: tuple[str, ...]
    aliases: tuple[str, ...]
    post: tuple[str, ...] = ()
    softdep: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModuleSet:
    """What an image carries: modules in an order in which each comes after all it depends on, and those built in."""

    modules: tuple[Module, ...]
    builtin: tuple[str, ...] = ()
    absent_soft: tuple[str, ...] = field(default=())

    def order(self, names: Iterable[str]) -> list[Module]:
        """The modules to load, in order, so that `names` (or aliases) and all they depend on are there."""
        by_name = {module.name: module for module in self.modules}
        by_alias: dict[str, list[str]] = {}
        for module in self.modules:
            for alias in module.aliases:
                by_alias.setdefault(canonical(alias), []).append(module.name)
        wanted: set[str] = set()
        queue = [canonical(name) for name in names]
        while queue:
            name = queue.pop()
            if name not in by_name:
                queue += [other for other in by_alias.get(name, ()) if other in by_name and other not in wanted]
                continue
            if name in wanted:
                continue
            wanted.add(name)
            queue += [*by_name[name].depends, *by_name[name].pre, *by_name[name].post]
        return [module for module in self.modules if module.name in wanted]


def canonical(name: str) -> str:
    """The kernel's spelling of a module name: `usb-storage` is `usb_storage`."""
    return name.replace("-", "_")


def module_name(path: str) -> str | None:
    """The module name of a file path, or None when it is not a module."""
    base = PurePosixPath(path).name
    for suffix in _SUFFIXES:
        if base.endswith(suffix):
            return canonical(base.removesuffix(suffix))
    return None


def builtin_names(modules_builtin: str) -> frozenset[str]:
    """Names out of the text of modules.builtin (one path a line)."""
    return frozenset(name for line in modules_builtin.split() if (name := module_name(line)))


def builtin_aliases(modinfo: bytes) -> dict[str, list[str]]:
    """Alias -> names of the built-in modules that have it, out of modules.builtin.modinfo (`name.key=value`, NUL)."""
    index: dict[str, list[str]] = {}
    for item in modinfo.decode("utf-8", "replace").split("\0"):
        key, _, alias = item.partition("=")
        name, _, kind = key.partition(".")
        if kind == "alias" and _by_name(alias):
            index.setdefault(alias, []).append(canonical(name))
    return index


def unpack_module(path: str, data: bytes) -> bytes:
    """The plain ELF of a module file that may be compressed by xz, gzip or zstd (Debian 13 compresses by xz)."""
    try:
        if path.endswith(".xz"):
            return lzma.decompress(data)
        if path.endswith(".gz"):
            return zlib.decompress(data, wbits=31)
    except (lzma.LZMAError, zlib.error) as error:
        raise HostError(f"{path} cannot be decompressed: {error}", "the kernel package is damaged") from error
    if path.endswith(".zst"):
        tool = requirements.find("zstd")
        done = subprocess.run([tool, "-dcq"], input=data, capture_output=True, check=False)
        if done.returncode:
            raise HostError(f"{path} cannot be decompressed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout
    return data


def module_aliases(data: bytes) -> frozenset[str]:
    """The aliases of a module (plain ELF). Strings are searched: parsing thousands of modules is slow."""
    return frozenset(alias.decode("utf-8", "replace") for alias in _ALIAS.findall(data))


def alias_index(modules: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Alias -> names of the modules that have it, out of name -> aliases; identifiers of hardware are left out."""
    index: dict[str, list[str]] = {}
    for name, aliases in sorted(modules.items()):
        for alias in filter(_by_name, aliases):
            index.setdefault(alias, []).append(name)
    return dict(sorted(index.items()))


def driver_index(modules: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """`compatible` string of a device tree -> its module, out of name -> aliases; of two the first by name."""
    found: dict[str, str] = {}
    for name, aliases in sorted(modules.items()):
        for match in filter(None, map(_OF_ALIAS.fullmatch, aliases)):
            found.setdefault(match[1], name)
    return found


def resolve(
    wanted: Iterable[str],
    available: Mapping[str, str],
    builtin: frozenset[str],
    read: Callable[[str], bytes],
    where: str | None = None,
    aliases: Mapping[str, list[str]] | None = None,
    optional: Iterable[str] = (),
) -> ModuleSet:
    """The closure of `wanted` (names or aliases of modules), dependencies first.

    available: module name -> file path of the kernel package; read(path): that file's plain ELF bytes.
    aliases: as `alias_index` makes it. optional: names that count if the kernel has them.
    A wanted name that is neither a module nor built in is a DescriptionError; a soft dependency may be absent.
    """
    by_alias: dict[str, list[str]] = {}
    for alias, names in (aliases or {}).items():
        by_alias.setdefault(canonical(alias), []).extend(names)
    ordered: dict[str, Module] = {}
    found_builtin: set[str] = set()
    absent: set[str] = set()

    def providers(name: str) -> list[str]:
        return [name] if name in available or name in builtin else by_alias.get(name, [])

    def visit(name: str, chain: tuple[str, ...], soft: bool) -> None:
        if name in ordered or name in chain:
            return
        if name in builtin:
            found_builtin.add(name)
            return
        if name not in available:
            others = providers(name)
            if not others and not soft:
                _unknown(name, chain, [*available, *builtin], where)
            if not others:
                absent.add(name)
            for other in others:
                visit(other, chain, soft)
            return
        path = available[name]
        data = read(path)
        check_machine(data, path)
        info = module_info(data)
        depends = tuple(canonical(item) for line in info.get("depends", []) for item in line.split(",") if item)
        soft_lines = tuple(info.get("softdep", []))
        pre, post = ([item for line in soft_lines for item in _soft(line, kind)] for kind in ("pre", "post"))
        for item in pre:
            visit(item, (*chain, name), soft=True)
        for item in depends:
            visit(item, (*chain, name), soft=False)
        plain = path[: path.index(".ko")] + ".ko"
        ordered[name] = Module(
            name,
            plain,
            depends,
            tuple(other for item in pre for other in providers(item)),
            tuple(alias for alias in info.get("alias", []) if _by_name(alias)),
            tuple(other for item in post for other in providers(item)),
            soft_lines,
        )
        for item in post:
            visit(item, (*chain, name), soft=True)

    for item in wanted:
        visit(canonical(item), (), soft=False)
    for item in optional:
        visit(canonical(item), (), soft=True)
    return ModuleSet(tuple(ordered.values()), tuple(sorted(found_builtin)), tuple(sorted(absent)))


def modules_dep(modules: ModuleSet) -> str:
    """modules.dep for modprobe: each module and all that it depends on, nearest last (as depmod writes it)."""
    by_name = {module.name: module for module in modules.modules}
    lines = []
    for module in sorted(modules.modules, key=lambda item: item.path):
        needed = [other for other in modules.order(module.depends) if other.name in by_name]
        lines.append(f"{module.path}:" + "".join(f" {other.path}" for other in reversed(needed)))
    return "\n".join(lines) + "\n"


def modules_alias(modules: ModuleSet) -> str:
    """modules.alias for what the kernel requests on its own (file systems, character sets, protocol families)."""
    lines = {
        f"alias {alias} {module.name}"
        for module in modules.modules
        for alias in module.aliases
        if alias not in _NOT_REQUESTED
    }
    return "\n".join(sorted(lines)) + "\n"


def modules_softdep(modules: ModuleSet) -> str:
    """modules.softdep as depmod writes it: kmod's modprobe reads it, busybox's does not."""
    return "".join(f"softdep {module.name} {line}\n" for module in modules.modules for line in module.softdep)


def _by_name(alias: str) -> bool:
    """Whether an alias is a name that something asks for, and not a pattern of hardware identifiers."""
    return alias.split(":", 1)[0] not in _HARDWARE_BUSES


def _soft(line: str, kind: str) -> list[str]:
    """The names of one kind (pre, post) in a softdep line; cifs and others name theirs without a kind: `pre`."""
    names = []
    taking = "pre"
    for word in line.split():
        if word.endswith(":"):
            taking = word[:-1]
        elif taking == kind:
            names.append(canonical(word))
    return names


def _unknown(name: str, chain: tuple[str, ...], known: list[str], where: str | None) -> None:
    if chain:
        raise HostError(f"the kernel package has no module '{name}', which {chain[-1]} depends on", None, where)
    hint = did_you_mean(name, known) or "use the names that modprobe takes, such as usb-storage"
    raise DescriptionError(f"the kernel has no module '{name}'", hint, where)
