# SPDX-License-Identifier: BSD-2-Clause
"""What the models say about the field at a path of the YAML: its mapping's fields, its bounds, its choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from router.description.models import (
    Description,
    DiskMatch,
    DiskPart,
    ExtendedImage,
    Guest,
    ImageFiles,
    Microkit,
    Network,
    Queue,
    Root,
    UsbController,
    UsbRule,
)

Path = Sequence[str | int]

OTHER_WORDS = {
    "affinity": "cpu",
    "args": "bootargs",
    "busid": "path",
    "bus-id": "path",
    "client": "to",
    "cmdline": "bootargs",
    "core": "cpu",
    "cores": "vcpus",
    "cpus": "vcpus",
    "configuration": "config",
    "devices": "passthrough",
    "domains": "guests",
    "dtb": "device_tree",
    "guest": "to",
    "id": "device",
    "initrd": "initramfs",
    "ip": "address",
    "ipv4": "address",
    "mem": "memory",
    "name": "system",
    "pass-through": "passthrough",
    "prio": "priority",
    "ram": "memory",
    "rules": "allow",
    "server": "from",
    "size": "memory",
    "smp": "vcpus",
    "vendor": "device",
    "version": "sdk",
    "vid": "device",
    "vidpid": "device",
    "virtual_machines": "guests",
    "vms": "guests",
    "vswitch": "network",
}
"""Words that people use elsewhere for what a field of ours is called."""

PLACES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("the top level", Description),
    ("'microkit'", Microkit),
    ("a guest", Guest),
    ("the 'image' of a guest", ImageFiles),
    ("the 'image' of a guest", ExtendedImage),
    ("the 'usb' of a guest", UsbController),
    ("the 'root' of a guest", Root),
    ("'network'", Network),
    ("'queue' of 'network'", Queue),
    ("a rule of 'usb'", UsbRule),
    ("an entry of 'disks'", DiskPart),
    ("the 'on' of a disk", DiskMatch),
)
"""Every mapping of a description and what a person would call it."""


def names(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by the names that the YAML uses."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def shapes(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, without None, each with its metadata still around it."""
    origin = get_origin(annotation)
    if origin is Annotated and get_origin(get_args(annotation)[0]) not in (Union, UnionType):
        yield annotation
    elif origin in (Annotated, Union, UnionType):
        for part in get_args(annotation)[: 1 if origin is Annotated else None]:
            yield from shapes(part)
    elif annotation is not type(None):
        yield annotation


def bare(annotation: Any) -> Any:
    """An annotation without its metadata."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def allowed(path: Path) -> list[Any]:
    """What the models allow at a path; nothing when they do not go there."""
    found: list[Any] = [Description]
    for step in path:
        inner: list[Any] = []
        for annotation in found:
            kind = bare(annotation)
            if isinstance(step, int) and get_origin(kind) is tuple:
                inner += shapes(get_args(kind)[0])
            elif get_origin(kind) is dict:
                inner += shapes(get_args(kind)[1])
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                field = names(kind).get(str(step))
                if field is not None:
                    wrapped: Any = field.annotation
                    inner += shapes(Annotated[wrapped, *field.metadata] if field.metadata else wrapped)
        found = inner
    return found


def known(path: Path) -> list[str]:
    """The fields of the mapping at a path, of all forms that it can have."""
    kinds = [bare(annotation) for annotation in allowed(path)]
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return list(dict.fromkeys(name for model in models for name in names(model)))


def bounds(path: Path) -> tuple[Any, Any]:
    """The minimum and maximum of the field at a path; None where there is no bound."""
    low = high = None
    for annotation in allowed(path):
        metadata = list(getattr(annotation, "__metadata__", ()))
        for entry in metadata:
            inner = entry.metadata if isinstance(entry, FieldInfo) else [entry]
            low = next((one.ge for one in inner if isinstance(one, Ge)), low)
            high = next((one.le for one in inner if isinstance(one, Le)), high)
    return low, high


def choices(path: Path) -> list[str]:
    """The values of a field that takes one of a few."""
    found: list[str] = []
    for annotation in allowed(path):
        kind = bare(annotation)
        if get_origin(kind) is Literal:
            found += map(str, get_args(kind))
        elif isinstance(kind, type) and issubclass(kind, Enum):
            found += [str(member.value) for member in kind]
    return found


def home(name: str) -> str | None:
    """Where a field of that name belongs, when exactly one kind of mapping has it."""
    owners = [place for place, model in PLACES if name in names(model)]
    return owners[0] if len(owners) == 1 else None
