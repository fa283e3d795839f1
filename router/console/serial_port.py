# SPDX-License-Identifier: BSD-2-Clause
"""The board's serial port: opened exclusively, read with timeouts, every byte kept in a timestamped log."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from router import files
from router.errors import HostError, MachineError
from router.words import did_you_mean

BY_ID = Path("/dev/serial/by-id")
MAX_READ = 4096
POLL_S = 0.005
"""Between looks at a port that select cannot wait on."""
REASON_TIMEOUT_S = 5.0
"""For the reason why a line that others may take from us has gone."""


class SerialPort:
    """Bytes to and from a serial device, an rfc2217:// or socket:// URL, or anything else that pyserial opens.

    device: path or URL. baud: bits per second. log: file that the raw console goes to, each line with the UTC time
    at which its first byte came (None: not kept). check: called before each use, to raise once the line is not ours
    any more. A context manager: the device is closed, and its terminal settings
    are restored, at exit. HostError when it cannot be opened; MachineError when it vanishes.
    """

    def __init__(
        self, device: str, baud: int, log: Path | None = None, check: Callable[[], None] | None = None
    ) -> None:
        self.device = device
        self._check = check
        self.baud = baud
        self.last_heard = time.monotonic()
        self.opened = False
        self.total_received = 0
        self.tap: Callable[[bytes], None] | None = None
        self._log_path = log
        self._log: files.Log | None = None
        self._log_at_start = True
        self._port: Any = None
        self._settings: list[Any] | None = None

    def __enter__(self) -> SerialPort:
        import serial

        self._settings = _terminal_settings(self.device)
        try:
            if "://" in self.device:
                self._port = serial.serial_for_url(self.device, baudrate=self.baud, timeout=0)
            else:
                self._port = serial.Serial(self.device, self.baud, timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as error:
            raise _open_error(self.device, error) from None
        self.opened = True
        if self._log_path is not None:
            self._log_path.parent.mkdir(parents=True, exist_ok=True)
            self._log = files.Log(self._log_path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._port is not None:
            _restore(self._port, self._settings)
            self._port.close()
        if self._log is not None:
            self._log.close()

    def read(self, seconds: float) -> bytes:
        """What has come in; waits at most `seconds` for the first byte. Empty: nothing came."""
        if self._check is not None:
            self._check()
        data = self._receive(seconds)
        if data:
            self.last_heard = time.monotonic()
            self.total_received += len(data)
            self._keep(data)
            if self.tap is not None:
                self.tap(data)
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        if self._check is not None:
            self._check()
        view = memoryview(data)
        deadline = time.monotonic() + 10 + len(data) * 20 / self.baud
        while view:
            try:
                view = view[self._port.write(view) or 0 :]
            except OSError as error:  # pyserial's SerialException is one
                raise self._gone(error) from None
            if view and time.monotonic() > deadline:
                raise MachineError(
                    "the serial line takes no more bytes",
                    hint="flow control? unplug the adapter, plug it in again",
                    where=self.device,
                )

    def _receive(self, seconds: float) -> bytes:
        try:
            descriptor = self._descriptor()
            if descriptor is not None:
                if not select.select([descriptor], [], [], max(seconds, 0))[0]:
                    return b""
                return bytes(self._port.read(65536))
            # With its time-out at 0: to set it makes an rfc2217:// port negotiate all of its settings again.
            end = time.monotonic() + seconds
            while not (data := self._at_once()) and time.monotonic() < end:
                time.sleep(POLL_S)
            return data
        except OSError as error:
            raise self._gone(error) from None

    def _at_once(self) -> bytes:
        """What is there already; such a port may give it a byte at a time."""
        data = bytearray()
        while len(data) < MAX_READ and (more := self._port.read(MAX_READ)):
            data += more
        return bytes(data)

    def _descriptor(self) -> int | None:
        """What select can wait on; URL handlers may have none."""
        fileno = getattr(self._port, "fileno", None)
        try:
            return int(fileno()) if fileno is not None else None
        except OSError:
            return None

    def _gone(self, error: OSError) -> MachineError:
        if self._check is not None:
            # A line that another takes is closed first, and a moment later we hear that it is not ours.
            end = time.monotonic() + REASON_TIMEOUT_S
            while time.monotonic() < end:
                self._check()
                time.sleep(0.1)
        return MachineError(
            f"the serial line went away: {error}",
            hint="is the adapter still plugged in, and does another program read the same device?",
            where=self.device,
        )

    def _keep(self, data: bytes) -> None:
        if self._log is None:
            return
        out = bytearray()
        for piece in data.splitlines(keepends=True):
            if self._log_at_start:
                now = time.time()
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
                out += f"{stamp}.{int(now * 1000) % 1000:03d}Z ".encode()
            out += piece
            self._log_at_start = piece.endswith(b"\n")
        self._log.write(bytes(out))


def candidates() -> list[str]:
    """The serial devices of this host, the lasting names (by-id) where there are some."""
    if BY_ID.is_dir():
        return sorted(str(path) for path in BY_ID.iterdir())
    from serial.tools import list_ports

    return sorted(port.device for port in list_ports.comports() if port.hwid != "n/a")


def _open_error(device: str, error: Exception) -> HostError:
    number = getattr(error, "errno", None)
    if not Path(device).exists() and "://" not in device:
        known = candidates()
        near = did_you_mean(device, known)
        if near:
            hint = near
        elif known:
            hint = "this host has " + ", ".join(known)
        else:
            hint = "no serial adapter is plugged in here (/dev/serial/by-id is empty)"
        return HostError("no such serial device", hint=hint, where=device)
    if number == 13:
        return HostError(
            "no permission to open the serial device",
            hint="join the device's group (usually: sudo usermod -aG dialout $USER) and log in again",
            where=device,
        )
    if number == 11 or "exclusively lock" in str(error) or number == 16:
        return HostError(
            "another program has the serial device open", hint="close it: fuser -v shows which", where=device
        )
    return HostError(f"cannot open the serial device: {error}", where=device)


def _terminal_settings(device: str) -> list[Any] | None:
    """The device's termios attributes before pyserial changes them (pyserial does not put them back)."""
    import termios

    if "://" in device:
        return None
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return None  # opening it properly will say why
    try:
        return termios.tcgetattr(descriptor)
    except termios.error:
        return None
    finally:
        os.close(descriptor)


def _restore(port: Any, settings: list[Any] | None) -> None:
    import termios

    if settings is None:
        return
    try:
        termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)
    except (termios.error, OSError):
        return  # the device is gone, and its settings with it
