# SPDX-License-Identifier: BSD-2-Clause
"""Which SDKs are on this computer, whole or broken, and which releases there are to install."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from router.description.sdk_versions import KNOWN
from router.errors import HostError
from router.microkit.sdk import survey
from router.sdk import releases
from router.sdk.digest import Digest
from router.sdk.nar import nar_sha256


@dataclass(frozen=True)
class Installed:
    """An SDK, or a folder that looks like one."""

    path: str
    version: str | None
    boards: Mapping[str, tuple[str, ...]]
    """The configurations of each board."""
    trouble: str | None
    """What is broken about it; None for a whole one."""
    usable: bool
    """Whether this router can build with that version."""
    release: bool | None = None
    """Whether it is, byte for byte, the release for this computer. None: not looked at, or no digest is known."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def installed(
    environment: Mapping[str, str] = os.environ, *, verify: bool = False, progress: Callable[[str], None] = print
) -> list[Installed]:
    """Whole SDKs, newest first, then broken ones. verify: also compare each with its release's digest."""
    known = {each.version for each in KNOWN}
    found = []
    whole, broken = survey(environment)
    for sdk in whole:
        release = None
        digest = releases.DIGESTS.get(sdk.version, {}).get(releases.this_platform() or "")
        if verify and digest is not None:
            progress(f"reading {sdk.path}")
            try:
                release = str(Digest(nar_sha256(sdk.path), of_archive=False)) == digest
            except OSError as error:
                raise HostError(f"it cannot be read: {error.strerror}", where=str(error.filename)) from None
        found.append(Installed(str(sdk.path), sdk.version, sdk.boards, None, sdk.version in known, release))
    return found + [Installed(str(error.where), None, {}, error.message, False) for error in broken]


def available() -> tuple[str, ...]:
    """Versions that `router sdk install` knows for this computer, newest first."""
    name = releases.this_platform()
    return tuple(version for version, row in releases.DIGESTS.items() if name in row)
