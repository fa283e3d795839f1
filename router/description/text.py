# SPDX-License-Identifier: BSD-2-Clause
"""A file's text, read carefully: every way in which it can fail to be one gets its own error."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.description.diagnostics import DescriptionErrors, Diagnostic, Label, Span
from router.errors import DescriptionError
from router.words import did_you_mean

MAX_BYTES = 256 << 10
"""Size of the largest file that is read: some thousand times that of an ordinary description."""

LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""The line breaks that YAML 1.1 and 1.2 parsers count, so that our lines are the parser's."""

UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that cannot stand in a YAML stream (YAML 1.2.2, production 1, c-printable)."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file as characters. `name` is what the user calls it; `lines` are without their ends."""

    name: str
    content: str
    lines: tuple[str, ...]

    def diagnostic(
        self, span: Span, message: str, hint: str | None = None, remark: str = "", related: Sequence[Label] = ()
    ) -> Diagnostic:
        """An error at a stretch of this text."""
        return Diagnostic(self.name, self.lines, span, message, hint, remark, tuple(related))

    def at(self, line: int, column: int) -> Span:
        """The one character at a line and column, both from 1; moved back into the text when it lies behind its end."""
        line = min(line, max(1, len(self.lines)))
        length = len(self.lines[line - 1]) if self.lines else 0
        column = min(column, length + 1)
        return Span(line, column, line, column + 1)


def make_text(name: str, content: str) -> Text:
    """The text with its lines."""
    lines = LINE_END.split(content)
    if lines[-1] == "":
        lines.pop()
    return Text(name, content, tuple(lines))


def read_text(path: Path) -> Text:
    """The text of a UTF-8 file of at most MAX_BYTES.

    Raises DescriptionError when it cannot be opened, is not a regular file, is too large or is not UTF-8.
    """
    name = str(path)
    try:
        if path.is_dir():
            raise DescriptionError(f"'{name}' is a folder", "give the name of a YAML file in it")
        raw = files.read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        raise DescriptionError(f"there is no file '{name}'", neighbour(path)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise DescriptionError(
                f"'{name}' is larger than {MAX_BYTES >> 10} KiB",
                "a description is a page or two: is this the right file?",
            ) from None
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "it cannot be read"
        raise DescriptionError(f"cannot read '{name}': {reason}", "check the path and its permissions") from None
    text = make_text(name, decode(name, raw))
    if bad := UNPRINTABLE.search(text.content):
        before = LINE_END.split(text.content[: bad.start()])
        code = ord(bad[0])
        raise DescriptionErrors(
            [
                text.diagnostic(
                    text.at(len(before), len(before[-1]) + 1),
                    f"character U+{code:04X} is not allowed in a YAML file",
                    f'remove it, or write "\\u{code:04x}" in a double-quoted string',
                )
            ]
        )
    return text


def decode(name: str, raw: bytes) -> str:
    """The characters of UTF-8 bytes, without a byte order mark."""
    hint = "save the file as UTF-8"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DescriptionError("the file is UTF-16 text", hint, where=name)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = LINE_END.split(raw[: error.start].decode("utf-8-sig"))
        raise DescriptionError(
            f"byte 0x{raw[error.start]:02x} is not UTF-8 text",
            hint,
            where=f"{name}:{len(before)}:{len(before[-1]) + 1}",
        ) from None


def neighbour(path: Path) -> str | None:
    """A hint at a file with a similar name in the same folder."""
    try:
        names = sorted(other.name for other in path.parent.iterdir() if other.suffix == path.suffix)
    except OSError:
        return f"the folder '{path.parent}' cannot be read or is not there"
    return did_you_mean(path.name, names)
