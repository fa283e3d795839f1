# SPDX-License-Identifier: BSD-2-Clause
"""What a deployment consists of: files, addresses, commands and what the console must then say. Pure data.

`router build` writes it as `deploy.json` into the build folder; `router deploy` reads it. Standard library only: the
runner on a lab host reads it as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from router import files, trusted
from router.control.facts import SystemFacts
from router.errors import DescriptionError
from router.lab.records import RecordError, from_json, to_json

FILE_NAME = "deploy.json"
FORMAT = 1
MAX_PLAN_BYTES = 4 << 20
"""A plan has some KiB."""
MAX_DEPTH = 16
"""Of objects and lists in each other; a plan's has 5."""
MAX_PATTERN = 1000
"""Characters of a regular expression."""
AGREED = f"{FILE_NAME}, agreed to"
"""What a plan that this user has not made is recorded with (router.trusted)."""
GUEST_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One file that is loaded into the board's memory before the start command.

    file: path relative to the build folder, with forward slashes. address: where it goes, in bytes. size in bytes,
    crc32 (zlib's, which is U-Boot's) and sha256 (hex) are those of the file.
    """

    file: str
    address: int
    size: int
    crc32: int
    sha256: str


ANY_PORT = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedMilestone:
    """A point of the boot that shows on the console: `pattern` is a regular expression searched in each line.

    port: the guest on whose console it counts, "" for the lines of no guest, ANY_PORT for all lines (with the port's
    name in front of a guest's). One that is not required (a device that may not be plugged in) is waited for a little,
    and missed with a warning. look: what to look at when it is not seen. keys: what is typed meanwhile, once a second
    and not before all that stand above it were seen. clock: the pattern's group has the seconds that the board has
    run, and it is seen once two such lines are as far apart as they say, by the clock here.
    """

    name: str
    pattern: str
    required: bool = True
    port: str = ANY_PORT
    look: str = ""
    keys: str = ""
    clock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployPlan:
    """Everything that the deployment of one system needs to know about the system and its kind of board.

    system, board: names, as in the description. baud: of the console. prompt: U-Boot's, literally. prepare: U-Boot
    commands between loading and starting. start: the command that does not return. milestones: the required
    ones must be seen for the deployment to succeed. failures: regular expressions that mean the boot has failed.
    identity: regular expression that must match the board's sign-on or its `board*` environment (None: not checked).
    facts: the system's guests, as they share the serial line (None: they do not; nothing is known of them).
    boot_seconds: from the start command to the last milestone. quiet_seconds: the longest silence allowed meanwhile.
    """

    system: str
    board: str
    payloads: tuple[Payload, ...]
    start: str
    baud: int = 115200
    prompt: str = "=> "
    prepare: tuple[str, ...] = ()
    milestones: tuple[AwaitedMilestone, ...] = ()
    failures: tuple[str, ...] = ()
    identity: str | None = None
    facts: SystemFacts | None = None
    boot_seconds: float = 120.0
    quiet_seconds: float = 30.0


def payload(folder: Path, file: str, address: int) -> Payload:
    """Describe one file of the build folder that is to be loaded at `address`."""
    with files.open_regular(folder / file) as stream:
        return _measured(stream, file, address)


def _ignore(_: bytes) -> None:
    """Who only wants to know."""


def _measured(
    stream: BinaryIO, file: str, address: int, take: Callable[[bytes], None] = _ignore, limit: int = 1 << 62
) -> Payload:
    """What is read once from an open file, `limit` bytes at most, each piece of which goes to `take` as well."""
    crc = size = 0
    digest = hashlib.sha256()
    while chunk := stream.read(min(1 << 20, limit - size)):
        crc = zlib.crc32(chunk, crc)
        digest.update(chunk)
        size += len(chunk)
        take(chunk)
    return Payload(file=file, address=address, size=size, crc32=crc, sha256=digest.hexdigest())


def write_plan(folder: Path, plan: DeployPlan) -> Path:
    """Write `deploy.json` into the build folder (aside, then renamed), as one of ours, and return its path."""
    _check(plan, FILE_NAME)
    path = folder / FILE_NAME
    content = json.dumps({"format": FORMAT} | to_json(plan), indent=2, ensure_ascii=False).encode() + b"\n"
    files.write(path, content)
    trusted.remember_content(content, FILE_NAME)
    return path


def trust_plan(content: bytes) -> None:
    """Record that this user agrees to a plan, and to the payloads whose hashes it has: what `look_at` has returned."""
    trusted.remember_content(content, AGREED)


def read_plan(folder: Path, *, ours: bool = False) -> DeployPlan:
    """Read the plan of a build folder and see that its files are the ones that it was made for.

    ours: only a plan that this user has made, or has agreed to.
    DescriptionError: no plan there, a plan that does not hold together, files that are missing or have changed, a plan
    that is not ours.
    """
    content, plan = look_at(folder)
    if ours and not any(trusted.is_our_content(content, how) for how in (FILE_NAME, AGREED)):
        name = shlex.quote(str(folder))
        raise DescriptionError(
            "this build folder was made by another user or on another computer, or long ago, and what it sends to a"
            " board is not trusted yet",
            hint=f"router deploy {name} --dry-run shows what that is; then: router trust {name}",
            where=str(folder / FILE_NAME),
        )
    return plan


def look_at(folder: Path) -> tuple[bytes, DeployPlan]:
    """The content of a build folder's plan, and the plan; whose it is does not matter. Errors as of `read_plan`."""
    path = folder / FILE_NAME
    try:
        content = files.read_regular(path, MAX_PLAN_BYTES)
        raw = json.loads(content)
    except FileNotFoundError:
        raise DescriptionError(
            f"no {FILE_NAME} in {folder}", hint="build the system first: router build FILE", where=str(folder)
        ) from None
    except OSError as error:
        raise DescriptionError(f"cannot read: {error.strerror}", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise DescriptionError(f"not JSON: {error}", hint="build the system again", where=str(path)) from None
    plan = parse_plan(raw, str(path))
    for item in plan.payloads:
        verify_file(folder, item)
    return content, plan


def parse_plan(raw: Any, where: str) -> DeployPlan:
    """The plan that decoded JSON stands for; DescriptionError names the field that is wrong."""
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        found = raw.get("format") if isinstance(raw, dict) else type(raw).__name__
        raise DescriptionError(
            f"plan format {found!r}, this program reads {FORMAT}", hint="build the system again", where=where
        )
    if _is_deep(raw):
        raise DescriptionError("nested too deep for a plan", hint="build the system again", where=where)
    try:
        plan = from_json(DeployPlan, {key: value for key, value in raw.items() if key != "format"})
    except RecordError as error:
        raise DescriptionError(str(error), hint="build the system again", where=where) from None
    _check(plan, where)
    return plan


def _is_deep(raw: Any) -> bool:
    """Whether decoded JSON is nested deeper than MAX_DEPTH: a recursive look at it would not end well."""
    level = [raw]
    for _ in range(MAX_DEPTH):
        above, level = level, []
        for each in above:
            level += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return bool(level)


def verify_file(folder: Path, item: Payload) -> None:
    """See that the file is there and is the one that the plan describes; DescriptionError otherwise."""
    take_payload(folder / item.file, item, _ignore)


def take_payload(path: Path, item: Payload, take: Callable[[bytes], None]) -> None:
    """Read a payload once, in pieces that go to `take`, and see that they are what the plan describes.

    DescriptionError otherwise, at the latest after the last piece: until then nothing may be done with them. It is what
    was taken that was judged, whatever becomes of the file.
    """
    try:
        with files.open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            found = None
            if size == item.size:
                found = _measured(stream, item.file, item.address, take, item.size + 1)
    except OSError as error:
        raise DescriptionError(
            f"cannot read: {error.strerror}", hint="build the system again", where=str(path)
        ) from None
    if found != item:
        raise DescriptionError(
            f"the file has changed since it was built ({size} bytes, {item.size} expected)",
            hint="build the system again",
            where=str(path),
        )


def _check(plan: DeployPlan, where: str) -> None:
    """What types alone do not say."""

    def wrong(message: str) -> DescriptionError:
        return DescriptionError(message, hint="build the system again", where=where)

    if not plan.payloads:
        raise wrong("the plan loads no file")
    taken: list[Payload] = []
    for item in plan.payloads:
        parts = item.file.split("/")
        if item.file.startswith("/") or ".." in parts or "" in parts:
            raise wrong(f"payload {item.file!r} leaves the build folder")
        if item.size <= 0 or item.address < 0:
            raise wrong(f"payload {item.file!r} has {item.size} bytes at {item.address:#x}")
        for other in taken:
            if item.address < other.address + other.size and other.address < item.address + item.size:
                raise wrong(
                    f"{item.file} [{item.address:#x}, {item.address + item.size:#x}) overlaps "
                    f"{other.file} [{other.address:#x}, {other.address + other.size:#x})"
                )
        taken.append(item)
    for text in (plan.start, *plan.prepare):
        if not text.strip() or "\n" in text or "\r" in text:
            raise wrong(f"{text!r} is not one U-Boot command")
    for pattern in (*plan.failures, *(m.pattern for m in plan.milestones), plan.identity or ""):
        compile_pattern(pattern, where)
    names = [m.name for m in plan.milestones]
    if len(set(names)) != len(names):
        raise wrong("two milestones have one name")
    check_guest_names(plan.facts, where)


def compile_pattern(pattern: str, where: str) -> re.Pattern[str]:
    """A regular expression that may come from anywhere; DescriptionError when it is none, or longer than MAX_PATTERN.

    It is searched in lines of bounded length, but one made for that still takes very long (`router trust` shows it).
    """
    if len(pattern) > MAX_PATTERN:
        why = f"it has {len(pattern)} characters, and {MAX_PATTERN} is the most"
    else:
        try:
            return re.compile(pattern)
        except (re.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
            why = str(error)
    raise DescriptionError(f"pattern {pattern[:80]!r}: {why}", hint="build the system again", where=where)


def check_guest_names(facts: SystemFacts | None, where: str) -> None:
    """DescriptionError when a guest's name could not be that of a file: logs are named after guests."""
    for name in facts.names if facts is not None else ():
        if not re.fullmatch(GUEST_NAME, name):
            raise DescriptionError(f"{name!r:.80} is not a guest's name", hint="build the system again", where=where)


def with_patterns(plan: DeployPlan, until: tuple[str, ...], failures: tuple[str, ...]) -> DeployPlan:
    """The plan with the user's own completion and error patterns added."""
    extra = tuple(AwaitedMilestone(name=f"'{pattern}'", pattern=pattern) for pattern in until)
    plan = dataclasses.replace(plan, milestones=(*plan.milestones, *extra), failures=(*plan.failures, *failures))
    _check(plan, "the command line")
    return plan
