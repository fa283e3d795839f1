# SPDX-License-Identifier: BSD-2-Clause
"""Watching a board boot: milestones, failures, silence."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from router.console.line_input import PortInput
from router.console.multiplexer import Demultiplexer
from router.console.serial_line import OWN, control, ports
from router.console.silence import DEAD, Silence, is_dead
from router.control.milestones import BOOT_FAILURES, LINUX_FAILURE, MAX_LINE, match
from router.deploy.advice import SIGN_ON, explain
from router.deploy.board_clock import BoardClock
from router.deploy.events import Reporter
from router.deploy.plan import ANY_PORT, DeployPlan, compile_pattern
from router.errors import MachineError

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")
PARTIAL_LINE_TIMEOUT_S = 0.5  # after which an unfinished line counts as one: a prompt never ends in a newline
SETTLE_S = 3.0  # how long a start without milestones is watched for an immediate failure
OPTIONAL_TIMEOUT_S = 5.0  # how long what need not come is waited for, after what has to
KEPT_LINES = 12
MAX_WARNINGS = 20  # of guests' own, which can print any number
MAX_REST = 2 * MAX_LINE  # of a line without an end, which a board may print for ever
KEYS_PERIOD_S = 1.0


class Wire(Protocol):
    """A serial line: `router.console.serial_port.SerialPort` is one."""

    def read(self, seconds: float) -> bytes:
        """What has come in; waits at most `seconds` for the first byte. Empty: nothing came."""

    def write(self, data: bytes) -> None:
        """Send all of it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A milestone that was reached, `seconds` after the start command, and the line that showed it."""

    name: str
    seconds: float
    line: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the console, without escape sequences. port: the guest whose console it is from, None: no guest's."""

    port: str | None
    text: str

    def __str__(self) -> str:
        return self.text if self.port is None else f"{self.port}| {self.text}"


def lines_of(text: str) -> tuple[list[str], str]:
    """Complete lines, without escape sequences and line ends, and the unfinished rest."""
    pieces = re.split(r"\r*\n|\r+(?!\n|$)", text)
    return [ESCAPES.sub("", piece).rstrip("\r") for piece in pieces[:-1]], pieces[-1]


class ConsoleLines:
    """The board's serial line as lines, each with the guest that it comes from.

    guests: whose consoles share the line (docs/reference/serial-line.md); with none, every line is no guest's.
    """

    def __init__(self, guests: Sequence[str]) -> None:
        self._ports = Demultiplexer(ports(guests)) if guests else None
        self._guests = set(guests)
        # The first guest's control channel: its agent ignores an empty frame, and no person types there.
        self._asked = control(guests[0]) if guests else ""
        self._question = PortInput(ports(guests).index(self._asked) if guests else 0, lines=True)
        self._silence = Silence(self._question)
        self._rests: dict[str | None, str] = {}
        self.guests_speak = False
        """A guest has said something, so the boot loader is gone."""
        self.only_answers = False
        """What came last were answers to our questions, and nothing else."""

    def feed(self, data: bytes) -> list[Line]:
        """The lines that are complete with these bytes. Those of control channels are left out."""
        found = []
        now = time.monotonic()
        parts = [(None, data)] if self._ports is None else self._ports.feed(data)
        self.only_answers = self._ports is not None and bool(self._ports.answers) and not parts
        for port, part in parts:
            self._silence.heard(now, framed=port is not None or part.startswith(OWN))
            if port is not None and port not in self._guests:
                continue
            self.guests_speak |= port is not None
            complete, rest = lines_of(self._rests.get(port, "") + part.decode("utf-8", "replace"))
            self._rests[port] = rest[-MAX_REST:]
            found += [Line(port, text) for text in complete]
        for answer in [] if self._ports is None else self._ports.answers:
            self._silence.heard(now, framed=True)
            if answer.port == self._asked:
                self._question.answered(answer.sequence, answer.taken, now)
        if self._ports is not None:
            self._ports.answers.clear()
        return found

    def question(self) -> bytes:
        """What is to be sent now, so that a multiplexer that has stopped is noticed. MachineError when it has."""
        if is_dead(self._question):
            raise MachineError(DEAD)
        now = time.monotonic()
        self._silence.ask(now)
        return self._question.take(now)

    def unfinished(self) -> list[Line]:
        """The beginnings of lines that have not ended: a prompt never does."""
        return [Line(port, ESCAPES.sub("", rest)) for port, rest in self._rests.items() if rest]


