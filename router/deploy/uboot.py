# SPDX-License-Identifier: BSD-2-Clause
"""A conversation with U-Boot: reach its prompt, run commands whose output and exit status are certain.

A prompt is a poor end marker: U-Boot prints `==> ` itself, in the middle of a line. So every command is framed,
`echo N-begin; COMMAND; echo N-end=$?` with a fresh N. The echo of what was typed can be mistaken for neither marker:
there, `N-begin` is followed by `;`, and `N-end=` by `$?`. A line is typed without its Enter first and compared with its
echo, so that a byte that the board's UART dropped does not become another command.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from router.console.serial_port import SerialPort
from router.control.milestones import BOOT_LOADER_FAILURE
from router.deploy.advice import SIGN_ON, explain
from router.deploy.boot import ESCAPES
from router.display import last_line
from router.errors import MachineError

CTRL_C = b"\x03"
TYPED_AT_ONCE = 16  # bytes: the smallest UART FIFO around
ECHO_TIMEOUT_S = 2.0  # longer than any board takes; an echo that lacks something costs this once a line
IDLE_S = 0.3
MAX_OUTPUT = 1 << 18  # characters of one command's output: progress marks of a large transfer fit many times
USUAL_CONTROLS = (0x07, 0x08, 0x09, 0x0A, 0x0D, 0x1B)  # of a boot loader that is understood: BEL, BS, TAB, LF, CR, ESC
KEYS_INTERVAL_S = 0.15  # between the keys that stop autoboot: a board may look for them in a fifth of a second only
AUTOBOOT = re.compile(
    r"(?i)(?:hit|press|enter) .{0,40}?(?:to|for) (?:stop|abort|interrupt|enter).{0,20}|autoboot(?:ing)? in \d+"
)
STARTED = re.compile(r"Starting kernel \.\.\.|## Starting application|Booting Linux on physical CPU|login: $")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command printed, between its markers, and its exit status."""

    output: str
    status: int


