"""What the YAML parser could not read, in our words and with what to write instead."""

from __future__ import annotations

import re
from typing import Any

import yaml

from router.description.diagnostics import Diagnostic, Label, Span
from router.description.scalars import PRETENDERS
from router.description.text import Text

QUOTE = "put the text between double quotes"
INDENT = "begin it in the same column as the other fields or items"

WORDS: tuple[tuple[str, str, str], ...] = (
    (r"found character '\\t'", "a tab stands where YAML wants spaces", "indent with spaces"),
    (r"found character '(.)' that cannot start", "a plain text cannot begin with '{0}'", QUOTE),
    (r"mapping keys are not allowed", "a '?' stands where no field can begin", QUOTE),
    (
        r"sequence entries are not allowed",
        "a list item cannot begin here",
        "begin the list on a line of its own below the field's name",
    ),
    (
        r"could not find expected ':'",
        "this is neither a field nor a list item",
        "write `name: value`, with a space behind the ':'",
    ),
    (r"unexpected end of stream", "this text has no closing quote", "add the quote that ends it"),
    (r"unexpected document separator", "this text has no closing quote before '---'", "add the quote that ends it"),
    (
        r"unknown escape character '(.*)'",
        "'\\{0}' means nothing between double quotes",
        "use single quotes, or write \\\\ for a backslash",
    ),
    (
        r"expected escape sequence of (\d+)",
        "this escape needs {0} hexadecimal digits",
        "use single quotes to keep backslashes as they are",
    ),
    (r"expected alphabetic or numeric character", "'&' and '*' begin an anchor or an alias in YAML", QUOTE),
    (
        r"expected ',' or '([\]}])'",
        "a ',' or the closing '{0}' is missing",
        "close the bracket, or put a ',' between the items",
    ),
    (
        r"expected <block end>, but found '<block mapping start>'",
        "this line is indented differently from the ones above",
        INDENT,
    ),
    (
        r"expected <block end>, but found '<block sequence start>'",
        "this line is indented differently from the ones above",
        INDENT,
    ),
    (r"expected <block end>, but found '-'", "a list item stands where a field is expected", INDENT),
    (
        r"expected <block end>, but found '(.*)'",
        "'{0}' is not expected here",
        f"{INDENT}; if this is part of a text, {QUOTE}",
    ),
    (
        r"expected the node content, but found '(.*)'",
        "a value is expected here, not '{0}'",
        f"write the value; to mean the text, {QUOTE}",
    ),
    (
        r"expected '<document start>', but found '(.*)'",
        "'{0}' stands behind the end of the document",
        "a description is one mapping: `name: value` on each line",
    ),
    (
        r"chomping or indentation indicators",
        "'|' and '>' begin a text over several lines",
        f"begin the text on the next line; to mean the character, {QUOTE}",
    ),
    (r"undefined tag handle|while scanning a tag", "a '!' begins a tag in YAML", QUOTE),
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
        if pretender := find_pretender(text, mark.line):
            return pretender
        if "mapping values are not allowed" in problem:
            return stray_colon(text, mark.line + 1, mark.column + 1)
    for pattern, meaning, advice in WORDS:
        if match := re.search(pattern, words):
            message, hint = meaning.replace("{0}", match[1] if match.groups() else ""), advice
            break
    related = []
    if start is not None and re.search("closing|neither|begins a tag", message):
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
                return text.diagnostic(span, "this escape names no character", "use single quotes to keep backslashes")
    return text.diagnostic(span, "an escape names no character", "use single quotes to keep backslashes as they are")


def find_pretender(text: Text, last: int) -> Diagnostic | None:
    """A character that only looks like a space or a quote, at or a line above the place of an error (from 0)."""
    for number in range(max(0, last - 1), min(last + 1, len(text.lines))):
        for char, name in PRETENDERS.items():
            if (column := text.lines[number].find(char)) >= 0:
                return text.diagnostic(
                    text.at(number + 1, column + 1), f"this is {name}", "type the plain ASCII character instead"
                )
    return None


def stray_colon(text: Text, line: int, column: int) -> Diagnostic:
    """A ':' behind which no value can stand: in a text, below a field that has a value, or below a slip."""
    this = text.lines[line - 1] if line <= len(text.lines) else ""
    above = next((number for number in range(line - 1, 0, -1) if text.lines[number - 1].strip()), None)
    span = text.at(line, column)
    if re.search(r":\s", this[: column - 1]):
        return text.diagnostic(span, "a text that holds ': ' needs quotes", QUOTE)
    if above is not None and re.fullmatch(r"\s*(- )?[\w-]+:\S.*", text.lines[above - 1]):
        slip = text.lines[above - 1]
        better = slip.strip().replace(":", ": ", 1)
        span = text.at(above, slip.index(":") + 1)
        return text.diagnostic(span, "a ':' without a space behind it ends no field name", f"write '{better}'")
    span = text.at(line, len(this) - len(this.lstrip()) + 1)
    return text.diagnostic(span, "this field is indented deeper than the one above it, which has a value", INDENT)
