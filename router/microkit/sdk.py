# SPDX-License-Identifier: BSD-2-Clause
"""Microkit SDKs on this computer: where they are, their versions, the boards and configurations that they have.

Looked for in this order: the folder that `MICROKIT_SDK` names, `microkit-sdk-*` under ~/.local/share, under /opt.
An SDK says its version in its file `VERSION`, and has a folder `board/BOARD/CONFIG` for each kernel that it brings.
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
PLACES = (Path("~/.local/share"), Path("/opt"))
PATTERN = "microkit-sdk-*"
RELEASES = "https://docs.sel4.systems/projects/microkit/"
AUTO = "auto"


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
    """The SDK in that folder; HostError when it is none or a part is missing."""
    path = path.expanduser().absolute()
    advice = f"an SDK has the file VERSION and the folders bin and board; SDKs are at {RELEASES}"
    try:
        version = (path / "VERSION").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise HostError("no Microkit SDK: its file VERSION cannot be read", hint=advice, where=str(path)) from error
    # Development builds append to the number ("2.1.0-dev.3+abc"); the format is that of the number.
    number = re.match(r"\d+\.\d+\.\d+", version)
    if number is None:
        raise HostError(f"no Microkit SDK: its file VERSION says '{version[:40]}'", hint=advice, where=str(path))
    if not os.access(path / "bin" / "microkit", os.X_OK):
        raise HostError("no Microkit SDK: bin/microkit is not there or not executable", hint=advice, where=str(path))
    boards = {
        board.name: tuple(sorted(config.name for config in board.iterdir() if (config / "lib").is_dir()))
        for board in sorted((path / "board").glob("*"))
        if board.is_dir()
    }
    return Sdk(path, number[0], boards)


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Folders that may be SDKs, in the usual places."""
    home = Path(environment.get("HOME", "~")).expanduser()
    places = [home / place.relative_to("~") if place.parts[0] == "~" else place for place in PLACES]
    return [path for place in places for path in sorted(place.glob(PATTERN)) if path.is_dir()]


def installed_sdks(environment: Mapping[str, str] = os.environ) -> tuple[Sdk, ...]:
    """All usable SDKs: the one that MICROKIT_SDK names first, then the usual places', newest first; each folder once.

    HostError when MICROKIT_SDK names something that is no SDK; broken ones in the usual places are passed over.
    """
    named = [read_sdk(Path(environment[VARIABLE]))] if environment.get(VARIABLE) else []
    found: list[Sdk] = []
    for path in candidates(environment):
        try:
            found.append(read_sdk(path))
        except HostError:
            continue  # an interrupted download, say: `broken_sdks` tells of it
    found.sort(key=lambda sdk: (sdk.numbers, str(sdk.path)), reverse=True)
    once: dict[Path, Sdk] = {}
    for sdk in [*named, *found]:
        once.setdefault(sdk.path.resolve(), sdk)
    return tuple(once.values())


def broken_sdks(environment: Mapping[str, str] = os.environ) -> tuple[HostError, ...]:
    """What is wrong with the folders in the usual places that look like SDKs and are none."""
    wrong: list[HostError] = []
    for path in candidates(environment):
        try:
            read_sdk(path)
        except HostError as error:
            wrong.append(error)
    return tuple(wrong)


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
    found = ", ".join(f"{each.version} in {each.path}" for each in installed_sdks(environment)) or "none"
    version = KNOWN[-1].version if requirement == AUTO else requirement
    raise HostError(
        f"no {wanted}{kernel} is installed (found: {found})",
        hint=f"unpack microkit-sdk-{version} from {RELEASES} under ~/.local/share or /opt, or let {VARIABLE} name it",
    )
