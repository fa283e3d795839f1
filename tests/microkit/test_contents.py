# SPDX-License-Identifier: BSD-2-Clause
"""The capability list that router reads leaves out what fills the pages. The whole one, 1.26 GB, says nothing else.

The tool runs once more as it does for the image that boots, and writes the whole list in that run. Three things are
compared: its image with the one that boots, byte for byte; its list without the contents of regions with the one that
router judges; and these contents with the files that they are of, so that each file is in the frames of its region.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
from pathlib import Path
from typing import Any

import pytest

from router import files
from router.isolation.image import image_facts
from router.microkit.capabilities import SPECIFICATION
from router.microkit.capdl import parse_specification
from router.microkit.guard import guard_code, guarded
from router.microkit.loader_image import IMAGE, REPORT, call_tool
from router.plan.models import SystemPlan
from tests.microkit.tool import sdk_or_skip
from tests.support.end_to_end import build_text
from tests.support.systems import SHIPPED

VERSION = "2.3.0"
CONTENTS = re.compile(rb'"bytes": \[([^\]]*)\]')
Json = dict[str, Any]


def without_bytes(path: Path) -> tuple[Json, list[bytes]]:
    """The list with each content's number in the place of its bytes, and the contents. Never all of it in memory."""
    contents: list[bytes] = []
    parts: list[bytes] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = 0
        for found in CONTENTS.finditer(text):
            parts += [text[at : found.start()], b'"bytes": %d' % len(contents)]
            contents.append(bytes(map(int, found[1].split(b","))))
            at = found.end()
        parts.append(text[at:])
    listed: Json = json.loads(b"".join(parts))
    return listed, contents


def take_contents(listed: Json, contents: list[bytes]) -> dict[str, bytes]:
    """Empties the frames that bytes fill; what they held, in the order of its pages, by region."""
    found: dict[str, bytes] = {}
    for entry in listed["objects"]:
        made = entry["object"]
        fills = made["Frame"]["init"]["entries"] if "Frame" in made else []
        if not fills or "BytesContent" not in fills[0]["content"]["Data"]:
            continue
        region = re.fullmatch(r"frame_mr_(.+)_(\d{9})", entry["name"])
        assert region, entry["name"]
        number = fills[0]["content"]["Data"]["BytesContent"]["bytes"]
        data, before = contents[number], found.get(region[1], b"")
        fill = {"Data": {"BytesContent": {"bytes": number}}}
        assert fills == [{"range": {"start": 0, "end": len(data)}, "content": fill}], entry["name"]
        assert len(before) == int(region[2]) << made["Frame"]["size_bits"], "the pages before it are full"
        found[region[1]] = before + data
        made["Frame"]["init"]["entries"] = []
    return found


def check_contents(full: Path, bare: Path, plan: SystemPlan, folder: Path) -> None:
    """Fails unless the two lists differ in the contents of regions only, and these are the regions' files."""
    listed, contents = without_bytes(full)
    held = take_contents(listed, contents)
    payloads = {region.name: folder / region.payload for region in plan.regions if region.payload is not None}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in held.items()} == {
        name: files.sha256(path) for name, path in payloads.items()
    }
    assert "BytesContent" not in json.dumps(listed)
    assert listed == json.loads(bare.read_bytes())


@pytest.mark.long
@pytest.mark.sel4
@pytest.mark.packages
@pytest.mark.timeout(1200)
def test_the_tool_that_writes_the_whole_list_writes_the_image_that_boots_and_the_list_that_is_judged(
    tmp_path: Path,
) -> None:
    built = build_text((SHIPPED / "qemu.yaml").read_text(), tmp_path, loader_image=True)
    folder, plan = built.folder, built.plan
    sdk = sdk_or_skip(VERSION, plan.board.microkit, plan.config)
    image, report, full = (tmp_path / name for name in (IMAGE, REPORT, SPECIFICATION))
    outputs = ["-o", str(image), "-r", str(report), "--capdl-json", str(full)]
    call_tool(plan, sdk, folder / f"{plan.name}.system", folder, outputs, tmp_path / "log")
    assert guarded(image.read_bytes(), guard_code(folder / "objects")) == (folder / IMAGE).read_bytes()
    assert report.read_bytes() == (folder / REPORT).read_bytes()
    bare = folder / "objects" / SPECIFICATION
    check_contents(full, bare, plan, folder)
    full.unlink()
    assert built.isolation is not None
    assert image_facts(parse_specification(bare.read_bytes()))


def written(folder: Path, *, badge: int = 0, data: bytes = b"abcdef", rights: bool = False) -> Path:
    """A list with one filled frame and one capability, as the tool lays it out."""
    fill = {"range": {"start": 0, "end": len(data)}, "content": {"Data": {"BytesContent": {"bytes": list(data)}}}}
    objects = [
        {"name": "frame_mr_kernel_000000000", "object": {"Frame": {"size_bits": 12, "init": {"entries": [fill]}}}},
        {"name": "tcb_a", "object": {"Tcb": {"slots": [{"badge": badge, "write": rights}]}}},
        {"name": "ep", "object": "Endpoint"},
    ]
    path = folder / "list.json"
    path.write_text(json.dumps({"objects": objects}, indent=2))
    return path


def test_only_contents_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    listed, contents = without_bytes(written(tmp_path))
    assert take_contents(listed, contents) == {"kernel": b"abcdef"}
    for change in ({"badge": 1}, {"rights": True}):
        other, more = without_bytes(written(tmp_path, **change))
        take_contents(other, more)
        assert other != listed
    other, more = without_bytes(written(tmp_path, data=b"abcdeg"))
    assert take_contents(other, more) == {"kernel": b"abcdeg"} and other == listed
