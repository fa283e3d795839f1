# SPDX-License-Identifier: BSD-2-Clause
"""The JSON schema that editors use: committed, up to date, and of one mind with `router check`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from router.cli import schema as command
from router.description.catalogue import Catalogue, shipped_catalogue, shipped_descriptions
from router.description.schema import DIALECT, description_schema, schema_text
from router.description.source import parse, plain
from router.description.text import read_text

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "system-descriptions/description.schema.json"
ERRORS = ROOT / "tests/errors"

FOR_AN_EDITOR = [
    "allow-form", "allow-icmp-port", "allow-protocol", "allow-without-port", "budget-without-period",
    "class-by-device", "class-misspelt", "class-number", "config-misspelt", "device-id", "guest-name",
    "image-lacks-initramfs", "mac-malformed", "many-at-once", "missing-image", "missing-system", "missing-to",
    "no-guests", "number-with-fraction", "on-exit-misspelt", "period-without-budget", "priority-out-of-range",
    "quoted-number", "sdk-unknown", "serial-number", "size-nonsense", "size-without-unit", "size-wrong-unit",
    "subnet-without-prefix", "system-name-too-long", "truth-for-number", "unknown-field", "usb-as-mapping",
    "usb-path", "usb-version", "usb-without-match", "vcpus-out-of-range",
]  # fmt: skip
"""Mistakes that an editor shows while they are typed."""


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema.Draft202012Validator(json.loads(COMMITTED.read_text(encoding="utf-8")))


def data(path: Path) -> Any:
    source = parse(read_text(path)).source
    assert source is not None
    return plain(source.root)


def test_the_committed_schema_is_up_to_date() -> None:
    """Boards and images are only offered, so adding one needs no new schema; but none is offered that is gone."""
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    boards = schema["properties"]["board"]["anyOf"][0]["enum"]
    images = schema["$defs"]["Guest"]["properties"]["image"]["anyOf"][0]["enum"]
    known = shipped_catalogue()
    assert set(boards) <= set(known.boards)
    assert set(images) <= set(known.images)
    offered = Catalogue(boards, dict.fromkeys(images, "none"))
    assert COMMITTED.read_text(encoding="utf-8") == schema_text(offered), "run: router schema -o " + str(COMMITTED)


def test_the_schema_is_one_of_draft_2020_12() -> None:
    schema = description_schema(shipped_catalogue())
    assert schema["$schema"] == DIALECT
    assert jsonschema.Draft202012Validator.check_schema(schema) is None


@pytest.mark.parametrize("name", sorted(shipped_descriptions()))
def test_a_shipped_description_fits_the_schema_and_tells_editors_of_it(name: str, validator: Any) -> None:
    path = shipped_descriptions()[name]
    assert [error.message for error in validator.iter_errors(data(path))] == []
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={COMMITTED.name}"


@pytest.mark.parametrize("name", FOR_AN_EDITOR)
def test_an_editor_sees_a_mistake_while_it_is_typed(name: str, validator: Any) -> None:
    assert not validator.is_valid(data(ERRORS / f"{name}.yaml"))


def fields(schema: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in schema.get("properties", {}).items():
        yield f"{place}.{name}", one
    for name, one in schema.get("$defs", {}).items():
        yield from fields(one, name)


def test_every_field_has_a_text_for_the_editor_to_show() -> None:
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    for name, one in fields(schema):
        target = schema["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else {}
        assert one.get("description") or target.get("description"), name


def test_no_field_of_the_schema_takes_what_python_made_of_it() -> None:
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    memory = schema["$defs"]["Guest"]["properties"]["memory"]
    assert (memory["type"], memory["default"]) == ("string", "512 MiB")
    assert '"null"' not in COMMITTED.read_text(encoding="utf-8")


def test_the_command_prints_the_schema_or_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    assert command.run(parser.parse_args([])) == 0
    printed = capsys.readouterr().out
    assert printed == schema_text(shipped_catalogue())
    file = tmp_path / "new" / "schema.json"
    assert command.run(parser.parse_args(["-o", str(file)])) == 0
    assert file.read_text(encoding="utf-8") == printed
    assert [other.name for other in file.parent.iterdir()] == ["schema.json"]
