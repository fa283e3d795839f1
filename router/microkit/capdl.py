# SPDX-License-Identifier: BSD-2-Clause
"""The capability specification of an image, as SDK 2.3.0's microkit tool writes it (`--capdl-json`), as frozen models.

The tool writes in JSON the same objects that it packs into the image for the initialiser: every kernel object, and
which object holds a capability to which other one in which slot. Enumerations are tagged by their name; an object
without fields is a text. Source: seL4/microkit 2.3.0, tool/microkit/src/capdl, and the crate
sel4-capdl-initializer-types.

Parsing is strict: a field or a type that is not known here is an error, because it could be a right that nobody judges.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from router.errors import HostError

CAP_FIELDS = {
    "Frame": {"object", "rights", "cached", "executable"},
    "Endpoint": {"object", "badge", "rights"},
    "Notification": {"object", "badge", "rights"},
    "CNode": {"object", "guard", "guard_size"},
}
"""Fields of a capability by its kind; all other kinds have the object only."""
OBJECT_FIELDS = {
    "Frame": {"size_bits", "paddr", "init"},
    "CNode": {"size_bits", "slots"},
    "PageTable": {"x86_ept", "is_root", "level", "slots"},
    "Tcb": {"slots", "extra"},
    "ArmIrq": {"slots", "extra"},
    "SchedContext": {"size_bits", "extra"},
}
"""Fields of the objects that have some and that a system of ours has; of other kinds the kind is all that is read."""
EXTRA_FIELDS = {
    "Tcb": {
        *("ipc_buffer_addr", "affinity", "prio", "max_prio", "resume", "fpu_disabled", "ip", "sp", "gprs"),
        *("master_fault_ep", "domain"),
    },
    "ArmIrq": {"trigger", "target"},
    "SchedContext": {"period", "budget", "badge"},
}
SPECIFICATION_FIELDS = {
    *("objects", "irqs", "asid_slots", "root_objects", "untyped_covers", "cached_orig_cap_slots", "log_level"),
    *("domain_schedule", "domain_set_start", "domain_idx_shift"),
}
RIGHTS = ("read", "write", "grant", "grant_reply")
NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Cap:
    """A capability: what kind, to which object, and what it allows."""

    kind: str
    object: int
    """Index of the object in the specification."""
    rights: tuple[str, ...] = ()
    """Of `RIGHTS`, for frames, endpoints and notifications."""
    badge: int = 0
    cached: bool = True
    executable: bool = False


@dataclass(frozen=True)
class KernelObject:
    """An object that the initialiser makes."""

    id: int
    name: str
    kind: str
    size_bits: int | None = None
    """Of a frame: log2 of its bytes."""
    paddr: int | None = None
    """Of a frame at a fixed physical address; None where the kernel gives free RAM."""
    level: int | None = None
    """Of a page table: 3 holds pages of 4 KiB."""
    slots: Mapping[int, Cap] = field(default_factory=dict)
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)
    """`EXTRA_FIELDS` of its kind: numbers, truth values, or None."""
    fills: frozenset[str] = frozenset()
    """Of a frame: the kinds of content that it has at boot."""

    def number(self, name: str) -> int:
        """A numeric field of `extra`; KeyError or TypeError when the parser let something else through."""
        found = self.extra[name]
        if not isinstance(found, int):
            raise TypeError(f"{self.name}: {name} is {found!r}")
        return found


@dataclass(frozen=True)
class Specification:
    """All objects of an image, and what the kernel is told beside them."""

    objects: tuple[KernelObject, ...]
    irqs: Mapping[int, int]
    """The object of each interrupt number."""
    others: Mapping[str, object]
    """Fields that are empty in every system without domains, untyped memory or address space identifiers to give."""


def malformed(what: str, where: str) -> HostError:
    """The error for JSON that this module does not know."""
    return HostError(
        f"the microkit tool's capability specification is not as SDK 2.3.0 writes it: {where}: {what}",
        hint="the isolation of this image cannot be judged by its capabilities with this SDK",
    )


def mapping(value: object, where: str, fields: set[str] | None = None) -> dict[str, object]:
    """A JSON object with exactly these fields."""
    if not isinstance(value, dict):
        raise malformed(f"an object is expected, not {type(value).__name__}", where)
    if fields is not None and set(value) != fields:
        odd = ", ".join(sorted(set(value) ^ fields))
        raise malformed(f"missing or unknown: {odd}", where)
    return value


def listed(value: object, where: str) -> list[object]:
    """A JSON list."""
    if not isinstance(value, list):
        raise malformed(f"a list is expected, not {type(value).__name__}", where)
    return value


def number(value: object, where: str) -> int:
    """A whole number from 0; JSON's true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise malformed(f"a number is expected, not {value!r}", where)
    return value


