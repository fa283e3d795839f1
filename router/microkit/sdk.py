# SPDX-License-Identifier: BSD-2-Clause
"""Microkit SDKs on this computer: where they are, their versions, the boards and configurations that they have.

Looked for in this order: the folder that `MICROKIT_SDK` names, `microkit-sdk-*` under ~/.local/share, under /opt.
An SDK says its version in its file `VERSION`, and has a folder `board/BOARD/CONFIG` for each kernel that it brings.
A folder that looks like an SDK and lacks a part of one (an unpacking that was interrupted) is broken: it is never built
with, and `router doctor`, `router sdk list` and the error for a missing SDK name it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from router.description.sdk_versions import KNOWN
from router.errors import HostError

VARIABLE = "MICROKIT_SDK"
PLACES = (Path("/opt"),)
"""Where SDKs are looked for after ~/.local/share."""
PATTERN = "microkit-sdk-*"
LEFTOVERS = ".microkit-sdk-*.unpacking"
"""What an interrupted `router sdk install` leaves in ~/.local/share."""
RELEASES = "https://docs.sel4.systems/projects/microkit/"
AUTO = "auto"
BUILD_INPUTS = ("include/microkit.h", "include/kernel/gen_config.h", "lib/libmicrokit.a", "lib/microkit.ld")
"""What of a board/BOARD/CONFIG ends up in a program, directly or through the headers that these stand for."""
PARTS = (*BUILD_INPUTS, "elf/sel4.elf")
"""What each board/BOARD/CONFIG of a whole SDK has. Archives are in alphabetical order: lib/microkit.ld comes last."""


@dataclass(frozen=True)
class Sdk:
    """One SDK. Paths are absolute."""

    path: Path
    version: str
    boards: Mapping[str, tuple[str, ...]]
    """The configurations of each board, by the SDK's names, sorted."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))

    @property
    def tool(self) -> Path:
        """The `microkit` command."""
        return self.path / "bin" / "microkit"

    def board_dir(self, board: str, config: str) -> Path:
        """The folder with the kernel, the loader, the library and the headers; HostError when the SDK has none."""
        if board not in self.boards:
            raise HostError(
                f"Microkit SDK {self.version} has no board '{board}'",
                hint=f"it has {', '.join(self.boards)}; build or install an SDK with '{board}'",
                where=str(self.path),
            )
        if config not in self.boards[board]:
            raise HostError(
                f"Microkit SDK {self.version} has no configuration '{config}' for the board '{board}'",
                hint=f"it has {', '.join(self.boards[board])}",
                where=str(self.path),
            )
        return self.path / "board" / board / config


def read_sdk(path: Path) -> Sdk:
    """The SDK in that folder; HostError when it is not one or a part is missing."""
    path = path.expanduser().absolute()
    advice = f"an SDK has the file VERSION and the folders bin and board; SDKs are at {RELEASES}"
    try:
        version = (path / "VERSION").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HostError("not a Microkit SDK: its file VERSION cannot be read", hint=advice, where=str(path)) from error
    # Development builds append to the number ("2.1.0-dev.3+abc"); the format is that of the number.
    number = re.match(r"\d+\.\d+\.\d+", version)
    if number is None:
        raise HostError(f"not a Microkit SDK: its file VERSION says {version[:40]!r}", hint=advice, where=str(path))
    if not os.access(path / "bin" / "microkit", os.X_OK):
        raise HostError(
            "not a whole Microkit SDK: bin/microkit is missing or not executable", hint=advice, where=str(path)
        )
    boards = {
        board.name: tuple(sorted(config.name for config in board.iterdir() if config.is_dir()))
        for board in sorted((path / "board").glob("*"))
        if board.is_dir()
    }
    wanted = (f"board/{board}/{config}/{part}" for board in boards for config in boards[board] for part in PARTS)
    missing = (
        "board" if not any(boards.values()) else next((each for each in wanted if not (path / each).is_file()), None)
    )
    if missing is not None:
        raise HostError(
            f"not a whole Microkit SDK: {missing} is missing",
            hint="it was unpacked in part only: remove it, and install it again with router sdk install",
            where=str(path),
        )
    return Sdk(path, number[0], boards)


