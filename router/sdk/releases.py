# SPDX-License-Identifier: BSD-2-Clause
"""The Microkit releases that router knows: addresses, platforms and digests. Facts, no effects.

Addresses: the release page of the Microkit project. Digests: the SHA-256 of the NAR serialisation (`router.sdk.nar`)
of the archive's top folder, base64, as the Nix flakes of libvmm and of the seL4 Device Driver Framework pin them; the
two agree where both name a version. This table has not been compared with the archives themselves.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from router.errors import DescriptionError, HostError
from router.sdk.digest import Digest, parse_digest

ADDRESS = "https://github.com/seL4/microkit/releases/download/{version}/microkit-sdk-{version}-{platform}.tar.gz"
PLATFORMS: Mapping[tuple[str, str], str] = {
    ("Linux", "x86_64"): "linux-x86-64",
    ("Linux", "aarch64"): "linux-aarch64",
    ("Darwin", "x86_64"): "macos-x86-64",
    ("Darwin", "arm64"): "macos-aarch64",
}
"""What `uname` says of system and machine, and what Microkit's archives call it."""
DIGESTS: Mapping[str, Mapping[str, str]] = {
    "2.3.0": {
        "linux-x86-64": "95nmS3e2Y0Mu3SC5Yy7lMDabyhEw7vjgwGMJpXAz4Hs=",
        "linux-aarch64": "Chv1S0xxaf2ROQ4OcATLorQ9iaNaiXrCresl+AW0iBI=",
        "macos-x86-64": "ob07JxvpiG9DqCB5rdEeDlUYPK2X2wqj1MFJjFbge6k=",
        "macos-aarch64": "7WtFeEf/BbcpNLCKtsJDWcypYXHxAAEMElL+p4KsVXc=",
    },
    "2.2.0": {
        "linux-x86-64": "dxPu2Q01qjKhME6Z6kgG4ASDUe12ytZmh5tCtFva/L0=",
        "linux-aarch64": "U1hA7Vk/TlSWgV7KiEeG7AkA7t5IR/x89mSE0YHBRNA=",
        "macos-x86-64": "aE2mYToK2ne9vzw6d3YQDzJvhpnI8IHOR9+VqZxwlfY=",
        "macos-aarch64": "UZBEwS3vAQqJe6Xj+13smJRS0RYfoc0uCK7hB8ujbvA=",
    },
    "2.1.0": {
        "linux-x86-64": "6I3usfpwEe50xxo4u1Bv206CPJJIhZGtwak8doVk+GE=",
        "linux-aarch64": "hw3C2lffXTeqpVL/L9j6hG4HnBqZHsGiZwK6UQVlJ6s=",
        "macos-x86-64": "l5XKyNMhR1ofHeumvJqdl+yNSKX0/beevBmuoCxDRnU=",
        "macos-aarch64": "SzwdHm0O++5MCZ4+a8o12JOSWJLHl4QK/TU3jyLFNo8=",
    },
    "2.0.1": {
        "linux-x86-64": "YpgIAXWB8v4Njm/5Oo0jZpRt/t+e+rVTwFTJ8zr2Hn4=",
        "linux-aarch64": "GwWDRJalJOpAYCP/qggFOHDh2e2J1LspWUsyjopECYA=",
        "macos-x86-64": "tQWrI5LRp05tLy/HIxgN+0KFJrlmOQ+dpws4Fre+6E0=",
        "macos-aarch64": "bFFyVBF2E3YDJ6CYbfCOID7KGREQXkIFDpTD4MzxfCE=",
    },
}
"""Version → platform → digest, newest version first."""
NEWEST = next(iter(DIGESTS))
VERSION = re.compile(r"\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]{1,40})?", re.ASCII)


def this_platform() -> str | None:
    """What Microkit's archives call this computer; None when Microkit publishes none for it."""
    return PLATFORMS.get((platform.system(), platform.machine()))


def check_version(version: str) -> str:
    """The version, if it looks like one (it becomes part of paths and addresses); DescriptionError otherwise."""
    if VERSION.fullmatch(version) is None:
        raise DescriptionError(
            f"not a version of Microkit: {version!r}", hint=f"write a number such as {NEWEST}; see router sdk list"
        )
    return version


def address(version: str) -> str:
    """Where the release for this computer is; HostError when there is none for it."""
    name = this_platform()
    if name is None:
        raise HostError(
            f"Microkit publishes no SDK for {platform.system()} on {platform.machine()}",
            hint="build one from Microkit's sources, and install it: router sdk install --from FILE --digest …",
        )
    return ADDRESS.format(version=version, platform=name)


def known_digest(version: str) -> Digest:
    """The digest of the release for this computer; DescriptionError when the table has none."""
    found = DIGESTS.get(version, {}).get(this_platform() or "")
    if found is None:
        raise DescriptionError(
            f"router does not know the digest of Microkit {version} for this computer",
            hint="say what it must be, from a source that you trust: --digest sha256:HEX (of the archive)",
        )
    return parse_digest(found)
