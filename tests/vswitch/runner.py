# SPDX-License-Identifier: BSD-2-Clause
"""The core behind a line protocol (c/runner.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from router.vswitch import SwitchConfig, render_host
from tests.support.patience import PATIENCE
from tests.vswitch.frames import NO_OFFLOAD, Offload


class Runner:
    """One process with the core in it, compiled with the sanitizers."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ask(self, line: str) -> str:
        """One line there, one line back; what the sanitizer says when the process has died of it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            assert self._process.stderr is not None
            raise AssertionError(f"the core died of: {line[:200]}\n{self._process.stderr.read()}")
        return answer.strip()

    def configure_text(self, text: str) -> str:
        path = self.folder / "switch.conf"
        path.write_text(text)
        return self.ask(f"config {path}")

    def configure(self, config: SwitchConfig) -> None:
        answer = self.configure_text(render_host(config))
        assert answer == "ok", answer

    def judge(self, port: int, frame: bytes, offload: Offload = NO_OFFLOAD) -> tuple[set[int], str]:
        """The ports that get the frame, and the reason for dropping it, or "pass"."""
        ports, reason, _ = self.deliver(port, frame, offload)
        return ports, reason

    def deliver(self, port: int, frame: bytes, offload: Offload) -> tuple[set[int], str, Offload]:
        """The same, and the metadata as receivers get it."""
        answer = self._frame(port, frame, offload)
        ports = {number for number in range(64) if int(answer[0], 16) >> number & 1}
        return ports, answer[1], Offload(*map(int, answer[3:]))

    def asks(self, port: int, frame: bytes, offload: Offload = NO_OFFLOAD) -> bool:
        """Whether the frame passes in its sender's own right, and may expect an answer."""
        return self._frame(port, frame, offload)[2] == "1"

    def _frame(self, port: int, frame: bytes, offload: Offload) -> list[str]:
        return self.ask(f"frame {port} {frame.hex() or '-'} {' '.join(map(str, offload))}").split()

    def link(self, port: int, up: bool) -> None:
        assert self.ask(f"link {port} {int(up)}") == "ok"

    def counters(self, port: int) -> tuple[int, int, dict[str, int]]:
        """Frames, bytes and drops by reason of what came in from the port."""
        frames, size, *drops = self.ask(f"counters {port}").split()
        return int(frames), int(size), {name: int(count) for name, count in (drop.split("=") for drop in drops)}

    def complaint(self) -> str:
        """Ends it; what it has written to standard error."""
        return self._process.communicate(timeout=PATIENCE)[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=PATIENCE)
