# SPDX-License-Identifier: BSD-2-Clause
"""The lab file: which boards there are, what they are wired to, and how to reach them. On the user's machine only.

It is the file that the user names, else the user's own `~/.config/router/boards.yaml` (XDG Base Directory
Specification), else `boards.yaml` in the folder of the description. That one may come from anywhere, and it names shell
commands and devices: it is used only once the user has agreed to its content (`router trust FILE`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from router import trusted
from router.description.diagnostics import DescriptionErrors, Diagnostic
from router.description.source import SourceText, parse, plain
from router.description.text import Text as SourceFile
from router.description.text import read_text
from router.errors import DescriptionError
from router.lab.board import LOAD_WAYS, Board, Labgrid, Network, Power, Tftp, check_board
from router.words import did_you_mean, listing

FILE_NAME = "boards.yaml"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Frozen; an unknown field is an error, and so is a number where a text belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NetworkModel(Strict):
    """`network:`; see router.lab.board.Network."""

    board: Text
    server: Text
    gateway: Text | None = None
    device: Text | None = None


class TftpModel(Strict):
    """`tftp:`; see router.lab.board.Tftp."""

    root: Text | None = None
    port: int = Field(default=69, ge=1, le=65535)
    blksize: int = Field(default=1468, ge=512, le=65464)
    window: int = Field(default=1, ge=1, le=64)


class PowerModel(Strict):
    """`power:`; see router.lab.board.Power."""

    on: Text | None = None
    off: Text | None = None
    cycle: Text | None = None


class LabgridModel(Strict):
    """`labgrid:`; see router.lab.board.Labgrid."""

    place: Text
    coordinator: Text | None = None
    serial: Text | None = None


class BoardModel(Strict):
    """One entry of `boards:`."""

    board: Text
    serial: Text | None = None
    labgrid: LabgridModel | None = None
    baud: int | None = Field(default=None, ge=1200, le=4_000_000)
    prompt: Text | None = None
    stop_keys: Text = "\x03"
    autoboot: Text | None = None
    load: Literal["tftp", "ymodem"] = "tftp"
    network: NetworkModel | None = None
    tftp: TftpModel = TftpModel()
    power: PowerModel = PowerModel()
    via: Text | None = None


class LabModel(Strict):
    """The whole file."""

    boards: dict[Name, BoardModel] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class LabBoard:
    """A board, and the lab host that it is wired to (None: this computer). place: its entry in the file."""

    board: Board
    via: str | None
    place: str


@dataclass(frozen=True, slots=True)
class LabFile:
    """Where the lab file is. needs_trust: it came with a folder, and the user did not name it."""

    path: Path
    needs_trust: bool = False


def find(named: str | None, folder: Path | None = None) -> LabFile:
    """The lab file that the user named, the user's own, or that of the description's folder.

    DescriptionError says where one was looked for.
    """
    if named is not None:
        return LabFile(Path(named))
    if configured := os.environ.get("ROUTER_LAB"):
        return LabFile(Path(configured))
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [LabFile(home / "router" / FILE_NAME)]
    places += [LabFile(folder / FILE_NAME, needs_trust=True)] if folder is not None else []
    for place in places:
        if place.path.is_file():
            return place
    raise DescriptionError(
        f"no lab file: looked for {listing(str(place.path) for place in places)}",
        hint="docs/reference/lab-file.md has one to start from; --lab FILE names another",
    )


def look_at(path: Path) -> tuple[bytes, tuple[LabBoard, ...]]:
    """A lab file's content and its boards, to show before `trust`. DescriptionErrors when it is no lab file."""
    text = read_text(path)
    return text.content.encode(), _boards(text)


def trust(path: Path, content: bytes) -> None:
    """Record that the user agrees to this file with this content, which `look_at` has returned."""
    trusted.agree_to(path, content)


def load(file: LabFile) -> tuple[LabBoard, ...]:
    """All boards of a lab file, in its order.

    Raises DescriptionErrors with every error of the file, and DescriptionError when it needs the user's trust first.
    """
    text = read_text(file.path)
    if file.needs_trust and not trusted.is_agreed_to(file.path, text.content.encode()):
        raise DescriptionError(
            "this lab file came with its folder, and the commands and devices that it names are not trusted yet",
            hint=f"read it, then: router trust {shlex.quote(str(file.path))}",
            where=str(file.path),
        )
    return _boards(text)


def _boards(text: SourceFile) -> tuple[LabBoard, ...]:
    parsed = parse(text)
    if parsed.source is None:
        raise DescriptionErrors(parsed.problems)
    source, found = parsed.source, list(parsed.problems)
    bad: set[tuple[str | int, ...]] = set()
    data: Any = plain(source.root, (), bad)
    model: LabModel | None = None
    try:
        model = LabModel.model_validate(data)
    except ValidationError as error:
        found += [one for one in _translate(source, error) if one is not None]
    boards = []
    for name, entry in model.boards.items() if model is not None else ():
        place = source.place(("boards", name))
        board = _board(name, entry)
        try:
            _check_line(entry, place)
            check_board(board, place)
        except DescriptionError as error:
            found.append(source.diagnostic(("boards", name), error.message, error.hint, key=True))
        boards.append(LabBoard(board, entry.via, place))
    if found:
        raise DescriptionErrors(found)
    return tuple(boards)


def entry(name: str, fields: Mapping[str, Any], where: str) -> Board:
    """One board of its fields as in a lab file; DescriptionError with the first that is wrong."""
    try:
        model = BoardModel.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DescriptionError(f"{field}: {first['msg'].lower()}", where=where) from None
    board = _board(name, model)
    _check_line(model, where)
    check_board(board, where)
    return board


