# SPDX-License-Identifier: BSD-2-Clause
"""How the searches ended: tests/fuzz/results.json, and the table of it in docs/why/fuzzing.md."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.fuzz import CORPUS, NATIVE_TARGETS, TARGETS

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[2] / "docs/why/fuzzing.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


@dataclass(frozen=True)
class Result:
    """The searches of one target. seconds, inputs: since the last one that found something. found: how many did."""

    seconds: int = 0
    inputs: int = 0
    found: int = 0
    date: str = ""
    """UTC, of the last search."""
    commit: str = ""


def read(path: Path = RESULTS) -> dict[str, Result]:
    """The result of each target that has been searched."""
    if not path.is_file():
        return {}
    return {name: Result(**fields) for name, fields in json.loads(path.read_text()).items()}


def added(before: Result, seconds: int, inputs: int, *, found: bool) -> Result:
    """The result after one more search: with a finding, what was run before says nothing about the code of today."""
    if found:
        return replace(before, seconds=0, inputs=0, found=before.found + 1)
    return replace(before, seconds=before.seconds + seconds, inputs=before.inputs + inputs)


def note(name: str, seconds: int, inputs: int, *, found: bool, path: Path = RESULTS, page: Path = PAGE) -> None:
    """Add a search to the results, and to the page."""
    # Late: it imports parts of router, which a search must import itself, instrumented.
    from tests.support.long import commit

    known = read(path)
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    known[name] = replace(added(known.get(name, Result()), seconds, inputs, found=found), date=today, commit=commit())
    path.write_text(json.dumps({each: asdict(known[each]) for each in sorted(known)}, indent=2) + "\n")
    refresh(known, page)


def refresh(known: dict[str, Result] | None = None, page: Path = PAGE) -> str:
    """Write the page's table anew; the table."""
    rows = table(known)
    page.write_text(with_table(page.read_text(), rows))
    return rows


def table(known: dict[str, Result] | None = None) -> str:
    """All targets in Markdown, with the corpora as they are in the tree."""
    known = read() if known is None else known
    # Late, for the same reason as in `note`.
    from tests.fuzz.native import NATIVE

    rows = ["| target | in | minutes without a finding | inputs | searches that found something | corpus |"]
    rows.append("|---|---|---:|---:|---:|---:|")
    corpora = [(name, "C", NATIVE[name].corpus) for name in NATIVE_TARGETS]
    corpora += [(name, "Python", CORPUS / name) for name in TARGETS]
    for name, language, folder in corpora:
        result = known.get(name, Result())
        sizes = [path.stat().st_size for path in folder.glob("*")]
        minutes, corpus = f"{result.seconds / 60:.0f}", f"{len(sizes)} files, {sum(sizes) / 1024:.1f} KiB"
        rows.append(f"| {name} | {language} | {minutes} | {result.inputs:,} | {result.found} | {corpus} |")
    return "\n".join(rows)


def with_table(text: str, rows: str) -> str:
    """The page with another table."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{rows}\n{END}{after}"
