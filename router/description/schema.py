# SPDX-License-Identifier: BSD-2-Clause
"""The JSON schema of a description, for editors: completion, hover texts and checks while typing.

It describes the text that a user writes (a size is a string with a unit), not the values that it is read into. What
needs more than one field, or another file, is left to `router check`.
"""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

from router.description import models
from router.description.catalogue import Catalogue
from router.description.models import Description
from router.description.values import SIZE_PATTERN
from router.words import size_text

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def description_schema(catalogue: Catalogue) -> Schema:
    """The schema, in draft 2020-12. Boards and images of the catalogue are offered; others are not refused."""
    describe_fields()
    raw = Description.model_json_schema(by_alias=True)
    definitions: Schema = {name: mapping(one) for name, one in raw.pop("$defs").items()}
    top = mapping(raw)
    top["properties"]["board"] |= offered(catalogue.boards)
    top["properties"]["guests"]["additionalProperties"] = False
    guest, rule = definitions["Guest"], definitions["UsbRule"]
    _, *mappings = guest["properties"]["image"].pop("oneOf")
    guest["properties"]["image"]["anyOf"] = [*offered(list(catalogue.images))["anyOf"], *mappings]
    definitions["ExtendedImage"]["properties"]["extends"] |= offered(list(catalogue.images))
    guest["dependentRequired"] = {"budget": ["period"], "period": ["budget"]}
    rule["anyOf"] = [{"required": [name]} for name in ("device", "path", "serial", "class", "only")]
    match = definitions["DiskMatch"]
    match["anyOf"] = [{"required": [name]} for name in match["properties"]]
    head = {"$schema": DIALECT, "title": "router: description of a system"}
    return head | {name: value for name, value in top.items() if name != "title"} | {"$defs": definitions}


@cache
def describe_fields() -> None:
    """Makes the text below each field of the models its description.

    Pydantic's use_attribute_docstrings does the same when the classes are made, which is in every run of the program:
    it reads their sources again, a tenth of what a check takes.
    """
    models_here = {name: value for name, value in vars(models).items() if is_model(value)}
    for statement in ast.parse(inspect.getsource(models)).body:
        if not isinstance(statement, ast.ClassDef) or statement.name not in models_here:
            continue
        model = models_here[statement.name]
        for name, text in attribute_texts(statement):
            model.__pydantic_fields__[name].description = text
        model.model_rebuild(force=True)


def is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, models.StrictModel)


def attribute_texts(definition: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """The annotated attributes of a class that have a text below them, with that text."""
    for attribute, below in pairwise(definition.body):
        match attribute, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                yield name, inspect.cleandoc(text)


def offered(names: Any) -> Schema:
    """A text for which an editor offers some values."""
    return {"anyOf": [{"enum": list(names)}, {"type": "string"}]}


def mapping(schema: Schema) -> Schema:
    """The schema of one model, with what only concerns Python taken out of its fields."""
    fields = schema.get("properties", {})
    return schema | {"properties": {name: field(one) for name, one in fields.items()}} if fields else schema


def field(schema: Schema) -> Schema:
    """One field as it is written: no null, no title, its default as text."""
    schema = {name: value for name, value in schema.items() if name != "title"}
    forms = [form for form in schema.get("anyOf", []) if form != {"type": "null"}]
    if len(forms) == 1:
        schema = forms[0] | {name: value for name, value in schema.items() if name != "anyOf"}
    elif forms:
        schema["anyOf"] = forms
    default = schema.get("default")
    if schema.get("pattern") == SIZE_PATTERN and isinstance(default, int):
        schema["default"] = size_text(default)
    elif default in (None, "") or isinstance(default, dict):
        schema.pop("default", None)
    return schema


def schema_text(catalogue: Catalogue) -> str:
    """The schema as it stands in system-descriptions/description.schema.json."""
    return json.dumps(description_schema(catalogue), indent=2, ensure_ascii=False) + "\n"
