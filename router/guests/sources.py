# SPDX-License-Identifier: BSD-2-Clause
"""Package sources as apt knows them: read in both of its forms, written out as deb822 for a private apt.

Forms: sources.list(5). Only what says where packages come from and which key signs them is kept: an architecture
restriction is dropped (the guests are arm64 whatever the host is), and so is `trusted=yes`: signatures are checked.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from router import requirements
from router.errors import DescriptionError, HostError

ENVIRONMENT = "ROUTER_APT_SOURCES"
HOW_TO_POINT = f"name a sources file (deb822 or one-line) of a Debian release by {ENVIRONMENT}=/path/debian.sources"

# Field of deb822 <- option of the one-line form; everything else is dropped.
_KEPT = {
    "Signed-By": "signed-by",
    "Check-Valid-Until": "check-valid-until",
    "Check-Date": "check-date",
    "Valid-Until-Max": "valid-until-max",
    "InRelease-Path": "inrelease-path",
    "By-Hash": "by-hash",
    "Snapshot": "snapshot",
}
_OFF = {"no", "false", "without", "off", "disable", "0"}


@dataclass(frozen=True)
class Source:
    """One place of binary packages: uri and suite, its components, and further deb822 fields (Signed-By, …)."""

    uri: str
    suite: str
    components: tuple[str, ...]
    fields: tuple[tuple[str, str], ...] = ()

    def deb822(self) -> str:
        """The stanza for a .sources file."""
        lines = [
            "Types: deb",
            f"URIs: {self.uri}",
            f"Suites: {self.suite}",
            f"Components: {' '.join(self.components)}",
        ]
        return "\n".join([*lines, *(f"{key}: {value}" for key, value in self.fields)]) + "\n"


def parse_sources(text: str, deb822: bool, where: str) -> list[Source]:
    """The binary sources that `text` names. Disabled entries, deb-src, cdrom and flat repositories are left out.

    Raises DescriptionError (where: file and line) for an entry that apt would not understand either.
    """
    return _parse_deb822(text, where) if deb822 else _parse_one_line(text, where)


def machine_sources(explicit: Path | None = None) -> list[Source]:
    """What `explicit`, else the environment's ROUTER_APT_SOURCES, else the machine's apt configuration names.

    A directory stands for all the .list and .sources files in it.
    """
    chosen = explicit or (Path(os.environ[ENVIRONMENT]) if os.environ.get(ENVIRONMENT) else None)
    if chosen is not None:
        if not chosen.exists():
            raise HostError("no such sources file", HOW_TO_POINT, str(chosen))
        paths: Iterable[Path] = [chosen]
    else:
        paths = _configured()
    found: list[Source] = []
    for path in paths:
        files = sorted(p for p in path.iterdir() if p.suffix in {".list", ".sources"}) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                text = file.read_text(encoding="utf-8", errors="replace")
                found += parse_sources(text, looks_like_deb822(text), str(file))
    return list(dict.fromkeys(found))


def looks_like_deb822(text: str) -> bool:
    """True when the first line that counts is a deb822 field rather than a one-line `deb …` entry."""
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            return re.match(r"[A-Za-z0-9-]+:", line) is not None
    return False


def _configured() -> list[Path]:
    try:
        answer = subprocess.run(
            [
                requirements.find("apt-config"),
                "shell",
                "LIST",
                "Dir::Etc::sourcelist/f",
                "PARTS",
                "Dir::Etc::sourceparts/d",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except subprocess.CalledProcessError as error:
        raise HostError(f"apt-config: {error.stderr.strip()}", "mend the machine's apt configuration") from error
    return [Path(path) for path in re.findall(r"^(?:LIST|PARTS)='(.*)'$", answer, re.M)]


def _parse_one_line(text: str, where: str) -> list[Source]:
    found = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(deb|deb-src)\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)", line)
        if not match:
            raise DescriptionError(
                f"not a package source: {line!r}", "sources.list(5) has the form", f"{where}:{number}"
            )
        kind, bracket, uri, suite, rest = match.groups()
        options = {}
        for word in (bracket or "").split():
            key, _, value = word.partition("=")
            options[key.rstrip("+-").lower()] = value
        if kind != "deb" or not _usable(uri, suite, rest.split()):
            continue
        fields = tuple((field, options[key].replace(",", " ")) for field, key in _KEPT.items() if key in options)
        found.append(Source(uri, suite, tuple(rest.split()), fields))
    return found


def _parse_deb822(text: str, where: str) -> list[Source]:
    found = []
    for number, stanza in _stanzas(text, where):
        if stanza.get("enabled", "yes").strip().lower() in _OFF or "deb" not in stanza.get("types", "").split():
            continue
        uris, suites = stanza.get("uris", "").split(), stanza.get("suites", "").split()
        if not uris or not suites:
            raise DescriptionError(
                "a source without URIs or Suites", "sources.list(5) has the form", f"{where}:{number}"
            )
        components = stanza.get("components", "").split()
        fields = tuple((field, stanza[field.lower()]) for field in _KEPT if field.lower() in stanza)
        for uri in uris:
            found += [
                Source(uri, suite, tuple(components), fields) for suite in suites if _usable(uri, suite, components)
            ]
    return found


def _stanzas(text: str, where: str) -> list[tuple[int, dict[str, str]]]:
    """(line number of the first field, lower-case field -> value with its continuation lines) for each stanza."""
    stanzas: list[tuple[int, dict[str, str]]] = []
    current: dict[str, str] = {}
    key = ""
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if not line.strip():
            current, key = {}, ""
        elif line[0] in " \t" and key:
            current[key] += "\n" + line
        elif match := re.match(r"([A-Za-z0-9-]+):\s*(.*)$", line):
            if not current:
                stanzas.append((number, current))
            key = match[1].lower()
            current[key] = match[2].strip()
        else:
            raise DescriptionError(f"not a field: {line!r}", "sources.list(5) has the form", f"{where}:{number}")
    return stanzas


def _usable(uri: str, suite: str, components: list[str]) -> bool:
    return bool(components) and not suite.endswith("/") and not uri.startswith("cdrom:")
