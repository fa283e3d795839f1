# SPDX-License-Identifier: BSD-2-Clause
"""What the image gives against what its description and the plan say: every difference names all sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router.errors import RouterError
from router.isolation.facts import Fact

NOTHING = "nothing"
HINT = "this is a bug of router or of the microkit tool: do not run this image, and report it with the build folder"
SHOWN = 20
"""Differences that an error message lists."""


@dataclass(frozen=True)
class Difference:
    """One thing that not all sources say alike. Texts of facts; none where a source has no such fact."""

    holder: str
    what: str
    image: tuple[str, ...]
    text: tuple[str, ...]
    plan: tuple[str, ...]

    def __str__(self) -> str:
        def said(facts: tuple[str, ...]) -> str:
            return " and ".join(facts) or NOTHING

        if self.text == self.plan:
            rest = f"the .system text and the plan: {said(self.text)}"
        else:
            rest = f"the .system text: {said(self.text)}; the plan: {said(self.plan)}"
        return f"{self.holder}, {self.what}: the image: {said(self.image)}; {rest}"


class IsolationError(RouterError):
    """An image that gives other rights than its description says. Nobody who uses router can mend that: exit code 1."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        count = f"{len(differences)} place{'s' * (len(differences) != 1)}"
        listed = "".join(f"\n    {each}" for each in differences[:SHOWN])
        more = f"\n    and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        super().__init__(
            f"the capabilities of the image are not those of its description, in {count}{listed}{more}", HINT
        )
        self.differences = tuple(differences)


def by_subject(facts: Sequence[Fact]) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """The texts of all facts about one thing of one holder; equal ones are kept, they are two capabilities."""
    found: dict[tuple[str, str], list[str]] = {}
    for fact in facts:
        found.setdefault((fact.holder, fact.what), []).append(fact.how)
    return {subject: tuple(sorted(texts)) for subject, texts in found.items()}


def differences(image: Sequence[Fact], text: Sequence[Fact], plan: Sequence[Fact]) -> tuple[Difference, ...]:
    """Where the three sources do not say the same, sorted by holder and subject."""
    said = [by_subject(each) for each in (image, text, plan)]
    found = []
    for subject in sorted(set().union(*said)):
        here, written, meant = (each.get(subject, ()) for each in said)
        if not here == written == meant:
            found.append(Difference(*subject, here, written, meant))
    return tuple(found)