def truth(value: object, where: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise malformed(f"true or false is expected, not {value!r}", where)
    return value


def tagged(value: object, where: str) -> tuple[str, dict[str, object]]:
    """An enumeration's value: its kind and fields."""
    if isinstance(value, str):
        return value, {}
    found = mapping(value, where)
    if len(found) != 1:
        raise malformed("one kind is expected", where)
    kind, fields = next(iter(found.items()))
    return kind, mapping(fields, f"{where} {kind}")


def parse_cap(value: object, count: int, where: str) -> Cap:
    """One capability; `count`: how many objects there are."""
    kind, fields = tagged(value, where)
    mapping(fields, where, CAP_FIELDS.get(kind, {"object"}))
    target = number(fields["object"], where)
    if target >= count:
        raise malformed(f"there is no object {target}", where)
    rights: tuple[str, ...] = ()
    if "rights" in fields:
        given = mapping(fields["rights"], where, set(RIGHTS))
        rights = tuple(each for each in RIGHTS if truth(given[each], where))
    return Cap(
        kind=kind,
        object=target,
        rights=rights,
        badge=number(fields.get("badge", 0), where),
        cached=truth(fields.get("cached", True), where),
        executable=truth(fields.get("executable", False), where),
    )


def parse_slots(value: object, count: int, where: str) -> dict[int, Cap]:
    """A table of capabilities by slot."""
    found: dict[int, Cap] = {}
    for each in listed(value, where):
        entry = mapping(each, where, {"slot", "cap"})
        slot = number(entry["slot"], where)
        if slot in found:
            raise malformed(f"slot {slot} is there twice", where)
        found[slot] = parse_cap(entry["cap"], count, f"{where}, slot {slot}")
    return found


def parse_fills(value: object, where: str) -> frozenset[str]:
    """The kinds of content of a frame; the content itself is not looked at."""
    kinds = set()
    for each in listed(mapping(value, where, {"entries"})["entries"], where):
        content = mapping(each, where, {"range", "content"})["content"]
        kind, inner = tagged(content, where)
        kinds.add(tagged(inner, where)[0] if kind == "Data" else kind)
    return frozenset(kinds)


def parse_extra(kind: str, value: object, where: str) -> Mapping[str, object]:
    """The parameters of a thread, an interrupt or a scheduling context."""
    fields = mapping(value, where, EXTRA_FIELDS[kind])
    for name, each in fields.items():
        if name in ("resume", "fpu_disabled"):
            truth(each, f"{where}, {name}")
        elif name == "gprs":
            listed(each, f"{where}, {name}")
        elif not (each is None and name in ("master_fault_ep", "domain")):
            number(each, f"{where}, {name}")
    return MappingProxyType(fields)


def parse_object(index: int, value: object, count: int) -> KernelObject:
    """One object of the list."""
    entry = mapping(value, f"object {index}", {"name", "object"})
    name = entry["name"]
    if not isinstance(name, str):
        raise malformed("it has no name", f"object {index}")
    kind, fields = tagged(entry["object"], name)
    if kind not in OBJECT_FIELDS:
        slots = parse_slots(fields["slots"], count, name) if "slots" in fields else {}
        return KernelObject(index, name, kind, slots=slots)
    mapping(fields, name, OBJECT_FIELDS[kind])
    paddr, level = fields.get("paddr"), fields.get("level")
    return KernelObject(
        id=index,
        name=name,
        kind=kind,
        size_bits=number(fields["size_bits"], name) if "size_bits" in fields else None,
        paddr=None if paddr is None else number(paddr, name),
        level=None if level is None else number(level, name),
        slots=MappingProxyType(parse_slots(fields["slots"], count, name) if "slots" in fields else {}),
        extra=parse_extra(kind, fields["extra"], name) if "extra" in fields else NOTHING,
        fills=parse_fills(fields["init"], name) if "init" in fields else frozenset(),
    )


def parse_specification(text: str | bytes) -> Specification:
    """The specification from the tool's JSON; HostError for anything that SDK 2.3.0 does not write."""
    try:
        top = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise malformed(str(error), "the file") from error
    fields = mapping(top, "the file", SPECIFICATION_FIELDS)
    entries = listed(fields["objects"], "objects")
    roots = mapping(fields["root_objects"], "root_objects", {"start", "end"})
    if (roots["start"], roots["end"]) != (0, len(entries)):
        raise malformed(f"{len(entries)} objects, and {roots} of them at the root", "root_objects")
    objects = tuple(parse_object(index, each, len(entries)) for index, each in enumerate(entries))
    names = {each.name for each in objects}
    if len(names) != len(objects):
        raise malformed("two objects have one name", "objects")
    for one in objects:
        for slot, cap in one.slots.items():
            # The capability of an interrupt is called its handler.
            if objects[cap.object].kind != cap.kind.removesuffix("Handler"):
                raise malformed(f"a {cap.kind} that is a {objects[cap.object].kind}", f"{one.name}, slot {slot}")
    irqs: dict[int, int] = {}
    for each in listed(fields["irqs"], "irqs"):
        entry = mapping(each, "irqs", {"irq", "handler"})
        irq, handler = number(entry["irq"], "irqs"), number(entry["handler"], "irqs")
        if irq in irqs or handler >= len(objects):
            raise malformed(f"interrupt {irq} is there twice, or without its object", "irqs")
        irqs[irq] = handler
    known = {"objects", "irqs", "root_objects", "cached_orig_cap_slots", "log_level"}
    others = {name: each for name, each in fields.items() if name not in known and each not in (None, [])}
    return Specification(objects, MappingProxyType(irqs), MappingProxyType(others))