class UBoot:
    """U-Boot at the other end of `line`. sending is called with each command before it is sent.

    autoboot: the text that says when `stop_keys` are looked for, where it is not one of the usual ones.
    """

    def __init__(
        self,
        line: SerialPort,
        prompt: str,
        stop_keys: bytes = CTRL_C,
        sending: Callable[[str], None] = lambda _: None,
        autoboot: str | None = None,
    ) -> None:
        self.banner = ""
        self._line = line
        # Words may stand before the prompt (`u-boot=> `, `Verdin iMX8MM # `), but not just any text: `crc32 … ==> `
        # is no prompt. Behind it may be the keys that were sent against autoboot.
        typed = f"(?:{re.escape(_text(stop_keys))})*" if stop_keys.strip() else ""
        words = r"(?:^|[\r\n])(?:[\w.-]{1,24} ){0,3}[\w.-]{0,24}"
        self._prompt = re.compile(words + re.escape(ESCAPES.sub("", prompt).rstrip()) + rf" ?({typed})$")
        self._stop_keys = stop_keys
        self._autoboot = AUTOBOOT if autoboot is None else re.compile(f"{AUTOBOOT.pattern}|{re.escape(autoboot)}")
        self._sending = sending
        self._echoes = True

    def at_prompt(self, seconds: float) -> bool:
        """Whether a prompt answers within `seconds`; sends Ctrl-C, and a newline whenever the line is idle."""
        self._drain(0.05)
        self._line.write(CTRL_C)
        text, deadline = "", time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            data = self._line.read(min(IDLE_S, left))
            text = (text + _text(data))[-4000:]
            if not data:
                if self._prompt_at_end(text):
                    return True
                self._line.write(b"\r")
        return False

    def catch(self, seconds: float) -> None:
        """Wait for a reset board to come to U-Boot, stop its autoboot and get the prompt; MachineError otherwise.

        The keys are sent when the board says that it waits for them, and all the time from its sign-on to its prompt: a
        board may say so in words of its own or not at all, and for an instant only.
        """
        text, answered, deadline = "", 0, time.monotonic() + seconds
        heard = pressed = time.monotonic()
        received = self._line.total_received
        while (now := time.monotonic()) < deadline:
            data = self._line.read(min(KEYS_INTERVAL_S, deadline - now))
            now = time.monotonic()
            if data:
                text, heard = (text + _text(data))[-20000:], now
            if match := SIGN_ON.search(text):
                self.banner = text[match.start() :].strip()
            if (prompt := self._prompt_at_end(text)) and now - heard >= (IDLE_S if not prompt[1] else 0):
                if not prompt[1]:
                    return
                self._line.write(CTRL_C)  # gives up the line with the keys in it
                after = _text(self._drain(IDLE_S))
                again = self._prompt_at_end(after)
                if again and not again[1]:
                    return
                text, heard = (text + after)[-20000:], time.monotonic()
                continue
            if data:
                if re.search(BOOT_LOADER_FAILURE, text):
                    raise explain(text, "starting up")
                if STARTED.search(text):
                    raise MachineError(
                        "the board booted on: its autoboot was not stopped",
                        hint="`stop_keys` in the lab file says what to send and `autoboot` after which text, and"
                        " `setenv bootdelay 3; saveenv` gives time",
                        where=self._line.device,
                    )
            asked = len(self._autoboot.findall(text))
            if asked > answered or (match and not prompt and now - pressed >= KEYS_INTERVAL_S):
                answered, pressed = asked, now
                self._line.write(self._stop_keys)
            elif (match or answered) and now - heard >= IDLE_S and not prompt:
                heard = now
                self._line.write(b"\r")
        raise self._silence(text, self._line.total_received - received, seconds)

    def _prompt_at_end(self, text: str) -> re.Match[str] | None:
        """The prompt at which a text ends, if it does; group 1 is what was typed behind it."""
        return self._prompt.search(ESCAPES.sub("", text[-400:]))

    def run(
        self,
        command: str,
        seconds: float = 10.0,
        *,
        quiet: float | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> Reply:
        """Run one command and return its output and status.

        seconds: how long it may take in all; quiet: how long it may say nothing. watch sees all output so far after
        each read, and may raise. MachineError when it does not end in time, when the board resets under it, and when
        U-Boot is beyond talking to.
        """
        mark = self._submit(command)
        begin = re.compile(re.escape(f"{mark}-begin") + r"[\r\n]+")
        end = re.compile(re.escape(f"{mark}-end=") + r"(\d{1,9})[^\d]")
        unexpanded = re.compile(r"[\r\n]" + re.escape(f"{mark}-end=$?"))
        text, deadline, heard = "", time.monotonic() + seconds, time.monotonic()
        while True:
            data = self._line.read(0.1)
            now = time.monotonic()
            if data:
                heard = now
                text += _text(data)
                if len(text) > MAX_OUTPUT:
                    self.abandon()
                    raise MachineError(
                        f"the board prints without end (over {MAX_OUTPUT >> 10} KiB)",
                        hint=_last_words(text[-1000:]),
                        where=f"U-Boot: {command}",
                    )
                started = begin.search(text)
                output = text[started.end() :] if started else ""
                if started and (ended := end.search(text, started.end())):
                    self._drain_to_prompt(text[ended.end() - 1 :])
                    return Reply(_clean(text[started.end() : ended.start()]), int(ended.group(1)))
                self._fail_early(text, command)
                if started and unexpanded.search(output):
                    raise MachineError(
                        "this U-Boot's shell has no `$?`: exit statuses cannot be read",
                        hint="a U-Boot with CONFIG_HUSH_PARSER is needed",
                        where=f"U-Boot: {command}",
                    )
                if watch is not None and started:
                    watch(output)
            if now > deadline or (quiet is not None and now - heard > quiet):
                waited = now - heard if now <= deadline else seconds
                self.abandon()
                raise MachineError(
                    f"no answer within {waited:.0f} s", hint=_last_words(text), where=f"U-Boot: {command}"
                )

    def check(self, command: str, seconds: float = 10.0) -> str:
        """Run a command that must succeed; its output. MachineError explains what U-Boot said instead."""
        reply = self.run(command, seconds)
        if reply.status != 0:
            raise explain(reply.output, command)
        return reply.output

    def start(self, command: str) -> str:
        """Send a command that is not to return; a regular expression of what would show if it did."""
        return rf"{self._submit(command)}-end=\d"

    def abandon(self) -> None:
        """Leave whatever runs, so that the board is at its prompt (best effort, a second at most)."""
        for _ in range(3):
            self._line.write(CTRL_C)
            if self._prompt_at_end(_text(self._drain(IDLE_S))):
                return

    def _submit(self, command: str) -> str:
        """Type the framed command and press Enter; returns its mark."""
        self._sending(command)
        for _ in range(3):
            mark = f"r{secrets.token_hex(3)}"
            typed = f"echo {mark}-begin; {command}; echo {mark}-end=$?"
            echo = self._type(typed)
            if typed in echo or not self._echoes:
                self._line.write(b"\r")
                return mark
            self._line.write(CTRL_C)  # gives the line up
            self._drain(IDLE_S)
        raise MachineError(
            "the serial line garbles what is sent to the board",
            hint="check ground and cable length, or try a lower baud rate",
            where=self._line.device,
        )

    def _type(self, text: str) -> str:
        """Send text a FIFO at a time, waiting for each piece's echo; what was echoed, without line breaks."""
        self._drain(0.0)
        echo, sent = "", 0
        for at in range(0, len(text), TYPED_AT_ONCE):
            piece = text[at : at + TYPED_AT_ONCE]
            self._line.write(piece.encode())
            sent += len(piece)
            deadline = time.monotonic() + ECHO_TIMEOUT_S
            while self._echoes and len(echo) < sent and (left := deadline - time.monotonic()) > 0:
                echo += re.sub(r"[\r\n\x07]", "", _text(self._line.read(left)))
            if at == 0 and not echo:
                self._echoes = False  # this console does not echo: the markers alone must do
            if self._echoes and len(echo) < sent:
                break  # a byte was lost: the line is given up
        return echo

    def _drain(self, idle: float) -> bytes:
        """Read until the line is idle; a board that never stops talking is given a second."""
        data, deadline = b"", time.monotonic() + 1.0
        while (more := self._line.read(idle)) and time.monotonic() < deadline:
            data += more
        return data

    def _drain_to_prompt(self, text: str) -> None:
        deadline = time.monotonic() + 2
        while not self._prompt_at_end(text) and time.monotonic() < deadline:
            text += _text(self._line.read(0.1))

    def _fail_early(self, text: str, command: str) -> None:
        if re.search(BOOT_LOADER_FAILURE, text):
            raise explain(text, command)
        if match := SIGN_ON.search(text):
            raise MachineError(
                f"the board reset in the middle of this command ({match.group(1).strip()[:60]})",
                hint="power supply, watchdog, or a load address that the boot loader itself uses",
                where=f"U-Boot: {command}",
            )

    def _silence(self, text: str, received: int, seconds: float) -> MachineError:
        where = self._line.device
        if not received:
            return MachineError(
                f"the board says nothing within {seconds:.0f} s",
                hint="is it powered, is this its serial adapter, are RX and TX the right way round?",
                where=where,
            )
        strange = sum(1 for char in text if char == "\ufffd" or (ord(char) < 32 and ord(char) not in USUAL_CONTROLS))
        if strange * 4 > len(text):
            return MachineError(
                f"only garbage comes from the board at {self._line.baud} baud",
                hint="`baud` in the lab file is another than the board's, or the adapter's ground is loose",
                where=where,
            )
        return MachineError(
            f"no U-Boot prompt within {seconds:.0f} s",
            hint=_last_words(text) + "; does `prompt` fit this board?",
            where=where,
        )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _clean(output: str) -> str:
    return re.sub(r"\r+\n?", "\n", output).strip("\n")


def _last_words(text: str) -> str:
    said = last_line(text, 100)
    return f"its last line was: {said}" if said else "it printed nothing"
