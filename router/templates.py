# SPDX-License-Identifier: BSD-2-Clause
"""The templates that our rooms keep beside their code: one way to read them all."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from router.display import safe


def comment(text: str) -> Markup:
    """Text for an XML comment: no two hyphens in a row, none at the end, and no escapes (XML 1.0, section 2.5)."""
    while "--" in text:
        text = text.replace("--", "-")
    return Markup(text.rstrip("-"))


@cache
def template(package: str, name: str) -> Template:
    """The template of that name in the package's `templates` folder. Undefined names are errors, values are escaped.

    Filters beside Jinja's own: `hex` and `px` for numbers, `comment` for text in an XML comment, `text` for what others
    have said (router.display.safe).
    """
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "hex": lambda number: f"{number:#x}",
        "px": lambda number: f"{number:g}",
        "comment": comment,
        "text": safe,
    }
    return environment.get_template(name)
