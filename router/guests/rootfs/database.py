# SPDX-License-Identifier: BSD-2-Clause
"""dpkg's database for packages that are unpacked and not configured, as `dpkg --configure --pending` finds them.

Formats: deb-control(5), dpkg(1) "Package states", and of the files below /var/lib/dpkg those that dpkg itself writes
(lib/dpkg/infodb-access.c, lib/dpkg/triglib.c, src/main/configure.c).
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from router import requirements
from router.guests.debs import damaged

ADMIN = "var/lib/dpkg"
SCRIPTS = ("preinst", "postinst", "prerm", "postrm", "config")
NEW = ".dpkg-new"
"""Behind the name of a configuration file that was unpacked and waits for its package to be configured."""


@dataclass(frozen=True)
class Control:
    """The control files of one package: `fields` is its control paragraph; `files`: the others, by name."""

    name: str
    fields: str
    files: Mapping[str, bytes]

    @property
    def stem(self) -> str:
        """How dpkg calls the package's files in its database: with the architecture where several can be there."""
        if _field(self.fields, "Multi-Arch") == "same":
            return f"{self.name}:{_field(self.fields, 'Architecture')}"
        return self.name

    @property
    def conffiles(self) -> tuple[str, ...]:
        """Paths of configuration files, relative to the root. Lines with a flag are of files that are to go."""
        lines = self.files.get("conffiles", b"").decode().splitlines()
        return tuple(line.strip().lstrip("/") for line in lines if line.startswith("/"))


def read_control(deb: Path) -> Control:
    """The control files of a package. HostError when it cannot be read."""
    command = [requirements.find("dpkg-deb"), "--ctrl-tarfile", str(deb)]
    done = subprocess.run(command, capture_output=True, check=False)
    try:
        if done.returncode:
            raise tarfile.TarError(done.stderr.decode(errors="replace").strip())
        found = {}
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for item in archive:
                content = archive.extractfile(item) if item.isreg() else None
                if content is not None:
                    found[item.name.removeprefix("./")] = content.read()
        fields = found.pop("control").decode().strip()
    except (tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        raise damaged(deb, str(error)) from error
    return Control(_field(fields, "Package"), fields, found)


def database(packages: Iterable[tuple[Control, Iterable[str]]]) -> dict[str, tuple[bytes, int]]:
    """The files below ADMIN, path -> content and mode, for packages with the paths that each has (relative)."""
    stanzas = []
    found: dict[str, tuple[bytes, int]] = {f"{ADMIN}/info/format": (b"1\n", 0o644)}
    files: list[str] = []
    named: dict[str, list[str]] = {}
    for control, paths in packages:
        stanzas.append(_stanza(control))
        base = f"{ADMIN}/info/{control.stem}"
        listing = "/.\n" + "".join(f"/{path}\n" for path in paths if path)
        found[f"{base}.list"] = (listing.encode(), 0o644)
        for name, content in control.files.items():
            found[f"{base}.{name}"] = (content, 0o755 if name in SCRIPTS else 0o644)
        for trigger, mark in _interests(control.files.get("triggers", b"").decode()):
            if trigger.startswith("/"):
                files.append(f"{trigger} {control.stem}{mark}\n")
            else:
                named.setdefault(trigger, []).append(f"{control.stem}{mark}\n")
    found[f"{ADMIN}/status"] = ("\n".join(stanzas).encode(), 0o644)
    found[f"{ADMIN}/triggers/File"] = ("".join(sorted(files)).encode(), 0o644)
    for trigger, lines in named.items():
        found[f"{ADMIN}/triggers/{trigger}"] = ("".join(lines).encode(), 0o644)
    for name in ("available", "diversions", "statoverride", "triggers/Unincorp"):
        found[f"{ADMIN}/{name}"] = (b"", 0o644)
    return found


def _stanza(control: Control) -> str:
    first, _, rest = control.fields.partition("\n")
    if not first.startswith("Package:"):
        rest = control.fields
        first = f"Package: {control.name}"
        rest = re.sub(r"^Package:.*\n?", "", rest, flags=re.M)
    text = f"{first}\nStatus: install ok unpacked\n{rest}\n"
    if control.conffiles:
        text += "Conffiles:\n" + "".join(f" /{path} newconffile\n" for path in control.conffiles)
    return text


def _interests(text: str) -> list[tuple[str, str]]:
    """(trigger, mark) of a triggers file (deb-triggers(5)): `/noawait` marks those whose activators do not wait."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) == 2 and words[0] in ("interest", "interest-await", "interest-noawait"):
            found.append((words[1], "/noawait" if words[0] == "interest-noawait" else ""))
    return found


def _field(fields: str, name: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*)$", fields, re.M)
    return match[1].strip() if match else ""
