# SPDX-License-Identifier: BSD-2-Clause
"""A scripted U-Boot on a pty, with the faults that a real one does not show on request.

It keeps an environment and a memory, fetches by TFTP for real (from the address it was given on loopback) and answers
like U-Boot 2023.01 does. A fault is a field of Faults.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import socket
import struct
import termios
import threading
import time
import tty
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.patience import PATIENCE, wait_until

SIGN_ON = "\r\n\r\nU-Boot 2023.01 (Jan 01 2024 - 00:00:00 +0000)\r\n\r\nModel: Fake Board\r\nDRAM:  1 GiB\r\n"
COUNTDOWN = "Hit any key to stop autoboot:  2 "


@dataclass(frozen=True)
class Faults:
    """What goes wrong. `reset` is the command during which the board resets, `unknown` are commands it lacks.

    countdown: seconds after a reset in which it lets itself be stopped; autoboot: nothing stops it.
    asking: what it prints then; keys: what stops it ("": anything); instant: the seconds after a reset at which it
    begins to look for them, for 0.2 s only (0: all the time). prompt: its own.

    gate: a file; after `boot` the rest of a good boot follows when it appears.
    """

    one_byte: bool = False
    no_echo: bool = False
    drop_echo: int = 0
    garbage: bool = False
    silent: bool = False
    autoboot: bool = False
    countdown: float = PATIENCE
    asking: str = COUNTDOWN
    keys: str = ""
    instant: float = 0.0
    prompt: str = "=> "
    reset: str = ""
    unknown: tuple[str, ...] = ()
    tftp: str = ""
    corrupt: bool = False
    board: str = "qemu-arm"
    hangs: str = ""
    returns: bool = False
    boot: tuple[str, ...] = ("LDR|INFO: altloader", "Booting all finished", "server| up", "client| up")
    gate: str = ""
    ram: tuple[int, int] = (0x40000000, 0x40000000)


class FakeBoard:
    """Runs in a thread; `device` is its serial line. Touching `reset_file` resets it, as a power hook does."""

    def __init__(self, faults: Faults = Faults(), reset_file: Path | None = None) -> None:
        self.faults = faults
        self.commands: list[str] = []
        self.memory: dict[int, bytes] = {}
        self.environment = {"board": faults.board, "board_name": faults.board, "bootdelay": "2"}
        self.saved = False
        self.received = b""
        self._reset_file = reset_file
        self._master, self._slave = pty.openpty()
        self.device = os.ttyname(self._slave)
        tty.setraw(self._slave)
        self.settings = termios.tcgetattr(self._slave)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._status = 0
        self._counting = 0.0
        self._echo_faults = faults.drop_echo

    def __enter__(self) -> FakeBoard:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def speak(self, data: bytes) -> None:
        """Say something by itself."""
        os.write(self._master, data)

    def heard(self, data: bytes) -> bool:
        """Whether exactly this has come in by now, or comes soon."""
        return wait_until(lambda: self.received == data)

    def terminal(self) -> list[Any]:
        """The line's settings now."""
        return termios.tcgetattr(self._slave)

    def _run(self) -> None:
        typed = seen = ""
        while not self._stop.is_set():
            if self._reset_file is not None and self._reset_file.exists():
                self._reset_file.unlink()
                self._reset()
            if self.faults.garbage:
                self._say(bytes(range(128, 160)) * 4)
            if self._counting and time.monotonic() > self._counting:
                self._counting = 0.0
                self._say("\x08\x08\x08 0 \r\nStarting kernel ...\r\n\r\n")
            if not select.select([self._master], [], [], 0.02)[0]:
                continue
            data = os.read(self._master, 4096)
            self.received += data
            if self.faults.silent or self.faults.garbage:
                continue
            for char in data.decode("latin-1"):
                if self._counting and self.faults.autoboot:
                    continue
                if self._counting:
                    seen = (seen + char)[-32:]
                    if not seen.endswith(self.faults.keys) or not self._looks():
                        continue
                    self._counting = 0.0
                    self._say("\x08\x08\x08 0 \r\n" + self.faults.prompt)
                    typed = ""
                elif char == "\x03":
                    typed = ""
                    self._say("<INTERRUPT>\r\n" + self.faults.prompt)
                elif char == "\r":
                    self._say("\r\n")
                    self._line(typed)
                    typed = ""
                else:
                    typed += char
                    self._echo(char)

    def _ends(self) -> bool:
        """Whether what runs comes to its end, by a reset or with the test."""
        return self._stop.is_set() or (self._reset_file is not None and self._reset_file.exists())

    def _looks(self) -> bool:
        """Whether it looks for keys just now."""
        since = time.monotonic() - self._counting + self.faults.countdown - self.faults.instant
        return not self.faults.instant or 0 <= since < 0.2

    def _echo(self, char: str) -> None:
        if self.faults.no_echo:
            return
        if self._echo_faults and char == "e":
            self._echo_faults -= 1
            return
        self._say(char)

    def _say(self, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        if self.faults.silent:
            return
        for piece in [data[i : i + 1] for i in range(len(data))] if self.faults.one_byte else [data]:
            os.write(self._master, piece)
            if self.faults.one_byte:
                time.sleep(0.0002)

    def _reset(self) -> None:
        self._say(SIGN_ON + self.faults.asking)
        self._counting = time.monotonic() + self.faults.countdown

    def _line(self, line: str) -> None:
        for command in re.split(r";\s*", line):
            command = command.strip()
            if not command:
                continue
            if not command.startswith("echo r"):
                self.commands.append(command)
            if self.faults.hangs and command.startswith(self.faults.hangs):
                self._stop.wait(60)
                return
            if self.faults.reset and command.startswith(self.faults.reset):
                self._reset()
                return
            self._status = self._command(command.replace("$?", str(self._status)).split())
        self._say(self.faults.prompt)

    def _command(self, words: list[str]) -> int:
        name, rest = words[0], words[1:]
        if name in self.faults.unknown:
            self._say(f"Unknown command '{name}' - try 'help'\r\n")
            return 1
        if name == "echo":
            self._say(" ".join(rest) + "\r\n")
            return 0
        if name == "setenv":
            self.environment[rest[0]] = " ".join(rest[1:])
            return 0
        if name == "printenv":
            for key in rest:
                self._say(
                    f"{key}={self.environment[key]}\r\n"
                    if key in self.environment
                    else f'## Error: "{key}" not defined\r\n'
                )
            return 0 if all(key in self.environment for key in rest) else 1
        if name == "saveenv":
            self.saved = True
            self._say("Saving Environment to nowhere... OK\r\n")
            return 0
        if name == "bdinfo":
            start, size = self.faults.ram
            self._say(f"DRAM bank   = 0x0\r\n-> start    = {start:#018x}\r\n-> size     = {size:#018x}\r\n")
            self._say("relocaddr   = 0x000000007fe4c000\r\n")
            return 0
        if name == "crc32":
            return self._crc(int(rest[0], 16), int(rest[1], 16))
        if name == "tftpboot":
            return self._tftpboot(int(rest[0], 16), rest[1])
        if name == "dhcp":
            self.environment["ipaddr"] = "127.0.0.2"
            self._say("BOOTP broadcast 1\r\nDHCP client bound to address 127.0.0.2 (2 ms)\r\n")
            return 0
        if name == "go":
            self._say(f"## Starting application at {rest[0]} ...\r\n")
            if self.faults.returns:
                self._say("## Application terminated, rc = 0x1\r\n")
                return 1
            for text in self.faults.boot:
                self._say(text + "\r\n")
            gate = Path(self.faults.gate)
            wait_until(lambda: self._ends() or not self.faults.gate or gate.exists(), interval=0.05)
            for text in Faults().boot if self.faults.gate and not self._ends() else ():
                self._say(text + "\r\n")
            wait_until(self._ends, interval=0.05)
            return 0
        self._say(f"Unknown command '{name}' - try 'help'\r\n")
        return 1

    def _crc(self, address: int, size: int) -> int:
        data = self.memory.get(address, b"")[:size].ljust(size, b"\0")
        if self.faults.corrupt:
            data = bytes([data[0] ^ 1]) + data[1:]
        self._say(f"crc32 for {address:08x} ... {address + size - 1:08x} ==> {zlib.crc32(data):08x}\r\n")
        return 0

    def _tftpboot(self, address: int, name: str) -> int:
        env = self.environment
        self._say(f"TFTP from server {env['serverip']}; our IP address is {env['ipaddr']}\r\nLoading: *")
        if self.faults.tftp:
            self._say(self.faults.tftp)
            return 1
        data = fetch(env["ipaddr"], (env["serverip"], int(env.get("tftpdstp", "69"))), name)
        if isinstance(data, str):
            self._say(f"\r\nTFTP error: '{data}' (1)\r\nNot retrying...\r\n")
            return 1
        self.memory[address] = data
        env["filesize"] = f"{len(data):x}"
        self._say(f"##########\r\n\t 2.1 MiB/s\r\ndone\r\nBytes transferred = {len(data)} ({len(data):x} hex)\r\n")
        return 0


def fetch(source: str, server: tuple[str, int], name: str, blksize: int = 1468) -> bytes | str:
    """A small TFTP client that binds to `source`; the file, or the server's error text."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind((source, 0))
        sock.settimeout(PATIENCE)
        sock.sendto(b"\0\x01" + f"{name}\0octet\0blksize\0{blksize}\0".encode(), server)
        out, block = bytearray(), 0
        while True:
            packet, peer = sock.recvfrom(65536)
            opcode, number = struct.unpack_from(">HH", packet)
            if opcode == 5:
                return packet[4:-1].decode()
            if opcode == 6:
                number = 0
            elif number == (block + 1) & 0xFFFF:
                out += packet[4:]
                block += 1
            sock.sendto(struct.pack(">HH", 4, number), peer)
            if opcode == 3 and len(packet) < blksize + 4:
                return bytes(out)
