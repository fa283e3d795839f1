# SPDX-License-Identifier: BSD-2-Clause
"""Whether an image has a driver for a node of a device tree: in its kernel, or in a module that it carries.

A module lists the `compatible` strings of its drivers as aliases. A driver that is built in, and one that a parent's
driver looks for by name, leaves no alias: the string itself, with its end, is in the kernel or in a module then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from router import files
from router.description.guest_image import SHIPPED, Definition, image_names, load_definition
from router.guests.apt import deb_path
from router.guests.kernel import Kernel, cached_kernel
from router.guests.lock import default_lock, enforce_lock
from router.guests.modules import resolve
from router.guests.resolution import Packages
from router.guests.sources import Source, machine_sources

_FORMAT = 1
"""Of the kept answers; raise it when `_search` or the closure of modules changes."""


class Drivers:
    """The drivers of one image. `kernel_version`: of the kernel that it runs.

    What they drive follows from the kernel and the image's modules, and finding it out means reading all of these:
    the answers are kept with the cached kernel.
    """

    def __init__(self, definition: Definition, kernel: Kernel) -> None:
        self.kernel_version = kernel.version
        self._definition, self._kernel = definition, kernel
        names = " ".join([str(_FORMAT), *sorted(definition.modules())])
        self._kept = kernel.root / f"driven-{files.sha256_of(names.encode())[:16]}.json"

    @cached_property
    def _answers(self) -> dict[str, bool]:
        try:
            answers = json.loads(self._kept.read_bytes())
        except (OSError, ValueError):
            return {}
        return answers if isinstance(answers, dict) else {}

    @cached_property
    def _modules(self) -> dict[str, bytes]:
        kernel = self._kernel
        where = str(self._definition.sources[-1])
        wanted = self._definition.modules()
        chosen = resolve(wanted, kernel.available, kernel.builtin, kernel.module, where, kernel.aliases)
        return {module.name: kernel.module(kernel.available[module.name]) for module in chosen.modules}

    @cached_property
    def _code(self) -> tuple[bytes, ...]:
        return (self._kernel.image.read_bytes(), *self._modules.values())

    @cached_property
    def _aliases(self) -> dict[str, str]:
        return self._kernel.drivers

    def have(self, compatible: Iterable[str]) -> bool:
        """Whether the image drives a node with one of these `compatible` strings."""
        wanted = tuple(compatible)
        key = "\0".join(wanted)
        if not isinstance(self._answers.get(key), bool):
            self._answers[key] = self._search(wanted)
            with suppress(OSError):  # a cache that cannot be written costs time only
                files.write(self._kept, json.dumps(self._answers))
        return self._answers[key]

    def _search(self, wanted: tuple[str, ...]) -> bool:
        if any(self._aliases.get(name) in self._modules for name in wanted):
            return True
        return any(name.encode() + b"\0" in code for name in wanted for code in self._code)

    def missing_module(self, compatible: Iterable[str]) -> str | None:
        """The module of the kernel package that would drive the node; None when the package has none."""
        return next((self._aliases[name] for name in compatible if name in self._aliases), None)


def cached_drivers(
    definition: Definition,
    *,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    folder: Path = SHIPPED,
    lock: Path | None = None,
) -> Drivers | None:
    """The drivers of an image type; None when its kernel is not in the cache yet. Fetches nothing."""
    cache = cache or files.cache_folder()
    packages = Packages(cache, machine_sources() if sources is None else sources, lambda _: None)
    shared = load_definition(image_names(folder)[0], folder)
    lock = lock or default_lock(folder)
    resolution = enforce_lock(lock, shared) if lock else packages.resolved(shared)
    if resolution is None:
        return None
    kernel = cached_kernel([deb_path(packages.store, package) for package in resolution.kernel], cache)
    return Drivers(definition, kernel) if kernel is not None else None
