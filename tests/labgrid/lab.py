# SPDX-License-Identifier: BSD-2-Clause
"""A lab of labgrid's on loopback: its own coordinator and exporter, scripted boards behind the exporter's serial ports.

labgrid is not installed where the tests run: its programs, and `router`, run in an environment of their own.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml

from router.lab.lock import me
from tests.deploy.fakeboard import FakeBoard
from tests.deploy.lab import CLIENT, SERVER
from tests.deploy.running_board import RunningBoard
from tests.support.patience import PATIENCE, free_port, wait_until

OWNER = "/".join(reversed(me()))
"""Who we are to labgrid: HOST/USER."""
ALICE = {"LG_HOSTNAME": "elsewhere", "LG_USERNAME": "alice"}


class PowerSwitch:
    """A network power switch of labgrid's model `simplerest`; switching an outlet on touches the file of its board."""

    def __init__(self, files: Sequence[Path]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outlet, _, value = self.path.strip("/").partition("/")
                if value == "1":
                    files[int(outlet)].touch()
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/{{index}}/{{value}}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Lab:
    """The lab. names: of its boards, which are also their places and groups of resources. python: with labgrid.

    live: a board on which a system runs, behind a raw TCP port; its place has this name.
    """

    live = "live"

    def __init__(
        self,
        python: Path,
        folder: Path,
        names: Sequence[str],
        board: RunningBoard | None = None,
        offers: dict[str, object] | None = None,
        isolated: bool = False,
    ) -> None:
        """offers: more resources of each board's place. isolated: the exporter is reached by SSH only."""
        self.python = python
        self.folder = folder
        self.names = names
        self._live = board
        self._offers = offers or {}
        self._isolated = isolated
        self._sockets = tempfile.TemporaryDirectory(prefix="brd")  # paths of unix sockets are limited to 108 bytes
        self.coordinator = f"127.0.0.1:{free_port()}"
        self.boards: dict[str, FakeBoard] = {}
        self.file = folder / "boards.yaml"
        self._stack = contextlib.ExitStack()
        self._programs: list[subprocess.Popen[bytes]] = []
        self._logs: dict[str, IO[bytes]] = {}

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            resets = [self.folder / f"reset-{name}" for name in self.names]
            switch = PowerSwitch(resets)
            stack.callback(switch.close)
            stack.enter_context(self._sockets)
            exported: dict[str, object] = {}
            if self._live is not None:
                port = int(self._live.device.rpartition(":")[2])
                exported[self.live] = {"NetworkSerialPort": {"host": "127.0.0.1", "port": port, "protocol": "raw"}}
            for number, name in enumerate(self.names):
                board = self.boards[name] = stack.enter_context(FakeBoard(reset_file=resets[number]))
                exported[name] = {
                    "RawSerialPort": {"port": board.device},
                    "NetworkPowerPort": {"model": "simplerest", "host": switch.url, "index": number},
                    **self._offers,
                }
            (self.folder / "exporter.yaml").write_text(yaml.safe_dump(exported))
            (self.folder / "places.yaml").write_text(yaml.safe_dump({name: self._place(name) for name in exported}))
            self.write_lab_file()
            stack.callback(self._stop)
            self._start("coordinator", "-l", self.coordinator)
            assert wait_until(self._answers, 5 * PATIENCE), self.said("coordinator")
            options = ["-c", self.coordinator, "-n", "bench", "--hostname", "127.0.0.1"]
            options += ["--isolated"] if self._isolated else []
            self._start("exporter", *options, "exporter.yaml")
            assert wait_until(lambda: "Exporter ready" in self.said("exporter"), 5 * PATIENCE), self.said("exporter")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write_lab_file(self, **extra: object) -> None:
        """Boards of these names, which are places of the coordinator."""
        port = free_port()
        entries: dict[str, object] = {
            name: {
                "board": "fake",
                "labgrid": {"place": name, "coordinator": self.coordinator},
                "network": {"board": f"127.0.0.{number}/8", "server": SERVER},
                "tftp": {"port": port},
                **extra,
            }
            for number, name in enumerate(self.names, int(CLIENT.rpartition(".")[2]))
        }
        # The coordinator is the environment variable's.
        entries[self.live] = {"board": "fake", "labgrid": {"place": self.live}, "load": "ymodem"}
        self.file.write_text(json.dumps({"boards": entries}))

    def said(self, program: str) -> str:
        """What the coordinator or the exporter has printed so far."""
        return (self.folder / f"{program}.log").read_text(errors="replace")

    def owners(self, place: str) -> list[str]:
        """Who has acquired the place, in order; `-` where it was released."""
        found = []
        for line in self.said("coordinator").splitlines():
            if line.startswith(f"{place}: place "):
                found.append(line.rpartition(" ")[2] if " acquired by " in line else "-")
        return found

    def kill_coordinator(self) -> None:
        """It goes away."""
        self._programs[0].kill()
        self._programs[0].wait(PATIENCE)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LG_"))}
        return kept | {
            "ROUTER_LOCK_DIR": str(self.folder / "locks"),
            "ROUTER_LAB": str(self.file),
            "XDG_RUNTIME_DIR": self._sockets.name,
            "LG_COORDINATOR": self.coordinator,
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def pytest(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A run of pytest in the environment with labgrid."""
        return self._run("pytest", "-p", "no:cacheprovider", *arguments)

    def router(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command line of router's, to its end."""
        return self._run("router", *arguments)

    def client(self, *arguments: str, **who: str) -> subprocess.CompletedProcess[str]:
        """A command line of labgrid-client's, by another where `who` says so."""
        return self._run("labgrid.remote.client", "-x", self.coordinator, *arguments, **who)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[Command]:
        """A command line of router's, meanwhile."""
        command = Command([str(self.python), "-m", "router", *arguments], self.environment, self.folder)
        try:
            yield command
        finally:
            command.process.kill()
            command.process.wait(PATIENCE)

    def _run(self, module: str, *arguments: str, **who: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.python, "-m", module, *arguments],
            capture_output=True,
            text=True,
            timeout=6 * PATIENCE,
            check=False,
            env=self.environment | who,
            stdin=subprocess.DEVNULL,
        )
        print(module, arguments, done.returncode, done.stdout, done.stderr, sep="\n")
        return done

    def _answers(self) -> bool:
        host, _, port = self.coordinator.partition(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), PATIENCE):
            return True
        return False

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("wb") as log:
            command = [str(self.python), "-m", f"labgrid.remote.{program}", *arguments]
            self._programs.append(
                subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=self.environment)
            )

    def _stop(self) -> None:
        for program in reversed(self._programs):
            program.terminate()
            program.wait(PATIENCE)

    def _place(self, name: str) -> dict[str, object]:
        match = {"exporter": "bench", "group": name, "cls": "*", "name": None, "rename": None}
        now = time.time()
        return {"aliases": [], "comment": "", "tags": {}, "matches": [match], "created": now, "changed": now}


class Command:
    """A command that runs; its output goes to a file."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self._log = folder / f"command-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def says(self, text: str, board: str = "") -> bool:
        """Whether it says this, now or soon; with `board`, in a line of that board."""

        def said() -> bool:
            return any(text in line and line.startswith(board) for line in self.said.splitlines())

        wait_until(lambda: said() or self.process.poll() is not None, 5 * PATIENCE, 0.05)
        return said()

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(5 * PATIENCE)
