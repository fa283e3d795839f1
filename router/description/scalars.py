# SPDX-License-Identifier: BSD-2-Clause
"""What a plain (unquoted) YAML scalar means, and which ones mean different things to different readers.

Only the core schema of YAML 1.2.2 (section 10.3) is read. Much software still reads YAML 1.1, where `no` is false,
`0525` is 341 and `12:34` is 754; a scalar that the two versions see differently is refused, with advice to quote it.
"""

from __future__ import annotations

import re

Value = str | int | float | bool | None

NULL = re.compile(r"|~|null|Null|NULL")
TRUE = re.compile(r"true|True|TRUE")
FALSE = re.compile(r"false|False|FALSE")
DECIMAL = re.compile(r"[-+]?[0-9]+")
OCTAL = re.compile(r"0o[0-7]+")
HEX = re.compile(r"0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

BOOL_1_1 = re.compile(r"y|yes|n|no|on|off", re.IGNORECASE)
LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
UNDERSCORED = re.compile(r"[-+]?(0x[0-9a-fA-F]+|0b[01]+|[0-9]+)(_[0-9a-fA-F]*)+")
BINARY_1_1 = re.compile(r"[-+]?0b[01]+")
SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?")
ETHERNET = re.compile(r"[0-9]{2}(:[0-9]{2}){5}")

LOOKALIKES = {
    "\u00a0": "a no-break space (U+00A0)",
    "\u202f": "a narrow no-break space (U+202F)",
    "\u200b": "a zero-width space (U+200B)",
    "\ufeff": "a byte order mark (U+FEFF)",
    "\u201c": "a typographic quotation mark (U+201C)",
    "\u201d": "a typographic quotation mark (U+201D)",
    "\u2018": "a typographic quotation mark (U+2018)",
    "\u2019": "a typographic quotation mark (U+2019)",
}
"""Characters that look like others and come with text copied from web pages and word processors."""


def resolve(text: str) -> Value:
    """The value of a plain scalar by the core schema."""
    if NULL.fullmatch(text):
        return None
    if TRUE.fullmatch(text):
        return True
    if FALSE.fullmatch(text):
        return False
    if len(text) <= 40:  # a description has no use for longer numbers
        if DECIMAL.fullmatch(text):
            return int(text)
        if OCTAL.fullmatch(text) or HEX.fullmatch(text):
            return int(text, 0)
        if FLOAT.fullmatch(text) or SPECIAL_FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


KEYS = ("on",)
"""Fields whose names YAML 1.1 reads as booleans. As keys they are let through: there they can mean nothing else."""


def trouble(text: str) -> tuple[str, str] | None:
    """Message and hint when a plain scalar is not the same to every YAML reader; None when it is.

    An Ethernet address whose digits are all decimal is let through: it is read as text here, and no number is near.
    """
    quoted = f'to mean the string, quote it: "{text}"'
    for char, name in LOOKALIKES.items():
        if char in text:
            return (
                f"this string contains {name}",
                "use the plain ASCII character, or quote the whole string to keep it",
            )
    if BOOL_1_1.fullmatch(text):
        return f"some YAML parsers read '{text}' as a boolean, others as a string", quoted
    if LEADING_ZERO.fullmatch(text):
        decimal = int(text[:40])
        octal = f"{int(text[:40], 8)}" if not re.search("[89]", text) else "a string"
        return (
            f"some YAML parsers read '{text}' as {octal}, others as {decimal}",
            f"{quoted}; to mean the number, write it without the leading zero: {decimal}",
        )
    if SEXAGESIMAL.fullmatch(text) and not ETHERNET.fullmatch(text):
        return f"some YAML parsers read '{text}' as a number in base 60, others as a string", quoted
    if OCTAL.fullmatch(text) or BINARY_1_1.fullmatch(text) or UNDERSCORED.fullmatch(text):
        return (
            f"some YAML parsers read '{text}' as a number, others as a string",
            f"{quoted}; to mean the number, write it in plain decimal digits",
        )
    if FLOAT.fullmatch(text) and "e" in text.lower():
        return f"some YAML parsers read '{text}' as a number, others as a string", quoted
    if DATE.fullmatch(text):
        return f"some YAML parsers read '{text}' as a date, others as a string", quoted
    if text == "=":
        return "some YAML parsers give '=' a special meaning", quoted
    return None
