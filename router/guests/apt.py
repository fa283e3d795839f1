# SPDX-License-Identifier: BSD-2-Clause
"""A private apt for another architecture: the machine's sources and keys; lists, cache and package state of its own.

Nothing of the system's package state is read or changed, no root is needed, and signatures are checked by apt as ever.
apt.conf(5), apt-get(8); `indextargets` tells each index's Origin out of its signed Release file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files, requirements
from router.errors import HostError
from router.guests.sources import HOW_TO_POINT, Source

ARCHITECTURE = "arm64"
PROGRESS_TIMEOUT_S = 120.0
"""Without a byte received or a tenth of a second computed, apt counts as hung. Its own connection timeout is 30 s."""
_FRESH = 600.0  # seconds for which the lists just fetched serve the next image too

_CONFIGURATION = """\
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
#clear Binary::apt;
APT::Architecture "{architecture}";
APT::Architectures "{architecture}";
APT::Default-Release "{release}";
{sandbox}
Dir::State "{root}/state";
Dir::State::lists "{root}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log "{root}/log";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{root}/sources.d";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
"""


@dataclass(frozen=True, order=True)
class Package:
    """One binary package of one version: `sha256` is that of the .deb file, as the signed index gives it."""

    name: str
    version: str
    architecture: str
    sha256: str
    size: int = 0
    source: str = ""


class PrivateApt:
    """apt under `root` (a directory of the cache) over the Debian sources among `sources`.

    release: the suite that is preferred where several have a package, in spite of a NotAutomatic one's low priority.
    origins: the vendors, as their signed Release files name them, whose sources are used.
    """

    def __init__(
        self,
        root: Path,
        sources: Sequence[Source],
        progress: Callable[[str], None],
        architecture: str = ARCHITECTURE,
        release: str = "",
        origins: Sequence[str] = ("Debian",),
    ) -> None:
        self.architecture = architecture
        self._release = release
        self._origins = origins
        text = "\n".join([architecture, *([release] if release else []), *(source.deb822() for source in sources)])
        self.digest = files.sha256_of(text.encode())
        self._root = root / self.digest[:16]
        self._sources = sources
        self._progress = progress

    def refresh(self, force: bool = False) -> None:
        """Fetches the indices unless that was done within the last ten minutes.

        Raises HostError when none of the sources is Debian's, has the architecture and can be reached.
        """
        stamp = self._root / "fetched"
        if not force and stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH:
            return
        if not self._sources:
            raise HostError("no package source is configured", HOW_TO_POINT)
        for name in ("state", "lists/partial", "cache/archives/partial", "log", "sources.d"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        sandbox = 'APT::Sandbox::User "root";' if os.geteuid() == 0 else ""
        configuration = _CONFIGURATION.format(
            root=self._root, architecture=self.architecture, release=self._release, sandbox=sandbox
        )
        (self._root / "apt.conf").write_text(configuration)
        with files.locked(self._root / "lock", lambda: self._progress("packages  waiting for another router")):
            self._write_sources(self._sources)
            self._progress("packages  fetching the package lists")
            update = self._run("apt-get", "-q", "update", check=False)
            debian = self._debian_sources()
            if not debian:
                raise HostError(
                    f"none of the package sources is a reachable Debian one with {self.architecture} packages"
                    + (f": {_last_error(update.stderr)}" if update.returncode else ""),
                    HOW_TO_POINT + " (its key comes with the Debian package debian-archive-keyring)",
                )
            if len(debian) < len(self._sources):
                left = ", ".join(f"{s.uri} {s.suite}" for s in self._sources if s not in debian)
                self._progress(f"packages  ignoring sources that are not Debian's or cannot be read: {left}")
            self._write_sources(debian)
            stamp.touch()

    def closure(self, roots: Iterable[str]) -> list[str]:
        """`name=version` of `roots` and all they depend on, as apt would install them on an empty system."""
        options = ["-qq", "--no-install-recommends", "--print-uris", "install", *roots]
        lines = self._run("apt-get", *options).stdout.splitlines()
        found = []
        for line in lines:
            words = line.split()
            if len(words) >= 3 and words[0].startswith("'"):
                name, version, _ = words[1].removesuffix(".deb").split("_")
                found.append(f"{name}={version.replace('%3a', ':').replace('%3A', ':')}")
        return found

    def names(self) -> set[str]:
        """The names of all packages that the sources have."""
        return set(self._run("apt-cache", "pkgnames").stdout.split())

    def show(self, names: Iterable[str]) -> list[dict[str, str]]:
        """The package records (field -> value) of `name` or `name=version` items: the candidate version of each."""
        return _records(self._run("apt-cache", "show", "--no-all-versions", *names).stdout)

    def offered(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Package name -> {version: sha256} of all that the sources have; names unknown to them are missing."""
        found: dict[str, dict[str, str]] = {}
        # Without --no-all-versions apt-cache prints what it finds, and fails only for the names that it does not.
        for fields in _records(self._run("apt-cache", "show", *names, check=False).stdout):
            found.setdefault(fields["Package"], {})[fields["Version"]] = fields["SHA256"]
        return found

    def packages(self, names: Iterable[str]) -> list[Package]:
        """`name` or `name=version` items as Package, in the index's words."""
        found = {}
        for record in self.show(names):
            source = record.get("Source", record["Package"])
            package = Package(
                record["Package"],
                record["Version"],
                record["Architecture"],
                record["SHA256"],
                int(record["Size"]),
                source.split()[0],
            )
            found[package.name] = package
        return sorted(found.values())

    def download(self, packages: Sequence[Package], store: Path) -> None:
        """Fetches `packages` into `store`, each as `<sha256>.deb`; what is there already is not fetched again."""
        missing = [package for package in packages if not deb_path(store, package).exists()]
        if not missing:
            return
        store.mkdir(parents=True, exist_ok=True)
        total = sum(package.size for package in missing)
        self._progress(f"packages  downloading {len(missing)} packages, {total / 1e6:.1f} MB")
        with tempfile.TemporaryDirectory(dir=store) as folder:
            self._run("apt-get", "-qq", "download", *(f"{p.name}={p.version}" for p in missing), cwd=Path(folder))
            fetched = {files.sha256(path): path for path in Path(folder).glob("*.deb")}
            for package in missing:
                if package.sha256 not in fetched:
                    raise HostError(
                        f"the download of {package.name} {package.version} has another sha256 than the index"
                    )
                fetched[package.sha256].rename(deb_path(store, package))

    def _debian_sources(self) -> list[Source]:
        template = "$(ORIGIN)\t$(REPO_URI)\t$(RELEASE)"
        wanted = ("Created-By: Packages", f"Architecture: {self.architecture}")
        answer = self._run("apt-get", "indextargets", "--format", template, *wanted).stdout
        seen = {tuple(line.split("\t")) for line in answer.splitlines()}
        return [
            s
            for s in self._sources
            if any((origin, s.uri.rstrip("/") + "/", s.suite) in seen for origin in self._origins)
        ]

    def _write_sources(self, sources: Iterable[Source]) -> None:
        text = "\n".join(source.deb822() for source in sources)
        (self._root / "sources.d/router.sources").write_text(text)

    def _run(
        self, tool: str, *arguments: str, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LC_ALL": "C"}
        command = [requirements.find(tool), "-c", str(self._root / "apt.conf"), *arguments]
        done = _watched(tool, command, self._root, cwd, environment)
        if check and done.returncode:
            raise HostError(
                f"{tool} {arguments[0]}: {_last_error(done.stderr)}", "see whether the package sources are complete"
            )
        return done


def _watched(
    tool: str, command: Sequence[str], root: Path, cwd: Path | None, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run apt until it ends; HostError when no file of it grows for PROGRESS_TIMEOUT_S (on a full disk it hangs)."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, text=True, cwd=cwd, env=dict(environment))
        try:
            state, since = None, time.monotonic()
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05 if state is None else 0.5)
                now = _progress_of([root, *([cwd] if cwd else [])], out.fileno(), err.fileno(), process.pid)
                if now != state:
                    state, since = now, time.monotonic()
                elif time.monotonic() - since > PROGRESS_TIMEOUT_S:
                    free = shutil.disk_usage(root).free
                    raise HostError(
                        f"{tool} made no progress for {PROGRESS_TIMEOUT_S:.0f} s",
                        f"{free / 1e6:.0f} MB are free there; is the package source reachable?",
                        str(root),
                    )
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, process.returncode, out.read(), err.read())


def _progress_of(folders: Iterable[Path], out: int, err: int, pid: int) -> tuple[int, ...]:
    """Numbers that change while apt works: bytes in its folders and outputs, processor time of it and its children."""
    total = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with contextlib.suppress(OSError):  # apt renames and removes meanwhile
                total += path.stat().st_size
    return total, os.fstat(out).st_size, os.fstat(err).st_size, _ticks(pid)


def _ticks(pid: int) -> int:
    """Processor time of a process (proc(5): utime, stime and those of its ended children), in tenths of a second."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) // 10


def deb_path(store: Path, package: Package) -> Path:
    """Where `store` keeps the .deb file of `package`."""
    return store / f"{package.sha256}.deb"


def _records(text: str) -> list[dict[str, str]]:
    """Stanzas of a Packages file as field -> first line of its value."""
    stanzas = (dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", stanza, re.M)) for stanza in text.split("\n\n"))
    return [fields for fields in stanzas if fields]


def _last_error(stderr: str) -> str:
    errors = [line[3:] for line in stderr.splitlines() if line.startswith("E: ")]
    return errors[0] if errors else (stderr.strip().splitlines() or ["failed without a message"])[-1]