def _check_line(entry: BoardModel, place: str) -> None:
    """A board has a serial port of its own, or a place of labgrid that has one; DescriptionError otherwise."""
    if entry.labgrid is None:
        if entry.serial is None:
            raise DescriptionError("'serial' is missing", hint=EXAMPLES["serial"], where=place)
        return
    if entry.serial is not None:
        raise DescriptionError(
            "'serial' and 'labgrid' exclude each other: the place has the serial port",
            hint="leave `serial` out; `labgrid: {place: NAME, serial: RESOURCE}` picks one of several",
            where=place,
        )
    if entry.via is not None:
        raise DescriptionError(
            "'via' and 'labgrid' exclude each other: labgrid's exporters are on the boards' hosts",
            "leave `via` out",
            place,
        )
    if entry.tftp.root is not None:
        raise DescriptionError(
            "`tftp: root` and 'labgrid' exclude each other: a place has its own TFTP folder",
            hint="leave `root` out; a TFTPProvider in the place says where the folder is",
            where=place,
        )


def choose(boards: tuple[LabBoard, ...], named: str | None, kind: str | None, file: Path) -> LabBoard:
    """The board that is named, or the only one of that kind."""
    if named is not None:
        for one in boards:
            if one.board.name == named:
                if kind is not None and one.board.kind != kind:
                    raise DescriptionError(
                        f"board '{named}' is a {one.board.kind}, and the system was built for {kind}", where=one.place
                    )
                return one
        names = [one.board.name for one in boards]
        raise DescriptionError(
            f"no board '{named}' in the lab file",
            hint=did_you_mean(named, names) or f"it has {listing(names, 'and')}",
            where=str(file),
        )
    fitting = [one for one in boards if kind is None or one.board.kind == kind]
    if not fitting:
        raise DescriptionError(f"the lab file has no {kind}", hint=f"add one with `board: {kind}`", where=str(file))
    if len(fitting) > 1:
        names = [one.board.name for one in fitting]
        raise DescriptionError(
            f"{len(fitting)} boards fit: {listing(names, 'and')}", hint="--on NAME picks one", where=str(file)
        )
    return fitting[0]


def _board(name: str, entry: BoardModel) -> Board:
    return Board(
        name=name,
        kind=entry.board,
        serial=entry.serial or "",
        labgrid=Labgrid(**entry.labgrid.model_dump()) if entry.labgrid is not None else None,
        baud=entry.baud,
        prompt=entry.prompt,
        stop_keys=entry.stop_keys,
        autoboot=entry.autoboot,
        load=entry.load,
        network=Network(**entry.network.model_dump()) if entry.network is not None else None,
        tftp=Tftp(**entry.tftp.model_dump()),
        power=Power(**entry.power.model_dump()),
    )


FIELDS: dict[str, type[BaseModel]] = {
    "network": NetworkModel,
    "tftp": TftpModel,
    "power": PowerModel,
    "labgrid": LabgridModel,
}


def _translate(source: SourceText, error: ValidationError) -> list[Diagnostic | None]:
    """Pydantic's findings in our words, each at its place."""
    out: list[Diagnostic | None] = []
    for detail in error.errors():
        path = tuple(step for step in detail["loc"] if step != "[key]")
        last, kind, value = str(path[-1]) if path else "", detail["type"], detail["input"]
        above = FIELDS.get(str(path[-2])) if len(path) > 3 else BoardModel if len(path) == 3 else LabModel
        known = list((above or BoardModel).model_fields)
        if not path:
            out.append(source.diagnostic((), "a lab file is a mapping with 'boards'", EXAMPLES["boards"]))
        elif kind == "missing":
            out.append(source.diagnostic(path[:-1], f"'{last}' is missing", EXAMPLES.get(last), key=True))
        elif kind == "extra_forbidden":
            hint = did_you_mean(last, known) or f"known here: {listing(known, 'and')}"
            out.append(source.diagnostic(path, f"unknown field '{last}'", hint, key=True))
        elif kind == "string_type":
            shown = "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else f"{value}"
            out.append(source.diagnostic(path, f"'{last}' must be a text, not {shown}", f'quote it: "{value}"'))
        elif kind == "string_pattern_mismatch":
            out.append(
                source.diagnostic(
                    path, f"invalid name '{last}' for a board", "letters, digits, '.', '-' and '_'", key=True
                )
            )
        elif kind == "literal_error":
            out.append(source.diagnostic(path, f"invalid value '{value}' for '{last}'", f"write {listing(LOAD_WAYS)}"))
        elif value is None:
            continue  # the YAML reader has reported it
        else:
            text = str(detail["msg"]).lower().removeprefix("input ")
            out.append(source.diagnostic(path, f"'{last}' {text}", EXAMPLES.get(last)))
    return out


EXAMPLES = {
    "boards": "boards: {desk: {board: maaxboard, serial: /dev/serial/by-id/…, …}}",
    "board": "board: maaxboard (which kind it is), or in `network` its address: board: 192.0.2.2/24",
    "serial": "serial: /dev/serial/by-id/usb-… (`router boards` lists this host's)",
    "server": "server: 192.0.2.1 (this host's address on the board's network)",
    "network": "network: {board: 192.0.2.2/24, server: 192.0.2.1}",
    "labgrid": "labgrid: {place: NAME, coordinator: HOST:PORT}",
    "place": "labgrid: {place: NAME} (`labgrid-client places` lists them)",
    "baud": "baud: 115200",
    "power": "power: {on: COMMAND, off: COMMAND, cycle: COMMAND}",
    "tftp": "tftp: {port: 69, window: 8}",
}
