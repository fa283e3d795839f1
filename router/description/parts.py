# SPDX-License-Identifier: BSD-2-Clause
"""What could be read of a description: all of it, or the parts without errors.

The checks across fields (`router.description.semantics`) look at this and not at the model, so that a slip in one
guest does not hide what is wrong with another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from router.description.catalogue import Catalogue, Role
from router.description.models import (
    Description,
    DiskPart,
    ExtendedImage,
    Guest,
    ImageFiles,
    Microkit,
    Network,
    Transport,
    UsbRule,
)
from router.description.values import Allow, InvalidValue, parse_allow

M = TypeVar("M", bound=BaseModel)

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """Something wrong across fields: where (a path of the YAML), what, and what to write instead."""

    path: Path
    message: str
    hint: str | None = None
    key: bool = False
    """Points at the field's name, not at its value."""
    remark: str = ""
    related: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Parts:
    """A description in pieces. A piece that could not be read is None or left out."""

    catalogue: Catalogue
    system: str | None
    board: str | None
    microkit: Microkit | None
    guests: Mapping[str, Guest | None]
    """Every guest that is named, None when something in it could not be read."""
    network: Network | None
    """Without its allow-list."""
    allow: Mapping[int, Allow] | None
    """The rules that could be read, by index; None when there is no list."""
    allow_complete: bool
    rules: Mapping[int, UsbRule]
    """The USB rules that could be read, by index."""
    disks: Mapping[int, DiskPart]
    """The disks that could be read, by index."""

    @property
    def routes(self) -> list[tuple[Path, UsbRule]]:
        """What goes from one guest to another, with its place: the USB rules, and the disks as rules for blocks."""
        rules: list[tuple[Path, UsbRule]] = [(("usb", index), rule) for index, rule in self.rules.items()]
        return rules + [(("disks", index), part.as_rule()) for index, part in self.disks.items()]

    def role(self, name: str) -> Role | None:
        """What a guest does for USB; None when that is not known."""
        guest = self.guests.get(name)
        if guest is None:
            return None
        match guest.image:
            case ImageFiles(role=role):
                return role
            case ExtendedImage(extends=base) | base:
                return self.catalogue.images.get(str(base))

    def with_role(self, role: Role) -> list[str]:
        """The guests of a role."""
        return [name for name in self.guests if self.role(name) == role]

    @property
    def sure(self) -> bool:
        """Whether every guest's role is known, so that what is missing can be told."""
        return all(self.role(name) is not None for name in self.guests)


def whole(description: Description, catalogue: Catalogue) -> Parts:
    """The parts of a description that could be read as a whole."""
    allow = description.network.allow
    return Parts(
        catalogue,
        description.system,
        description.board,
        description.microkit,
        description.guests,
        description.network,
        None if allow is None else dict(enumerate(allow)),
        True,
        dict(enumerate(description.usb)),
        dict(enumerate(description.disks)),
    )


def salvage(data: Any, catalogue: Catalogue) -> Parts:
    """The parts of a description that has errors."""
    top = data if isinstance(data, dict) else {}
    guests = top.get("guests")
    network = top.get("network", {})
    allow: dict[int, Allow] | None = None
    allow_complete = isinstance(network, dict)
    if isinstance(network, dict) and "allow" in network:
        lines = network["allow"] if isinstance(network["allow"], list) else []
        allow = {index: one for index, line in enumerate(lines) if (one := read_allow(line)) is not None}
        allow_complete = isinstance(network["allow"], list) and len(allow) == len(lines)
        network = {name: value for name, value in network.items() if name != "allow"}
    return Parts(
        catalogue,
        text(top.get("system")),
        text(top.get("board")),
        read(Microkit, top.get("microkit", {})),
        {name: read(Guest, guest) for name, guest in guests.items()} if isinstance(guests, dict) else {},
        read(Network, network),
        allow,
        allow_complete,
        read_list(UsbRule, top.get("usb")),
        read_list(DiskPart, top.get("disks")),
    )


def text(value: object) -> str | None:
    """The value when it is a text."""
    return value if isinstance(value, str) else None


def transport(parts: Parts) -> Transport:
    """What carries the conversations; the default where `network` could not be read."""
    return (parts.network or Network()).transport


def read(model: type[M], data: object) -> M | None:
    """The model's instance, or None when the data do not fit it; why is reported from the whole description."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def read_list(model: type[M], data: object) -> dict[int, M]:
    """The entries of a list that the model fits, by index."""
    found = ((index, read(model, entry)) for index, entry in enumerate(data if isinstance(data, list) else []))
    return {index: entry for index, entry in found if entry is not None}


def read_allow(line: object) -> Allow | None:
    """The rule, or None when the line is none: that is reported from the whole description."""
    try:
        return parse_allow(line)
    except InvalidValue:
        return None
