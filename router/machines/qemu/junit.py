# SPDX-License-Identifier: BSD-2-Clause
"""The JUnit report of a run: the boot and each command as a test case, with what the guests said of a failure."""

from __future__ import annotations

import codecs
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from router import files
from router.control.timeline import Timeline
from router.display import safe
from router.errors import RouterError

MAX_OUTPUT_CHARACTERS = 64 << 10
"""Of a command's output in the report: its end."""


@dataclass
class Case:
    """One test case. failure: a command's exit code was not 0; error: it could not be carried out."""

    name: str
    seconds: float = 0.0
    begun: float = 0.0
    """By time.monotonic."""
    output: str = ""
    failure: str | None = None
    error: str | None = None
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), repr=False, compare=False
    )
    """A character may come in two pieces."""

    def hear(self, data: bytes) -> None:
        """More of the output."""
        self.output = (self.output + self._decoder.decode(data))[-MAX_OUTPUT_CHARACTERS:]


@dataclass
class JunitReport:
    """The cases of a run so far, written to `path` once the run is over; None: nothing is written."""

    path: Path | None
    suite: str
    cases: list[Case] = field(default_factory=list)

    @contextmanager
    def case(self, name: str) -> Iterator[Case]:
        """A test case that is timed; a RouterError in it becomes its error."""
        case = Case(name)
        self.cases.append(case)
        case.begun = start = time.monotonic()
        try:
            yield case
        except RouterError as error:
            case.error = str(error)
            raise
        finally:
            case.seconds = time.monotonic() - start

    @contextmanager
    def writing(self, timeline: Timeline, logs: Callable[[], list[Path]]) -> Iterator[None]:
        """Writes the report at the end, however the run ends. logs: the files that a failure's reader wants."""
        try:
            yield
        finally:
            if self.path is not None:
                files.write(self.path, render(self, timeline, logs()))


def render(report: JunitReport, timeline: Timeline, logs: list[Path]) -> str:
    """The report as XML (the schema that Jenkins, GitLab and pytest share); durations are in seconds.

    The suite's properties are the milestones' first times; a case that went wrong has the logs as attachments.
    """
    failures, errors = (sum(getattr(case, kind) is not None for case in report.cases) for kind in ("failure", "error"))
    counts = {"tests": str(len(report.cases)), "failures": str(failures), "errors": str(errors), "skipped": "0"}
    took = f"{sum(case.seconds for case in report.cases):.3f}"
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", {"name": report.suite, **counts, "time": took})
    properties = ElementTree.SubElement(suite, "properties")
    seen: set[str] = set()
    for event in list(timeline.events):
        name = f"router.boot.{event.guest}.{event.name}"
        if name not in seen:
            seen.add(name)
            ElementTree.SubElement(properties, "property", {"name": name, "value": f"{event.seconds:.2f}"})
    attached = "".join(f"\n[[ATTACHMENT|{path.absolute()}]]" for path in logs)
    for case in report.cases:
        names = {"classname": report.suite, "name": text(case.name), "time": f"{case.seconds:.3f}"}
        element = ElementTree.SubElement(suite, "testcase", names)
        for kind in ("failure", "error"):
            why: str | None = getattr(case, kind)
            if why is not None:
                found = ElementTree.SubElement(element, kind, {"message": text(why.splitlines()[0])})
                found.text = text(why)
        wrong = case.failure is not None or case.error is not None
        ElementTree.SubElement(element, "system-out").text = text(case.output) + (attached if wrong else "")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def text(said: str) -> str:
    """What XML 1.0 can hold of it (section 2.2): control characters appear as escapes."""
    return safe(said.replace("\r\n", "\n"), keep="\n\t")
