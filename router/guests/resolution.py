# SPDX-License-Identifier: BSD-2-Clause
"""Which packages an image is made of: resolved by apt once and kept until newer ones are requested."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from router import files, requirements
from router.description.guest_image import Definition
from router.errors import DescriptionError, HostError
from router.guests.apt import Package, PrivateApt, deb_path
from router.guests.sources import Source
from router.guests.userland import relevant
from router.words import did_you_mean

RECORD = "`router lock`"  # the command that records a lock
KERNEL = "linux-image-arm64"
INSTALL = "install python{}, or point to the sources of a Debian release whose Python you have"
_KERNEL_PART = re.compile(r"linux-(?:image|modules|binary|base)-\d")


@dataclass(frozen=True)
class Resolution:
    """The packages of one image: `kernel` those that hold kernel and modules, `userland` the others; sorted by name."""

    kernel: tuple[Package, ...]
    userland: tuple[Package, ...]

    @property
    def packages(self) -> tuple[Package, ...]:
        """All of them."""
        return self.kernel + self.userland

    @property
    def digest(self) -> str:
        """Identifies the packages' content."""
        return files.sha256_of("\n".join(f"{p.name} {p.sha256}" for p in self.packages).encode())


class Packages:
    """The packages for images, from `sources` through a private apt below `cache`. locked: a lock fixes them."""

    def __init__(
        self, cache: Path, sources: Sequence[Source], progress: Callable[[str], None], locked: bool = False
    ) -> None:
        self._locked = locked
        self._cache = cache
        self._sources = sources
        self._progress = progress
        self._kernel: list[Package] = []
        self._apt = PrivateApt(cache / "apt", sources, progress)
        self.store = cache / "debs"

    def resolve(self, definition: Definition, refresh: bool = False, lists: bool = True) -> Resolution:
        """What apt would install for `definition`; a former answer stands unless `refresh` (with new `lists`)."""
        roots = definition.image.packages
        kept = self._record(definition)
        if kept.is_file() and not refresh:
            return read_resolution(json.loads(kept.read_bytes()))
        self._apt.refresh(force=refresh and lists)
        self._check_known(definition)
        chosen = relevant(self._apt.closure(roots), roots)
        resolution = Resolution(tuple(self._kernel_packages()), tuple(self._apt.packages(chosen)))
        files.write(kept, json.dumps(asdict(resolution), indent=1).encode())
        return resolution

    def resolved(self, definition: Definition) -> Resolution | None:
        """The former answer for `definition`, if there is one."""
        kept = self._record(definition)
        return read_resolution(json.loads(kept.read_bytes())) if kept.is_file() else None

    def _record(self, definition: Definition) -> Path:
        key = files.sha256_of("\n".join([self._apt.digest, *definition.image.packages]).encode())[:24]
        return self._cache / "resolutions" / f"{key}.json"

    def _check_known(self, definition: Definition) -> None:
        """DescriptionError when the package sources do not have a package that the image wants."""
        known = self._apt.names()
        for name in definition.image.packages:
            if name not in known:
                hint = did_you_mean(name, sorted(known)) or "`apt-cache search WORD` finds packages of Debian by topic"
                raise DescriptionError(f"the package sources have no package '{name}'", hint, definition.place)

    def fetch(self, packages: Sequence[Package]) -> dict[str, Path]:
        """Package name -> .deb file in the store, downloaded where it is missing."""
        missing = [package for package in packages if not deb_path(self.store, package).exists()]
        if missing:
            self._apt.refresh()
            self._check_offered(missing)
            self._apt.download(missing, self.store)
        return {package.name: deb_path(self.store, package) for package in packages}

    def _check_offered(self, packages: Sequence[Package]) -> None:
        """HostError when the package sources no longer have just these files: point releases remove old versions."""
        offered = self._apt.offered([package.name for package in packages])
        gone = []
        for package in packages:
            there = offered.get(package.name, {})
            if there.get(package.version) == package.sha256:
                continue
            what = ", ".join(there) or "no version of it"
            if package.version in there:
                what = "another file of that version"
            gone.append(f"{package.name} {package.version} (they have {what})")
        if gone:
            raise HostError(
                f"the package sources no longer have {'; '.join(gone)}",
                "choose from what they have now: "
                + (f"record the lock anew with {RECORD}" if self._locked else "router build --refresh"),
            )

    def host_python(self, version: str) -> list[str]:
        """The command that runs Debian's own Python `version` on this computer, from the guests' package sources.

        It is unpacked in the cache and runs with the C library that belongs to it.
        """
        architecture = subprocess.run(
            [requirements.find("dpkg"), "--print-architecture"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self._progress(f"packages  this computer has no Python {version}: fetching Debian's to compile for the guests")
        apt = PrivateApt(self._cache / "apt", self._sources, self._progress, architecture)
        apt.refresh()
        packages = apt.packages(relevant(apt.closure(["python3-minimal"]), ["python3-minimal"]))
        root = self._cache / "host-python" / Resolution((), tuple(packages)).digest[:16]
        if not (root / "done").exists():
            apt.download(packages, self.store)
            root.mkdir(parents=True, exist_ok=True)
            for package in packages:
                subprocess.run(
                    [requirements.find("dpkg-deb"), "-x", str(deb_path(self.store, package)), str(root)], check=True
                )
            (root / "done").touch()
        interpreter = root / f"usr/bin/python{version}"
        loaders = sorted(p for p in root.glob("**/ld-linux-*.so.*") if p.is_file())
        if not interpreter.exists() or not loaders:
            raise HostError(f"the package sources hold no Python {version} for {architecture}", INSTALL.format(version))
        libraries = ":".join(sorted({str(path.parent) for path in root.glob("**/*.so.*")}))
        return [str(loaders[0]), "--library-path", libraries, str(interpreter)]

    def _kernel_packages(self) -> list[Package]:
        """The real packages behind linux-image-arm64, through its dependencies on versioned names."""
        if self._kernel:
            return self._kernel
        found: dict[str, Package] = {}
        queue = [KERNEL]
        while queue:
            name = queue.pop()
            for record in self._apt.show([name]):
                depends = f"{record.get('Depends', '')}, {record.get('Pre-Depends', '')}"
                for item in re.split(r"[,|]", depends):
                    other = item.split("(")[0].strip()
                    if _KERNEL_PART.match(other) and other not in found:
                        found[other] = self._apt.packages([other])[0]
                        queue.append(other)
        if not found:
            raise HostError(
                f"{KERNEL} depends on no kernel package", "see whether the sources are those of a Debian release"
            )
        self._kernel = sorted(found.values())
        return self._kernel


def read_resolution(data: dict[str, list[dict[str, object]]]) -> Resolution:
    """Resolution out of what `asdict` made of it."""
    return Resolution(
        tuple(Package(**item) for item in data["kernel"]),  # type: ignore[arg-type]
        tuple(Package(**item) for item in data["userland"]),  # type: ignore[arg-type]
    )
