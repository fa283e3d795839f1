# SPDX-License-Identifier: BSD-2-Clause
"""QEMU's machine protocol (docs/interop/qmp-spec): plug and unplug devices, ask for the state of a running machine."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

from router.errors import MachineError


class Qmp:
    """A connection to one QEMU's monitor. Commands are answered in order; events in between are dropped.

    Any thread may use it.
    """

    def __init__(self, stream: socket.socket, timeout: float = 60.0) -> None:
        self._stream = stream
        self._stream.settimeout(timeout)
        self._file = stream.makefile("rb")
        self._turn = threading.Lock()
        try:
            self._read()
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def _read(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
        except TimeoutError as error:
            raise MachineError("QEMU's monitor does not answer") from error
        except ConnectionResetError:
            line = b""
        if not line:
            raise MachineError("QEMU closed its monitor", hint="it ended: see its log")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise MachineError(f"QEMU's monitor does not speak its protocol: {line[:80]!r}", hint="see QEMU's log")
        return message

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command; its `return` value. MachineError with QEMU's words when it refuses."""
        request = {"execute": command, "arguments": {key.replace("_", "-"): value for key, value in arguments.items()}}
        with self._turn:
            try:
                self._stream.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                raise MachineError("QEMU closed its monitor", hint="it ended: see its log") from error
            while True:
                answer = self._read()
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise MachineError(f"QEMU refuses {command}: {answer['error'].get('desc')}")

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._stream.close()