def user_share(environment: Mapping[str, str] = os.environ) -> Path:
    """The user's own place for SDKs, into which `router sdk install` puts them: ~/.local/share."""
    return Path(environment.get("HOME") or "~").expanduser() / ".local" / "share"


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Folders that may be SDKs, in the usual places."""
    places = [user_share(environment), *PLACES]
    return [path for place in places for path in sorted(place.glob(PATTERN)) if path.is_dir()]


def survey(environment: Mapping[str, str] = os.environ) -> tuple[tuple[Sdk, ...], tuple[HostError, ...]]:
    """The whole SDKs of this computer, and what is wrong with the folders that should be SDKs and are not whole.

    The one that MICROKIT_SDK names first, then the usual places', newest first; each folder once.
    """
    named = [Path(environment[VARIABLE])] if environment.get(VARIABLE) else []
    first: list[Sdk] = []
    usual: list[Sdk] = []
    broken: dict[str | None, HostError] = {}
    for found, paths in ((first, named), (usual, candidates(environment))):
        for path in paths:
            try:
                found.append(read_sdk(path))
            except HostError as error:
                broken.setdefault(error.where, error)
    usual.sort(key=lambda sdk: (sdk.numbers, str(sdk.path)), reverse=True)
    once: dict[Path, Sdk] = {}
    for sdk in (*first, *usual):
        once.setdefault(sdk.path.resolve(), sdk)
    for path in sorted(user_share(environment).glob(LEFTOVERS)):
        broken[str(path)] = HostError(
            "router sdk install was interrupted here, or is at work",
            hint="the next router sdk install removes it",
            where=str(path),
        )
    return tuple(once.values()), tuple(broken.values())


def installed_sdks(environment: Mapping[str, str] = os.environ) -> tuple[Sdk, ...]:
    """All usable SDKs, in the order of `survey`.

    HostError when MICROKIT_SDK names something that is not a whole SDK; broken ones elsewhere are passed over.
    """
    if environment.get(VARIABLE):
        read_sdk(Path(environment[VARIABLE]))
    return survey(environment)[0]


def broken_sdks(environment: Mapping[str, str] = os.environ) -> tuple[HostError, ...]:
    """What is wrong with the folders that should be SDKs and are not whole, with the folder as `where`."""
    return survey(environment)[1]


def find_sdk(
    requirement: str = AUTO,
    board: str | None = None,
    config: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Sdk | None:
    """The SDK to build with, or None: of that version, or for `auto` MICROKIT_SDK's, else the newest known version.

    board, config: in the SDK's names; an SDK without them is passed over in the usual places.
    HostError when MICROKIT_SDK names something that is no SDK, or one that the requirement excludes.
    """
    known = {each.version for each in KNOWN}
    for sdk in installed_sdks(environment):
        named = bool(environment.get(VARIABLE)) and sdk.path == Path(environment[VARIABLE]).expanduser().absolute()
        if named and requirement not in (AUTO, sdk.version):
            raise HostError(
                f"the description asks for Microkit SDK {requirement}, and {VARIABLE} names {sdk.version}",
                hint=f"unset {VARIABLE}, let it name an SDK {requirement}, or write 'sdk: {sdk.version}'",
                where=str(sdk.path),
            )
        if sdk.version not in known or requirement not in (AUTO, sdk.version):
            continue
        if board is not None and config is not None:
            if named:
                sdk.board_dir(board, config)
            elif config not in sdk.boards.get(board, ()):
                continue
        return sdk
    return None


def require_sdk(
    requirement: str = AUTO,
    board: str | None = None,
    config: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Sdk:
    """As find_sdk, but HostError with what to do when there is none."""
    sdk = find_sdk(requirement, board, config, environment)
    if sdk is not None:
        return sdk
    wanted = "Microkit SDK" if requirement == AUTO else f"Microkit SDK {requirement}"
    kernel = f" with '{config}' for the board '{board}'" if board and config else ""
    whole, broken = survey(environment)
    found = [f"{each.version} in {each.path}" for each in whole]
    found += [f"a broken one in {error.where}" for error in broken]
    version = KNOWN[-1].version if requirement == AUTO else requirement
    # Installing a version that is there would change nothing: another build of it is needed.
    install = "" if any(each.version == version for each in whole) else f"router sdk install {version}, or "
    raise HostError(
        f"no {wanted}{kernel} is installed (found: {', '.join(found) or 'none'})",
        hint=f"{install}let {VARIABLE} name the folder of one{' that has it' * (not install)}",
    )
