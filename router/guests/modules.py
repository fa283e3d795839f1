# SPDX-License-Identifier: BSD-2-Clause
"""Kernel modules: which ones an image needs, and the order in which init can load them one by one.

Debian's kernel packages carry no modules.dep (depmod makes it at installation), so the dependencies are read from each
module's own `.modinfo` (scripts/mod/modpost writes it): `depends` for symbols, `softdep=pre: …` for what should be
there first. A module that the kernel has built in is named by modules.builtin.
"""

from __future__ import annotations

import lzma
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


@dataclass(frozen=True)
class Module:
    """One loadable module: `path` below lib/modules/<version>/, as .ko."""

    name: str
    path: str
    depends: tuple[str, ...]
    pre: tuple[str, ...]
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class ModuleSet:
    """What an image carries: modules in an order in which each comes after all it depends on, and those built in."""

    modules: tuple[Module, ...]
    builtin: tuple[str, ...] = ()
    absent_soft: tuple[str, ...] = field(default=())

    def order(self, names: Iterable[str]) -> list[Module]:
        """The modules to load, in order, so that `names` and all they depend on are there."""
        by_name = {module.name: module for module in self.modules}
        wanted: set[str] = set()
        queue = [canonical(name) for name in names]
        while queue:
            name = queue.pop()
            if name in wanted or name not in by_name:
                continue
            wanted.add(name)
            queue += [*by_name[name].depends, *by_name[name].pre]
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


def resolve(
    wanted: Iterable[str],
    available: Mapping[str, str],
    builtin: frozenset[str],
    read: Callable[[str], bytes],
    where: str | None = None,
) -> ModuleSet:
    """The closure of `wanted` (module names), dependencies first.

    available: module name -> file path of the kernel package; read(path): that file's plain ELF bytes.
    A wanted name that is neither a module nor built in is a DescriptionError; a soft dependency may be absent.
    """
    ordered: dict[str, Module] = {}
    found_builtin: set[str] = set()
    absent: set[str] = set()

    def visit(name: str, chain: tuple[str, ...], soft: bool) -> None:
        if name in ordered or name in chain:
            return
        if name in builtin:
            found_builtin.add(name)
            return
        if name not in available:
            if soft:
                absent.add(name)
                return
            _unknown(name, chain, [*available, *builtin], where)
        path = available[name]
        data = read(path)
        check_machine(data, path)
        info = module_info(data)
        depends = tuple(canonical(item) for line in info.get("depends", []) for item in line.split(",") if item)
        pre = tuple(item for line in info.get("softdep", []) for item in _soft_pre(line))
        for item in pre:
            visit(item, (*chain, name), soft=True)
        for item in depends:
            visit(item, (*chain, name), soft=False)
        aliases = tuple(a for a in info.get("alias", []) if a.split(":", 1)[0] not in _HARDWARE_BUSES)
        pre_there = tuple(item for item in pre if item in available or item in builtin)
        plain = path[: path.index(".ko")] + ".ko"
        ordered[name] = Module(name, plain, depends, pre_there, aliases)

    for item in wanted:
        visit(canonical(item), (), soft=False)
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
    lines = [f"alias {alias} {module.name}" for module in modules.modules for alias in module.aliases]
    return "\n".join(sorted(lines)) + "\n"


def _soft_pre(line: str) -> list[str]:
    names = []
    taking = False
    for word in line.split():
        if word.endswith(":"):
            taking = word == "pre:"
        elif taking:
            names.append(canonical(word))
    return names


def _unknown(name: str, chain: tuple[str, ...], known: list[str], where: str | None) -> None:
    if chain:
        raise HostError(f"the kernel package has no module '{name}', which {chain[-1]} depends on", None, where)
    hint = did_you_mean(name, known) or "use the names that modprobe takes, such as usb-storage"
    raise DescriptionError(f"the kernel has no module '{name}'", hint, where)
