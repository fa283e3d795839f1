# SPDX-License-Identifier: BSD-2-Clause
"""The JSON schema of a description, for editors: completion, hover texts and checks while typing.

It describes the text that a user writes (a size is a string with a unit), not the values that it is read into. What
needs more than one field, or another file, is left to `router check`.
"""

from __future__ import annotations

import json
from typing import Any

from router.description.catalogue import Catalogue
from router.description.models import Description
from router.description.values import SIZE_PATTERN
from router.words import size_text

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def description_schema(catalogue: Catalogue) -> Schema:
    """The schema, in draft 2020-12. Boards and images of the catalogue are offered; others are not refused."""
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
    head = {"$schema": DIALECT, "title": "router: description of a system"}
    return head | {name: value for name, value in top.items() if name != "title"} | {"$defs": definitions}


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
