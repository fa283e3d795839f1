# SPDX-License-Identifier: BSD-2-Clause
"""YAML as a tree in which every key and value keeps its place in the file.

The parser is PyYAML's (the C one where it is built in); what a scalar means is decided in `router.description.scalars`.
Beyond YAML's own rules: one document, no tags, no merge keys, no nulls, no key twice, and bounds on depth and on
what aliases unfold to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from router.description import scalars
from router.description.diagnostics import Diagnostic, Label, Span
from router.description.syntax import SURROGATE, explain
from router.description.text import Text

MAX_DEPTH = 16
"""Levels of nesting; a description uses five."""
MAX_NODES = 20_000
"""Nodes of the tree with all aliases unfolded; thirty guests with their rules take about a thousand."""

UNREADABLE = (yaml.YAMLError, ValueError, OverflowError)
"""What the parsers raise; the one in Python lets the last two through for escapes that name no character."""

FAST: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Path = Sequence[str | int]
"""Keys and list indices from the top, as the YAML names them: ("guests", "server", "passthrough", 0)."""

RENAMED = {"class_": "class", "source": "from"}
"""Fields whose name in the models differs from the YAML's, because the YAML's is a Python keyword."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `bad` marks one that has been reported already and is not worth a second error."""

    span: Span
    text: str
    value: scalars.Value
    plain: bool
    bad: bool = False
    size: int = 1


@dataclass(frozen=True, slots=True)
class Items:
    """A list. `size` counts the nodes of the tree below, with aliases unfolded."""

    span: Span
    flow: bool
    items: tuple[Node, ...]
    size: int
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """Fields in the order of the file; a key given twice is kept once."""

    span: Span
    flow: bool
    entries: tuple[tuple[Scalar, Node], ...]
    size: int
    bad: bool = False

    def get(self, key: str) -> tuple[Scalar, Node] | None:
        """The key and the value of a field."""
        return next((entry for entry in self.entries if entry[0].text == key), None)


Node = Scalar | Items | Mapping


@dataclass(frozen=True, slots=True)
class SourceText:
    """A parsed file: finds the place that a path of the model came from."""

    text: Text
    root: Node
    parts: tuple[tuple[tuple[str | int, ...], SourceText], ...] = ()
    """What stands in files of their own: by the path of the value that names the file."""

    @property
    def name(self) -> str:
        """The file, as the user gave it."""
        return self.text.name

    def with_parts(self, parts: dict[tuple[str | int, ...], SourceText]) -> SourceText:
        """The same text, with values that are in files of their own."""
        return replace(self, parts=tuple(parts.items()))

    def _part(self, path: Path) -> tuple[SourceText, Path] | None:
        """The file that a path leads into, and the path in it."""
        for prefix, part in self.parts:
            if len(path) > len(prefix) and tuple(path[: len(prefix)]) == prefix:
                return part, path[len(prefix) :]
        return None

    def where(self, path: Path, key: bool = False) -> Span:
        """The span of the value at a path, or with `key` of the field's name.

        A value over several lines is pointed at by its key. A path that goes deeper than the file does (a default)
        gives the nearest place above it.
        """
        node, owner = self.root, None
        for step in path:
            found = self._step(node, step)
            if found is None:
                break
            owner, node = found
        else:
            if key and owner is not None:
                return owner.span
        return spot(node, owner)

    def place(self, path: Path) -> str:
        """`file:line:column` of the value at a path."""
        if part := self._part(path):
            return part[0].place(part[1])
        span = self.where(path)
        return f"{self.name}:{span.line}:{span.column}"

    def node(self, path: Path) -> Node | None:
        """The node at a path, or None when the file does not go there."""
        if part := self._part(path):
            return part[0].node(part[1])
        node = self.root
        for step in path:
            found = self._step(node, step)
            if found is None:
                return None
            node = found[1]
        return node

    def diagnostic(
        self,
        path: Path,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        remark: str = "",
        related: Iterable[tuple[Path, str]] = (),
    ) -> Diagnostic:
        """An error at a path of the model; `related` are other paths with a remark each."""
        if part := self._part(path):
            return part[0].diagnostic(part[1], message, hint, key=key, remark=remark)
        labels = [Label(self.where(other), note) for other, note in related]
        return self.text.diagnostic(self.where(path, key), message, hint, remark, labels)

    @staticmethod
    def _step(node: Node, step: str | int) -> tuple[Scalar | None, Node] | None:
        if isinstance(node, Mapping):
            name = str(step)
            return node.get(name) or node.get(RENAMED.get(name, name))
        if isinstance(node, Items) and isinstance(step, int) and 0 <= step < len(node.items):
            return None, node.items[step]
        return None


