# SPDX-License-Identifier: BSD-2-Clause
"""A system description. Any bytes are a plan that can be rendered, or findings with places in the file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

from router import resources
from router.description.diagnostics import DescriptionErrors
from router.description.load import load
from router.errors import DescriptionError
from router.isolation import declared
from router.microkit.system import render_system
from router.pipeline import inputs
from router.report import plan_json

from ._findings import check_findings
from .device_tree import sample

_folder = tempfile.TemporaryDirectory()
_path = Path(_folder.name) / "system.yaml"
_tree = sample()


def one_input(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        # Boards' trees need dtc or packages; which SDKs this computer has must make no difference.
        with (
            mock.patch.object(inputs, "board_tree", lambda *_: _tree),
            mock.patch.object(inputs, "find_sdk", lambda *_: None),
        ):
            plan = inputs.plan_loaded(load(_path), Path(_folder.name), lambda text: None).plan
    except DescriptionErrors as errors:
        check_findings(errors, data)
        return
    except DescriptionError as error:
        assert all(line.isprintable() for line in str(error).split("\n"))
        return
    plan_json(plan)
    said = declared.of_text(render_system(plan), lambda path: 4096)
    assert {pd.name for pd in said.pds} == {pd.name for pd in plan.pds}


def seeds() -> list[bytes]:
    shipped = resources.root() / "system-descriptions"
    whole = [path.read_bytes() for path in sorted(shipped.glob("*.yaml"))]
    usb = whole[-1].replace(b"system: ", b"# ", 1)
    return [*whole, usb, b"system: a\nboard: qemu\nguests:\n  a: {image: usb-server, memory: 128 MiB}\n", b"[]"]
