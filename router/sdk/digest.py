# SPDX-License-Identifier: BSD-2-Clause
"""What an archive or a folder must hash to, as users write it."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from router.errors import DescriptionError


@dataclass(frozen=True)
class Digest:
    """A SHA-256: of the archive's bytes, or of the NAR serialisation of its top folder."""

    value: bytes
    """32 bytes."""
    of_archive: bool

    def __str__(self) -> str:
        """As `parse_digest` reads it."""
        return f"sha256:{self.value.hex()}" if self.of_archive else base64.b64encode(self.value).decode()


def parse_digest(text: str) -> Digest:
    """`sha256:HEX` is the archive's; base64, with or without `sha256-` before it, is the NAR's.

    DescriptionError for anything else.
    """
    if match := re.fullmatch(r"sha256:([0-9A-Fa-f]{64})", text):
        return Digest(bytes.fromhex(match[1]), of_archive=True)
    try:
        value = base64.b64decode(text.removeprefix("sha256-"), validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != 32:
        raise DescriptionError(
            f"not a digest: {text[:100]!r}",
            hint="write sha256: and 64 hexadecimal digits (SHA-256 of the archive), or 44 base64 characters "
            "(SHA-256 of the unpacked folder's NAR, as Nix writes it)",
        )
    return Digest(value, of_archive=False)