class Watcher:
    """Follows the console from the start command to the last milestone."""

    def __init__(self, plan: DeployPlan, reporter: Reporter, returned: str | None = None) -> None:
        self.seen: list[Seen] = []
        self._plan = plan
        self._reporter = reporter
        self._returned = returned
        self._waiting = [(item, compile_pattern(item.pattern, plan.system)) for item in plan.milestones]
        self._failures = [compile_pattern(pattern, plan.system) for pattern in plan.failures]
        self._console = ConsoleLines([guest.name for guest in plan.facts.guests] if plan.facts is not None else [])
        self._started = time.monotonic()
        self._kept: list[str] = []
        self._warned: set[str] = set()
        self._clock = BoardClock()
        self._typed = 0.0

    def follow(self, line: Wire) -> list[Seen]:
        """Read until every milestone was seen; MachineError on failure, silence, or when the time is up."""
        plan = self._plan
        self._started = heard = partial_since = time.monotonic()
        raw = ""
        while not self._over():
            data = line.read(0.1)
            now = time.monotonic()
            if data:
                complete = self._console.feed(data)
                if not self._console.only_answers:
                    heard = partial_since = now
                if self._returned is not None and not self._console.guests_speak:
                    raw = (raw + data.decode("utf-8", "replace"))[-MAX_REST:]
                    if re.search(self._returned, raw):
                        raise self._came_back(raw)
                for each in complete:
                    self._line(each)
            else:
                self._ask(line)
            self._type(line)
            if not data and now - partial_since > PARTIAL_LINE_TIMEOUT_S:
                for each in self._console.unfinished():
                    self._search(each)
                partial_since = now + plan.boot_seconds  # once is enough
            if not self._lacks():
                continue
            if now - heard > plan.quiet_seconds:
                raise self._late(f"nothing was heard for {plan.quiet_seconds:.0f} s", "--quiet-timeout")
            if now - self._started > plan.boot_seconds:
                raise self._late(f"the board was not up within {plan.boot_seconds:.0f} s", "--timeout")
        for item, _ in self._waiting:
            self._reporter.say("warning", text=f"not seen (yet): {item.name}")
        return self.seen

    def _type(self, line: Wire) -> None:
        """What the next milestone needs to be typed."""
        keys = self._waiting[0][0].keys if self._waiting else ""
        if keys and time.monotonic() - self._typed >= KEYS_PERIOD_S:
            self._typed = time.monotonic()
            line.write(keys.encode())

    def _ask(self, line: Wire) -> None:
        """A release kernel says nothing of a multiplexer that has failed, and without it the guests say nothing."""
        try:
            question = self._console.question()
        except MachineError as error:
            raise MachineError(error.message, hint=self._where()) from None
        if question:
            line.write(question)

    def _lacks(self) -> bool:
        """Whether a required milestone is still to come."""
        return any(item.required for item, _ in self._waiting)

    def _over(self) -> bool:
        """Whether there is nothing more to wait for."""
        now = time.monotonic()
        if not self._plan.milestones:
            return now - self._started >= SETTLE_S
        if self._lacks():
            return False
        last = self._started + (self.seen[-1].seconds if self.seen else 0.0)
        return not self._waiting or now - last >= OPTIONAL_TIMEOUT_S

    def _line(self, line: Line) -> None:
        line = Line(line.port, line.text[:MAX_LINE])
        self._reporter.say("console", text=str(line))
        self._kept = [*self._kept, str(line)][-KEPT_LINES:]
        if self._is_failure(line):
            raise MachineError(f"the boot failed: {str(line).strip()[:160]}", hint=self._where())
        if line.port is None and SIGN_ON.search(line.text):
            raise MachineError(
                "the board reset while booting: its boot loader is back", hint="last words above; " + self._where()
            )
        if line.port is not None:
            self._warn(line.port, line.text)
        self._search(line)

    def _warn(self, guest: str, text: str) -> None:
        """Reports, once, what a guest says of itself that is no failure and not as the description asks."""
        found = match(text)
        if found is None or not found[0].warning:
            return
        said = f"{guest}: {found[0].text.format(found[1]).strip()}"
        if said not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(said)
            self._reporter.say("warning", text=said)

    def _is_failure(self, line: Line) -> bool:
        """Guests fail by words of Linux only: a guest that prints words of the kernel or of U-Boot fails nothing."""
        known = (LINUX_FAILURE,) if line.port is not None else BOOT_FAILURES
        return any(re.search(pattern, line.text) for pattern in known) or any(
            pattern.search(str(line)) for pattern in self._failures
        )

    def _search(self, line: Line) -> None:
        for item, pattern in list(self._waiting):
            # A guest's milestone counts on its own console, and a milestone of the system on no guest's.
            counts = item.port in (ANY_PORT, line.port or "")
            found = pattern.search(str(line) if item.port == ANY_PORT else line.text) if counts else None
            if found is not None and (not item.clock or self._agrees(found)):
                self._waiting.remove((item, pattern))
                seen = Seen(item.name, round(time.monotonic() - self._started, 3), str(line).strip()[:200])
                self.seen.append(seen)
                self._reporter.say("milestone", name=item.name, seconds=seen.seconds, line=seen.line)

    def _agrees(self, found: re.Match[str]) -> bool:
        """Whether the time that a line says fits the time here; a board can say what is no number."""
        try:
            return self._clock.hear(float(found[1]), time.monotonic())
        except (ValueError, IndexError, TypeError):
            return False

    def _progress(self) -> str:
        after = f"after '{self.seen[-1].name}'" if self.seen else "before the first milestone"
        missing = ", ".join(item.name for item, _ in self._waiting)
        return f"{after}; not seen: {missing}"

    def _look(self) -> str:
        """What to look at, as lines of a hint: of the first milestone that is missing."""
        item = next((item for item, _ in self._waiting if item.required), None)
        difference = self._clock.difference() if item is not None and item.clock else ""
        return "".join(f"\n  {text}" for text in (difference, item.look if item is not None else "") if text)

    def _where(self) -> str:
        return self._progress() + self._look()

    def _late(self, what: str, option: str) -> MachineError:
        said = next((text.strip() for text in reversed(self._kept) if text.strip()), "")
        last = f"; its last line was: {said[:100]}" if said else ""
        hint = f"{option} gives it longer; the console log has it all{self._look()}"
        return MachineError(f"{what}, {self._progress()}{last}", hint=hint)

    def _came_back(self, rest: str) -> MachineError:
        output = "\n".join([*self._kept, rest]).split("-begin")[-1]
        return explain(re.split(self._returned or "\0", output)[0], self._plan.start)