def spot(node: Node, owner: Scalar | None) -> Span:
    """Where to point at a value: itself when it is on one line, else its key or what it starts with."""
    if isinstance(node, Scalar):
        return owner.span if owner is not None and node.plain and node.text == "" else node.span
    if node.flow and node.span.line == node.span.end_line:
        return node.span
    if owner is not None:
        return owner.span
    if isinstance(node, Mapping) and node.entries:
        return node.entries[0][0].span
    if isinstance(node, Items) and node.items:
        return spot(node.items[0], None)
    return node.span


@dataclass(frozen=True, slots=True)
class Parsed:
    """What came of a text: the tree unless the text is no YAML at all, and every problem met on the way."""

    source: SourceText | None
    problems: tuple[Diagnostic, ...]


def parse(text: Text) -> Parsed:
    """The positioned tree of a text."""
    try:
        return Builder(text, FAST).document()
    except UNREADABLE as fast:
        # The two parsers word their errors differently; the one in Python is always there and says more.
        reason = fast
        try:
            Builder(text, yaml.SafeLoader).document()
        except UNREADABLE as slow:
            reason = slow
        return Parsed(None, (explain(text, reason),))


class Stop(Exception):
    """The tree cannot be finished; the reason is among the problems."""


class Builder:
    """Makes the tree of one document from the parser's events."""

    def __init__(self, text: Text, loader: Any) -> None:
        self.text = text
        self.events: Iterator[Any] = yaml.parse(text.content, Loader=loader)
        self.anchors: dict[str, Node] = {}
        self.problems: list[Diagnostic] = []

    def document(self) -> Parsed:
        root: Node | None = None
        try:
            for event in self.events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if root is not None:
                        raise self.stop(
                            self.mark(event.start_mark),
                            "a second document begins here",
                            "one file describes one system: remove the line '---' and what follows",
                        )
                    if event.version and event.version != (1, 2):
                        version = ".".join(map(str, event.version))
                        self.problem(
                            self.mark(event.start_mark),
                            f"the file declares YAML {version}, but only YAML 1.2 is supported",
                            f"remove the line '%YAML {version}'",
                        )
                    root = self.node(next(self.events), 0)
        except Stop:
            root = None
        if root is None:
            if not self.problems:
                self.problem(
                    Span(1, 1, 1, 2),
                    "the file is empty",
                    "write `system`, `board` and `guests`, or copy a shipped description",
                )
            return Parsed(None, tuple(self.problems))
        return Parsed(SourceText(self.text, root), tuple(self.problems))

    def node(self, event: Any, depth: int, *, key: bool = False) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event)
        if depth > MAX_DEPTH:
            raise self.stop(
                self.mark(event.start_mark),
                f"this is nested more than {MAX_DEPTH} levels deep",
                "check for an extra bracket",
            )
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self.scalar(event, key=key)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.sequence(event, depth)
        else:
            node = self.mapping(event, depth)
        if event.tag is not None:
            self.problem(
                self.mark(event.start_mark),
                f"tags such as '{event.tag.replace('tag:yaml.org,2002:', '!!')}' are not supported",
                "remove the tag; to mean a string, quote it",
            )
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def scalar(self, event: Any, *, key: bool) -> Scalar:
        span = self.span(event)
        if SURROGATE.search(event.value):
            raise ValueError("an escape is not a valid character")
        plain = event.style not in ("'", '"', "|", ">")
        text: str = event.value
        if plain and event.anchor is not None and text == "":
            label = f"&{event.anchor}"
            self.problem(span, f"YAML reads '{label}' as an anchor", f'to mean the label, quote it: "{label}"')
            return Scalar(span, label, label, plain, bad=True)
        if not plain or event.tag is not None:
            return Scalar(span, text, text, plain, bad=event.tag is not None)
        if not (key and text in scalars.KEYS) and (bad := scalars.trouble(text)):
            self.problem(span, *bad)
            return Scalar(span, text, text, plain, bad=True)
        return Scalar(span, text, scalars.resolve(text), plain)

    def sequence(self, start: Any, depth: int) -> Items:
        items: list[Node] = []
        size = 1
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            item = self.node(event, depth + 1)
            if isinstance(item, Scalar) and item.value is None:
                self.problem(item.span, "empty list item", "write a value, or remove the item")
                item = Scalar(item.span, item.text, None, item.plain, bad=True)
            items.append(item)
            size = self.grown(size + item.size, item.span)
        return Items(self.span(start, event), bool(start.flow_style), tuple(items), size)

    def mapping(self, start: Any, depth: int) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        size, bad = 1, False
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, depth + 1, key=True)
            value = self.node(next(self.events), depth + 1)
            size = self.grown(size + key.size + value.size, key.span)
            if not isinstance(key, Scalar):
                bad = True
                self.problem(spot(key, None), "a field name cannot be a list or a mapping", "write a plain name")
            elif key.plain and key.text == "<<":
                bad = True
                self.problem(
                    key.span,
                    "merge keys (<<) are not supported",
                    "write the fields out; an alias can only replace a whole value",
                )
            elif key.text in entries:
                self.problem(
                    key.span,
                    f"duplicate key '{key.text}'",
                    "remove one of them",
                    remark="second",
                    related=[Label(entries[key.text][0].span, "first")],
                )
            else:
                entries[key.text] = (key, self.given(key, value))
        return Mapping(self.span(start, event), bool(start.flow_style), tuple(entries.values()), size, bad)

    def given(self, key: Scalar, value: Node) -> Node:
        """The value of a field, reported when there is none, and its key when that is not a string."""
        if key.plain and not key.bad and (key.value is None or isinstance(key.value, bool)):
            self.problem(
                key.span, f"YAML does not read '{key.text}' as a string", f'to mean a name, quote it: "{key.text}"'
            )
        if isinstance(value, Scalar) and value.value is None:
            self.problem(
                spot(value, key),
                f"'{key.text}' has no value",
                "write a value, or remove the field; an empty list is []",
            )
            return Scalar(value.span, value.text, None, value.plain, bad=True)
        return value

    def alias(self, event: Any) -> Node:
        name = event.anchor
        if name in self.anchors:
            return self.anchors[name]
        span = self.span(event)
        self.problem(
            span,
            f"undefined anchor '*{name}'",
            f'define &{name} above; to mean the string, quote it: "*{name}"',
        )
        return Scalar(span, f"*{name}", f"*{name}", plain=True, bad=True)

    def grown(self, size: int, span: Span) -> int:
        if size > MAX_NODES:
            raise self.stop(
                span, f"the file has more than {MAX_NODES} values once its aliases are expanded", "write the values out"
            )
        return size

    def problem(
        self, span: Span, message: str, hint: str | None = None, remark: str = "", related: Sequence[Label] = ()
    ) -> None:
        self.problems.append(self.text.diagnostic(span, message, hint, remark, related))

    def stop(self, span: Span, message: str, hint: str | None = None) -> Stop:
        self.problem(span, message, hint)
        return Stop()

    def mark(self, mark: Any) -> Span:
        return self.text.at(mark.line + 1, mark.column + 1)

    @staticmethod
    def span(start: Any, end: Any = None) -> Span:
        first, last = start.start_mark, (end or start).end_mark
        return Span(first.line + 1, first.column + 1, last.line + 1, last.column + 1)


def plain(node: Node, path: tuple[str | int, ...] = (), bad: set[tuple[str | int, ...]] | None = None) -> Any:
    """The tree as dictionaries, lists and scalars; paths of nodes that were reported already are added to `bad`."""
    if bad is not None and node.bad:
        bad.add(path)
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(item, (*path, index), bad) for index, item in enumerate(node.items)]
    return {key.text: plain(value, (*path, key.text), bad) for key, value in node.entries}
