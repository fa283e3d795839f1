# SPDX-License-Identifier: BSD-2-Clause
"""The running host process: start it, ask it for its counters, stop it."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from router.errors import HostError, MachineError
from router.vswitch.config import SwitchConfig
from router.vswitch.render import render_host

SOCKET_PATH_MAX = 107
"""Bytes that a unix socket's address holds (unix(7): sun_path is 108 with the final zero)."""
START_TIMEOUT = 60.0
"""Seconds until it listens; when it ends instead, that is noticed at once."""
STOP_TIMEOUT = 20.0
"""Seconds that it has to write its counters and end, before it is killed."""


@dataclass(frozen=True)
class VsockCounters:
    """One vsock device's counters since the switch started. rx came in from the guest, tx was delivered to it."""

    connected: bool
    """Its QEMU is there, and the guest's driver runs the device."""
    links: int
    """How often a QEMU has connected."""
    rx_packets: int
    rx_bytes: int
    """Bytes are payload, without headers."""
    tx_packets: int
    tx_bytes: int
    queued_bytes: int
    """Waiting for the guest to offer buffers, headers included."""
    queued_peak_bytes: int
    blocked: bool
    """Not read at the moment, because its next packet is for a guest without room for it."""
    open: int
    """vsock connections now, in either direction."""
    faults: int
    """How often its QEMU or its guest broke the protocol and was cut off."""
    drops: Mapping[str, int]
    """Packets from this guest by the reason for not passing them; the names are in vswitch/core/vsock.h."""


@dataclass(frozen=True)
class PortCounters:
    """One port's counters since the switch started. rx came in from the guest, tx was delivered to it.

    A guest that has a vsock device alone has zeros in all but `vsock`.
    """

    connected: bool = False
    connections: int = 0
    rx_frames: int = 0
    rx_bytes: int = 0
    tx_frames: int = 0
    tx_bytes: int = 0
    queued_bytes: int = 0
    """Waiting for the guest to take them, length prefixes included."""
    queued_peak_bytes: int = 0
    lost_bytes: int = 0
    """Waiting for the guest when it went away."""
    blocked: bool = False
    """Not read at the moment, because its next frame is for a guest whose queue is full."""
    drops: Mapping[str, int] = field(default_factory=dict)
    """Frames from this guest by the reason for dropping them; the names are in vswitch/core/vswitch.h."""
    vsock: VsockCounters | None = None
    """None for a guest without a vsock device."""


def parse_counters(text: str) -> dict[str, PortCounters]:
    """The host process's JSON, by port name; MachineError when it is cut short."""
    try:
        return counters_of(json.loads(text)["ports"])
    except ValueError as problem:
        raise MachineError(f"the switch's counters cannot be read: {problem}") from problem


def counters_of(ports: Mapping[str, Mapping[str, Any]] | None) -> dict[str, PortCounters]:
    """Counters from plain values, by port name. MachineError when there are none, or their fields are others."""
    if ports is None:
        raise MachineError("this system does not say what its switch has counted")
    try:
        return {
            name: PortCounters(**{**row, "vsock": VsockCounters(**row["vsock"]) if row.get("vsock") else None})
            for name, row in ports.items()
        }
    except TypeError as problem:
        raise MachineError(
            f"the switch's counters have other fields than this router knows: {problem}",
            hint="use the router that runs the system",
        ) from problem


class SwitchProcess:
    """The switch as a child process. It ends with the thread that started it, at the latest (PR_SET_PDEATHSIG)."""

    def __init__(
        self,
        program: Path,
        config: SwitchConfig,
        folder: Path,
        *,
        capture: Path | None = None,
        stall_ms: int | None = None,
    ) -> None:
        """Nothing starts yet. `folder` is for its files: sockets, configuration, counters.json, vswitch.log.

        capture: a pcapng file of all frames. stall_ms: after how long a guest that takes nothing is given up on,
        0 for never (the process's own choice without). HostError when the folder's path is too long for sockets.
        """
        self.config = config
        self.folder = folder
        self.log = folder / "vswitch.log"
        self._counters = folder / "counters.json"
        self._process: subprocess.Popen[str] | None = None
        sockets = [self.control, *(self.socket(port.name) for port in config.ports)]
        sockets += [self.vsock_socket(port.name) for port in config.vsock_ports]
        longest = max(sockets, key=lambda path: len(str(path)))
        if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
            raise HostError(
                f"the path of the switch's socket {longest} has over {SOCKET_PATH_MAX} bytes",
                hint="build into a folder with a shorter path",
            )
        self._command = [str(program), "--config", str(folder / "vswitch.conf"), "--sockets", str(folder)]
        self._command += ["--counters", str(self._counters)]
        self._command += ["--pcap", str(capture)] if capture else []
        self._command += ["--stall", str(stall_ms)] if stall_ms is not None else []

    @property
    def control(self) -> Path:
        """The socket that answers with the counters."""
        return self.folder / "control"

    @property
    def pid(self) -> int | None:
        """None before it has started."""
        return self._process.pid if self._process else None

    def socket(self, port: str) -> Path:
        """Where the QEMU of this port connects: `-netdev stream,server=off,addr.type=unix,addr.path=…`."""
        return self.folder / f"{port}.sock"

    def vsock_socket(self, port: str) -> Path:
        """Where the QEMU of this port connects for `vhost-user-vsock-device`: `-chardev socket,path=…`."""
        return self.folder / f"{port}.vsock"

    def start(self) -> Self:
        """Start it and wait until it listens. MachineError, with its own words, when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._counters.unlink(missing_ok=True)
        (self.folder / "vswitch.conf").write_text(render_host(self.config))
        with self.log.open("w") as log:
            # A session of its own keeps the terminal's Ctrl-C from it: the guests end first.
            self._process = subprocess.Popen(
                [*self._command, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        if self._first_line() != "ready\n":
            self.stop()
            raise MachineError("the switch did not start", hint=self.last_words(), where=str(self.log))
        return self

    def _first_line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            return self._process.stdout.readline() if selector.select(START_TIMEOUT) else ""

    def ended(self) -> int | None:
        """The exit code, or None while it runs (or has not been started)."""
        return self._process.poll() if self._process else None

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:]) if self.log.exists() else ""

    def counters(self) -> dict[str, PortCounters]:
        """The counters now, by port name. MachineError when the switch has ended."""
        chunks = []
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
                control.settimeout(START_TIMEOUT)
                control.connect(str(self.control))
                while chunk := control.recv(65536):
                    chunks.append(chunk)
        except OSError as problem:
            raise MachineError(f"the switch does not answer: {problem}", hint=self.last_words()) from problem
        return parse_counters(b"".join(chunks).decode())

    def stop(self) -> dict[str, PortCounters]:
        """End it, and its last counters ({} when it never got to serve). Stopping twice is harmless."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.terminate()
                try:
                    self._process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        return parse_counters(self._counters.read_text()) if self._counters.exists() else {}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
