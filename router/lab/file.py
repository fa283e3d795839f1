"""The lab file: which boards there are, what they are wired to, and how to reach them. On the user's machine only.

It is looked for in the place that the user names, then `boards.yaml` beside the description, then
`~/.config/router/boards.yaml` (XDG Base Directory Specification).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from router.description.diagnostics import DescriptionErrors, Diagnostic
from router.description.source import SourceText, parse, plain
from router.description.text import read_text
from router.errors import DescriptionError
from router.lab.board import Board, Network, Power, Tftp, check_board
from router.words import did_you_mean, listing

FILE_NAME = "boards.yaml"
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]{0,62}$")]
Text = Annotated[str, StringConstraints(min_length=1)]


class Strict(BaseModel):
    """Frozen; an unknown field is an error, and a number is no text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NetworkModel(Strict):
    """`network:`; see job.Network."""

    board: Text
    server: Text
    gateway: Text | None = None
    device: Text | None = None


class TftpModel(Strict):
    """`tftp:`; see job.Tftp."""

    root: Text | None = None
    port: int = Field(default=69, ge=1, le=65535)
    blksize: int = Field(default=1468, ge=512, le=65464)
    window: int = Field(default=1, ge=1, le=64)


class PowerModel(Strict):
    """`power:`; see job.Power."""

    on: Text | None = None
    off: Text | None = None
    cycle: Text | None = None


class BoardModel(Strict):
    """One entry of `boards:`."""

    board: Text
    serial: Text
    baud: int | None = Field(default=None, ge=1200, le=4_000_000)
    prompt: Text | None = None
    stop_keys: Text = "\x03"
    load: Literal["tftp", "ymodem", "xmodem"] = "tftp"
    network: NetworkModel | None = None
    tftp: TftpModel = TftpModel()
    power: PowerModel = PowerModel()
    via: Text | None = None


class LabModel(Strict):
    """The whole file."""

    boards: dict[Name, BoardModel] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class LabBoard:
    """A board, and the lab host that it hangs on (None: this computer). place: where the file speaks of it."""

    board: Board
    via: str | None
    place: str


def find(named: str | None, beside: Path | None = None) -> Path:
    """The lab file; DescriptionError says where one was looked for."""
    if named is not None:
        return Path(named)
    if configured := os.environ.get("ROUTER_LAB"):
        return Path(configured)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    places = [*([beside / FILE_NAME] if beside is not None else []), home / "router" / FILE_NAME]
    for place in places:
        if place.is_file():
            return place
    raise DescriptionError(
        f"no lab file: looked for {listing(map(str, places))}",
        hint="docs/reference/lab-file.md has one to start from; --lab FILE names another",
    )


def load(path: Path) -> tuple[LabBoard, ...]:
    """All boards of a lab file, in its order. Raises DescriptionErrors with every error of the file."""
    text = read_text(path)
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
            check_board(board, place)
        except DescriptionError as error:
            found.append(source.diagnostic(("boards", name), error.message, error.hint, key=True))
        boards.append(LabBoard(board, entry.via, place))
    if found:
        raise DescriptionErrors(found)
    return tuple(boards)


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
        serial=entry.serial,
        baud=entry.baud,
        prompt=entry.prompt,
        stop_keys=entry.stop_keys,
        load=entry.load,
        network=Network(**entry.network.model_dump()) if entry.network is not None else None,
        tftp=Tftp(**entry.tftp.model_dump()),
        power=Power(**entry.power.model_dump()),
    )


FIELDS: dict[str, type[BaseModel]] = {"network": NetworkModel, "tftp": TftpModel, "power": PowerModel}


def _translate(source: SourceText, error: ValidationError) -> list[Diagnostic | None]:
    """Pydantic's findings in our words, each at its place."""
    out: list[Diagnostic | None] = []
    for detail in error.errors():
        path = tuple(step for step in detail["loc"] if step != "[key]")
        last, kind, value = str(path[-1]) if path else "", detail["type"], detail["input"]
        above = FIELDS.get(str(path[-2])) if len(path) > 3 else BoardModel if len(path) == 3 else LabModel
        known = list((above or BoardModel).model_fields)
        if kind == "missing":
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
                    path, f"'{last}' is no name for a board", "letters, digits, '.', '-' and '_'", key=True
                )
            )
        elif kind == "literal_error":
            choices = ["tftp", "ymodem", "xmodem"]
            out.append(source.diagnostic(path, f"'{value}' is no value of '{last}'", f"write {listing(choices)}"))
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
    "baud": "baud: 115200",
    "power": "power: {on: COMMAND, off: COMMAND, cycle: COMMAND}",
    "tftp": "tftp: {port: 69, window: 8}",
}
