# SPDX-License-Identifier: BSD-2-Clause
"""One finding about a text that a person wrote: where, what, and what to write instead.

maaxboard.yaml:11:19: error: no node 'usb@38100001' in the board's device tree
  11 |     passthrough: [usb@38100001, usb@38200000]
     |                   ^^^^^^^^^^^^
  did you mean 'usb@38100000'?
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from router.display import safe
from router.errors import DescriptionError

EXCERPT = 160
"""Characters of a source line that are shown; longer lines are cut around the span."""
MAX_SENTENCE = 1000
"""Characters of a message: it may quote a value of any length."""


@dataclass(frozen=True, order=True, slots=True)
class Span:
    """A stretch of the text: lines and columns from 1, in characters; the end column is the first one behind it."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Label:
    """A span with a remark that is printed behind its carets."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One error. `file` is the name that the user gave; `lines` are all lines of the file, without their ends."""

    file: str
    lines: tuple[str, ...]
    span: Span
    message: str
    hint: str | None = None
    remark: str = ""
    """Printed behind the carets."""
    related: tuple[Label, ...] = ()
    """Other places that matter, such as the first of two duplicates."""

    @property
    def where(self) -> str:
        """`file:line:column`, which editors and terminals turn into a link."""
        return f"{self.file}:{self.span.line}:{self.span.column}"

    def __str__(self) -> str:
        labels = sorted([*self.related, Label(self.span, self.remark)], key=lambda label: label.span)
        shown = [label for label in labels if label.span.line <= len(self.lines)]
        width = max((len(str(label.span.line)) for label in shown), default=1)
        text = [f"{self.where}: error: {sentence(self.message)}"]
        printed = 0
        for label in shown:
            source, carets = excerpt(self.lines[label.span.line - 1], label.span)
            if label.span.line != printed:
                text.append(f"  {label.span.line:>{width}} | {source}".rstrip())
            printed = label.span.line
            text.append(f"  {'':>{width}} | {carets} {label.text}".rstrip())
        text += [f"  {sentence(line)}" for line in (self.hint or "").split("\n") if line]
        return "\n".join(text)

    def as_dict(self) -> dict[str, object]:
        """For `--json`: the same facts as plain values."""
        span = self.span
        return {
            "file": self.file,
            "line": span.line,
            "column": span.column,
            "endLine": span.end_line,
            "endColumn": span.end_column,
            "message": self.message,
            "hint": self.hint,
        }


class DescriptionErrors(DescriptionError):
    """All errors of a file and of those that it names, sorted by position.

    `str()` is the whole text; `diagnostics` are the single findings.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        found = sorted(set(diagnostics), key=lambda one: (one.file, one.span, one.message))
        if not found:
            raise ValueError("there is no error to report")
        self.diagnostics: tuple[Diagnostic, ...] = tuple(found)
        count = f"{len(found)} error{'s' if len(found) > 1 else ''}"
        names = ", ".join(dict.fromkeys(one.file for one in found))
        super().__init__(f"{count} in {names}", where=found[0].where)

    def __str__(self) -> str:
        return "\n\n".join([*map(str, self.diagnostics), self.message])


def excerpt(line: str, span: Span) -> tuple[str, str]:
    """The part of a source line worth showing, safe for a terminal, and the carets that go under the span.

    A tab stays a tab above and below; a wide character (East Asian) gets two carets, a combining one none.
    """
    first = min(span.column - 1, len(line))
    last = max(first, min(span.end_column - 1 if span.end_line == span.line else len(line), len(line)))
    start = 0
    if len(line) > EXCERPT:
        start = max(0, min(first - EXCERPT // 4, len(line) - EXCERPT))
        end = start + EXCERPT
        line = ("…" if start else "") + line[start:end] + ("…" if end < len(line) else "")
        shift = start - (1 if start else 0)
        first, last = first - shift, min(last - shift, len(line))
    line = printable(line)
    pad = "".join(char if char == "\t" else " " * cells(char) for char in line[:first])
    return line, pad + "^" * max(1, sum(map(cells, line[first:last])))


def sentence(text: str) -> str:
    """A message or a hint, which may quote the file: as text, and not without end."""
    return safe(text if len(text) <= MAX_SENTENCE else f"{text[:MAX_SENTENCE]}…")


def printable(line: str) -> str:
    """A line of the file for an excerpt: what `router.display` escapes is one character, since the carets count it."""
    return "".join(char if char == "\t" or char.isprintable() else "�" for char in line)


def cells(char: str) -> int:
    """Terminal columns that a character takes (Unicode Standard Annex 11)."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
