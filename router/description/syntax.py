# SPDX-License-Identifier: BSD-2-Clause
"""What the YAML parser could not read, in our words and with what to write instead."""

from __future__ import annotations

import re
from typing import Any

import yaml

from router.description.diagnostics import Diagnostic, Label, Span
from router.description.scalars import LOOKALIKES
from router.description.text import Text

QUOTE = "put the string in double quotes"
INDENT = "align it with the other fields or items"

WORDS: tuple[tuple[str, str, str], ...] = (
    (r"found character '\\t'", "a tab is used for indentation", "use spaces"),
    (r"found character '(.)' that cannot start", "an unquoted string cannot start with '{0}'", QUOTE),
    (r"mapping keys are not allowed", "unexpected '?'", QUOTE),
    (
        r"sequence entries are not allowed",
        "a list item cannot start here",
        "start the list on a new line below the field's name",
    ),
    (
        r"could not find expected ':'",
        "this is neither a field nor a list item",
        "write `name: value`, with a space after the ':'",
    ),
    (r"unexpected end of stream", "missing closing quote", "add the closing quote"),
    (r"unexpected document separator", "missing closing quote before '---'", "add the closing quote"),
    (
        r"unknown escape character '(.*)'",
        "unknown escape '\\{0}' in a double-quoted string",
        "use single quotes, or write \\\\ for a backslash",
    ),
    (
        r"expected escape sequence of (\d+)",
        "this escape needs {0} hexadecimal digits",
        "use single quotes to keep backslashes as they are",
    ),
    (r"expected alphabetic or numeric character", "'&' and '*' start an anchor or an alias in YAML", QUOTE),
    (
        r"expected ',' or '([\]}])'",
        "missing ',' or '{0}'",
        "close the bracket, or put a ',' between the items",
    ),
    (
        r"expected <block end>, but found '<block mapping start>'",
        "this line is indented differently from the lines above",
        INDENT,
    ),
    (
        r"expected <block end>, but found '<block sequence start>'",
        "this line is indented differently from the lines above",
        INDENT,
    ),
    (r"expected <block end>, but found '-'", "a list item where a field is expected", INDENT),
    (
        r"expected <block end>, but found '(.*)'",
        "unexpected '{0}'",
        f"{INDENT}; if it is part of a string, {QUOTE}",
    ),
    (
        r"expected the node content, but found '(.*)'",
        "a value is expected here, not '{0}'",
        f"write the value; to mean the string, {QUOTE}",
    ),
    (
        r"expected '<document start>', but found '(.*)'",
        "unexpected '{0}' after the end of the document",
        "a description is one mapping: `name: value` on each line",
    ),
    (
        r"chomping or indentation indicators",
        "'|' and '>' start a multi-line string",
        f"start the string on the next line; to mean the character, {QUOTE}",
    ),
    (r"undefined tag handle|while scanning a tag", "'!' starts a tag in YAML", QUOTE),
)
"""The parser's words, what they mean, and what to do; the parser's are those of PyYAML's scanner.py and parser.py."""


ESCAPE = re.compile(r"\\(?:U([0-9a-fA-F]{8})|u([0-9a-fA-F]{4}))")
SURROGATE = re.compile("[\ud800-\udfff]")


def explain(text: Text, error: Exception) -> Diagnostic:
    """The error of a text that is no YAML."""
    if not isinstance(error, yaml.YAMLError):
        return no_character(text)
    mark: Any = getattr(error, "problem_mark", None)
    start: Any = getattr(error, "context_mark", None)
    problem = f"{getattr(error, 'problem', None) or error}"
    context = f"{getattr(error, 'context', None) or ''}"
    span = text.at(mark.line + 1, mark.column + 1) if mark is not None else text.at(1, 1)
    words = f"{problem} {context}"
    message, hint = f"this is not YAML: {problem}", QUOTE
    if mark is not None:
        if lookalike := find_lookalike(text, mark.line):
            return lookalike
        if "mapping values are not allowed" in problem:
            return stray_colon(text, mark.line + 1, mark.column + 1)
    for pattern, meaning, advice in WORDS:
        if match := re.search(pattern, words):
            message, hint = meaning.replace("{0}", match[1] if match.groups() else ""), advice
            break
    related = []
    if start is not None and re.search("closing|missing|neither|starts a tag", message):
        opening = text.at(start.line + 1, start.column + 1)
        if "bracket" not in hint:
            return text.diagnostic(opening, message, hint)
        related.append(Label(opening, "opened here"))
    return text.diagnostic(span, message, hint, related=related)


def no_character(text: Text) -> Diagnostic:
    """An escape between double quotes that is no Unicode scalar value (The Unicode Standard, definition D76)."""
    span = text.at(1, 1)
    for number, line in enumerate(text.lines, 1):
        for match in ESCAPE.finditer(line):
            code = int(match[1] or match[2], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                span = Span(number, match.start() + 1, number, match.end() + 1)
                return text.diagnostic(
                    span, "this escape is not a valid character", "use single quotes to keep backslashes"
                )
    return text.diagnostic(
        span, "an escape is not a valid character", "use single quotes to keep backslashes as they are"
    )


def find_lookalike(text: Text, last: int) -> Diagnostic | None:
    """A character that only looks like a space or a quote, at or a line above the place of an error (from 0)."""
    for number in range(max(0, last - 1), min(last + 1, len(text.lines))):
        for char, name in LOOKALIKES.items():
            if (column := text.lines[number].find(char)) >= 0:
                return text.diagnostic(
                    text.at(number + 1, column + 1), f"this is {name}", "use the plain ASCII character"
                )
    return None


def stray_colon(text: Text, line: int, column: int) -> Diagnostic:
    """A ':' behind which no value can stand: in a text, below a field that has a value, or below a slip."""
    this = text.lines[line - 1] if line <= len(text.lines) else ""
    above = next((number for number in range(line - 1, 0, -1) if text.lines[number - 1].strip()), None)
    span = text.at(line, column)
    if re.search(r":\s", this[: column - 1]):
        return text.diagnostic(span, "a string that contains ': ' must be quoted", QUOTE)
    if above is not None and re.fullmatch(r"\s*(- )?[\w-]+:\S.*", text.lines[above - 1]):
        slip = text.lines[above - 1]
        better = slip.strip().replace(":", ": ", 1)
        span = text.at(above, slip.index(":") + 1)
        return text.diagnostic(span, "missing space after ':'", f"write '{better}'")
    span = text.at(line, len(this) - len(this.lstrip()) + 1)
    return text.diagnostic(span, "this field is indented below a field that already has a value", INDENT)
