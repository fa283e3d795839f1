# SPDX-License-Identifier: BSD-2-Clause
"""The capability specification of a build folder's image, from the tool that made the image.

The tool writes the content of every page into the specification, as a line for each byte: 1.26 GB for two guests. So it
runs a second time on the same description and programs, with regions of the same sizes that no file fills. Only the
content of these pages differs then (`tests/microkit/test_capabilities.py` compares both), and the tool's own report of
the image that boots must equal that of the second run, except for where the kernel puts what has no fixed address.
"""

from __future__ import annotations

import re
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from router import files
from router.description.sdk_versions import oldest_with, sdk_features
from router.errors import HostError
from router.microkit.capdl import Specification, parse_specification
from router.microkit.loader_image import REPORT, call_tool
from router.microkit.sdk import Sdk
from router.plan.models import PAGE, SystemPlan

SPECIFICATION = "capabilities.json"
"""In `objects/` of the build folder."""
PLACED = re.compile(r"\t\d+ - .*: '(?P<name>[^']+)'(?P<place> @ 0x[0-9a-f]+)$")
"""A line of the tool's report that says where an object lies."""


def read_capabilities(plan: SystemPlan, sdk: Sdk, folder: Path) -> Specification:
    """The specification of the image in a build folder.

    HostError for an SDK that does not write it, when the tool fails, and when the tool's report of the image is not
    that of the specification.
    """
    require_capabilities(sdk.version)
    system = folder / f"{plan.name}.system"
    objects = folder / "objects"
    bare = objects / "capabilities.system"
    files.write(bare, without_contents(system.read_text(), lambda path: (folder / path).stat().st_size))
    with tempfile.TemporaryDirectory(dir=objects) as scratch:
        made, report, image = Path(scratch) / SPECIFICATION, Path(scratch) / REPORT, Path(scratch) / "unused.img"
        outputs = ["-o", str(image), "-r", str(report), "--capdl-json", str(made)]
        log = objects / "capabilities.log"
        call_tool(plan, sdk, bare, folder, outputs, log)
        log.unlink()  # Equal to the image's own log in all that matters: only a failure's is kept.
        raw = made.read_bytes()
        found = parse_specification(raw)
        compare_reports((folder / REPORT).read_text(), report.read_text(), found)
        files.write(objects / SPECIFICATION, raw)
    return found


def require_capabilities(version: str) -> None:
    """HostError for an SDK whose tool does not write the specification."""
    if not sdk_features(version).capabilities:
        oldest = oldest_with("capabilities")
        raise HostError(
            f"the capabilities of an image can be read from Microkit SDK {oldest} on, and this system is for {version}",
            hint=f"router sdk install {oldest}, and 'sdk: {oldest}' (or auto) in the description",
        )


def without_contents(text: str, file_size: Callable[[str], int]) -> str:
    """A `.system` text with empty regions of the same sizes in place of those that a file fills.

    file_size: bytes of a file by the path that `prefill_path` gives.
    """
    system = ElementTree.fromstring(text)
    for region in system.iter("memory_region"):
        path = region.attrib.pop("prefill_path", None)
        if path is not None and "size" not in region.attrib:
            page = int(region.get("page_size", hex(PAGE)), 0)
            region.set("size", hex(-(-file_size(path) // page) * page))
    return ElementTree.tostring(system, encoding="unicode")


def compare_reports(image: str, bare: str, spec: Specification) -> None:
    """HostError when the report of the image lists other objects, bindings or fixed addresses than the other one."""
    fixed = {each.name for each in spec.objects if each.paddr is not None}

    def stripped(text: str) -> list[str]:
        lines = []
        for line in text.splitlines():
            match = PLACED.fullmatch(line)
            moves = match is not None and match["name"] not in fixed
            lines.append(line[: match.start("place")] if match is not None and moves else line)
        return lines

    one, other = stripped(image), stripped(bare)
    if one == other:
        return
    place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    said = [lines[place].strip() if place < len(lines) else "nothing" for lines in (one, other)]
    raise HostError(
        f"the tool's reports of the image and of its capabilities differ in line {place + 1}: '{said[0]}', '{said[1]}'",
        hint=f"remove {REPORT} and loader.img from the build folder and build again",
    )
