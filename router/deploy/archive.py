# SPDX-License-Identifier: BSD-2-Clause
"""The runner as one file that any Python 3.11 starts: our modules and pyserial in a zip with a `__main__`."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from router import files, resources
from router.errors import HostError
from router.imports import closure

START = "router.deploy.remote"
"""The module whose imports make up the archive."""
SERIAL_LEFT_OUT = ("tools/miniterm.py", "tools/hexlify_codec.py", "threaded/__init__.py", "serialwin32.py", "win32.py")

# Understood by every Python, so that an old one says what it lacks instead of failing in the middle of an import.
MAIN = """\
import sys
if sys.version_info < (3, 11):
    sys.stdout.write('{"error": {"kind": "HostError", "where": null, "message": "this host has Python %d.%d", '
                     '"hint": "Python 3.11 or newer is needed there"}}\\n' % sys.version_info[:2])
    sys.exit(3)
from router.deploy.remote import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Archive:
    """The zip and the SHA-256 of it in hexadecimal."""

    data: bytes
    sha256: str

    @property
    def name(self) -> str:
        """A file name that changes with the contents."""
        return f"router-runner-{self.sha256[:16]}.pyz"


def make_archive() -> Archive:
    """The runner; the same modules give the same bytes. HostError when pyserial is not installed."""
    root = resources.PACKAGE.parent
    entries = {str(path.relative_to(root)): path.read_bytes() for path in closure(START, root).values()}
    found = importlib.util.find_spec("serial")
    if found is None or found.origin is None:
        raise HostError("pyserial is not installed", hint="pip install pyserial")
    serial = Path(found.origin).parent
    for path in sorted(serial.rglob("*.py")):
        name = path.relative_to(serial).as_posix()
        if name not in SERIAL_LEFT_OUT:
            entries[f"serial/{name}"] = path.read_bytes()
    entries["__main__.py"] = MAIN.encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, entries[name])
    data = out.getvalue()
    return Archive(data, files.sha256_of(data))
