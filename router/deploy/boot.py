# SPDX-License-Identifier: BSD-2-Clause
"""Watching a board boot: milestones, failures, silence."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from router.console.serial_port import SerialPort
from router.control.milestones import BOOT_FAILURES, MAX_LINE
from router.deploy.advice import SIGN_ON, explain
from router.deploy.events import Reporter
from router.deploy.plan import DeployPlan
from router.errors import MachineError

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")
PARTIAL_LINE_TIMEOUT_S = 0.5  # after which an unfinished line counts as one: a prompt never ends in a newline
SETTLE_S = 3.0  # how long a start without milestones is watched for an immediate failure
OPTIONAL_TIMEOUT_S = 5.0  # how long what need not come is waited for, after what has to
KEPT_LINES = 12
MAX_REST = 2 * MAX_LINE  # of a line without an end, which a board may print for ever


@dataclass(frozen=True, slots=True)
class Seen:
    """A milestone that was reached, `seconds` after the start command, and the line that showed it."""

    name: str
    seconds: float
    line: str


def lines_of(text: str) -> tuple[list[str], str]:
    """Complete lines, without escape sequences and line ends, and the unfinished rest."""
    pieces = re.split(r"\r*\n|\r+(?!\n|$)", text)
    return [ESCAPES.sub("", piece).rstrip("\r") for piece in pieces[:-1]], pieces[-1]


class Watcher:
    """Follows the console from the start command to the last milestone."""

    def __init__(self, plan: DeployPlan, reporter: Reporter, returned: str | None = None) -> None:
        self.seen: list[Seen] = []
        self._plan = plan
        self._reporter = reporter
        self._returned = returned
        self._waiting = [(item.name, re.compile(item.pattern)) for item in plan.milestones]
        self._optional = {item.name for item in plan.milestones if not item.required}
        self._failures = [re.compile(pattern) for pattern in (*BOOT_FAILURES, *plan.failures)]
        self._started = time.monotonic()
        self._kept: list[str] = []

    def follow(self, line: SerialPort) -> list[Seen]:
        """Read until every milestone was seen; MachineError on failure, silence, or when the time is up."""
        plan = self._plan
        self._started = heard = partial_since = time.monotonic()
        rest = ""
        while not self._over():
            data = line.read(0.1)
            now = time.monotonic()
            if data:
                heard = partial_since = now
                rest += data.decode("utf-8", "replace")
                if self._returned is not None and re.search(self._returned, rest):
                    raise self._came_back(rest)
                complete, rest = lines_of(rest)
                rest = rest[-MAX_REST:]
                for text in complete:
                    self._line(text)
            elif rest and now - partial_since > PARTIAL_LINE_TIMEOUT_S:
                self._search(ESCAPES.sub("", rest))
                partial_since = now + plan.boot_seconds  # once is enough
            if not self._lacks():
                continue
            if now - heard > plan.quiet_seconds:
                raise self._late(f"nothing was heard for {plan.quiet_seconds:.0f} s", "--quiet-timeout")
            if now - self._started > plan.boot_seconds:
                raise self._late(f"the board was not up within {plan.boot_seconds:.0f} s", "--timeout")
        for name, _ in self._waiting:
            self._reporter.say("warning", text=f"not seen (yet): {name}")
        return self.seen

    def _lacks(self) -> bool:
        """Whether a required milestone is still to come."""
        return any(name not in self._optional for name, _ in self._waiting)

    def _over(self) -> bool:
        """Whether there is nothing more to wait for."""
        now = time.monotonic()
        if not self._plan.milestones:
            return now - self._started >= SETTLE_S
        if self._lacks():
            return False
        last = self._started + (self.seen[-1].seconds if self.seen else 0.0)
        return not self._waiting or now - last >= OPTIONAL_TIMEOUT_S

    def _line(self, text: str) -> None:
        text = text[:MAX_LINE]
        self._reporter.say("console", text=text)
        self._kept = [*self._kept, text][-KEPT_LINES:]
        for failure in self._failures:
            if failure.search(text):
                raise MachineError(f"the boot failed: {text.strip()[:160]}", hint=self._where())
        if SIGN_ON.search(text):
            raise MachineError(
                "the board reset while booting: its boot loader is back", hint=self._where() + "; last words above"
            )
        self._search(text)

    def _search(self, text: str) -> None:
        for name, pattern in list(self._waiting):
            if pattern.search(text):
                self._waiting.remove((name, pattern))
                seen = Seen(name, round(time.monotonic() - self._started, 3), text.strip()[:200])
                self.seen.append(seen)
                self._reporter.say("milestone", name=name, seconds=seen.seconds, line=seen.line)

    def _where(self) -> str:
        after = f"after '{self.seen[-1].name}'" if self.seen else "before the first milestone"
        missing = ", ".join(name for name, _ in self._waiting)
        return f"{after}; not seen: {missing}"

    def _late(self, what: str, option: str) -> MachineError:
        said = next((text.strip() for text in reversed(self._kept) if text.strip()), "")
        last = f"; its last line was: {said[:100]}" if said else ""
        return MachineError(
            f"{what}, {self._where()}{last}", hint=f"{option} gives it longer; the console log has it all"
        )

    def _came_back(self, rest: str) -> MachineError:
        output = "\n".join([*self._kept, rest]).split("-begin")[-1]
        return explain(re.split(self._returned or "\0", output)[0], self._plan.start)
