# SPDX-License-Identifier: BSD-2-Clause
"""Stands in for QEMU with a Microkit system: a monitor that agrees, a serial line that says a file's lines, agents.

FAKE_QEMU_LINES names the file; a line `!end` in it ends the program with code 3, `!kill` by SIGKILL.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from tests.support.fake_mux import FakeMux

greeted = threading.Event()
PORTS = ("server", "server.control", "client", "client.control")


def connect(name: str) -> socket.socket:
    """The socket that the chardev of that name connects to."""
    option = next(word for word in sys.argv if word.startswith(f"socket,id={name},"))
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(option.split("path=")[1].split(",")[0])
    return stream


def monitor(stream: socket.socket) -> None:
    """Answers every command."""
    stream.sendall(json.dumps({"QMP": {}}).encode() + b"\n")
    for line in stream.makefile("rb"):
        stream.sendall(b'{"return": {}}\n')
        if json.loads(line)["execute"] == "qmp_capabilities":
            greeted.set()


Answer = Callable[[str, str], tuple[int, bytes]]
"""Runs a shell command in a guest: exit code and output."""


def shell(guest: str, command: str) -> tuple[int, bytes]:
    """Every guest is this computer."""
    run = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, check=False)
    return run.returncode, run.stdout


def agent(port: str, command: bytes, mux: FakeMux, answer: Answer) -> None:
    """One line on a control channel."""
    words = command.split()
    guest = port.split(".")[0]
    if not words:
        mux.say(port, f"router-agent 1 {guest}".encode())
    elif len(words) == 2 and words[1] != b"kill":
        code, output = answer(guest, base64.b64decode(words[1]).decode())
        if output:
            mux.say(port, words[0] + b" o " + base64.b64encode(output))
        mux.say(port, b"%s x %d" % (words[0], code))


def keyboard(line: socket.socket, mux: FakeMux, answer: Answer = shell) -> None:
    """Reads what is typed, as the multiplexer does."""
    typed = dict.fromkeys(mux.ports, b"")
    while data := line.recv(1024):
        for port, part in mux.take(data):
            *commands, typed[port] = (typed[port] + part).split(b"\n")
            for command in commands:
                if port.endswith(".control"):
                    agent(port, command, mux, answer)
                else:
                    mux.say(port, b"typed " + command)


def main() -> None:
    if "--version" in sys.argv:
        print("QEMU emulator version 11.1.3")
        return
    line, machine = connect("line"), connect("qmp")
    mux = FakeMux(PORTS, line.sendall)
    threading.Thread(target=monitor, args=(machine,), daemon=True).start()
    reader = threading.Thread(target=keyboard, args=(line, mux))
    reader.start()
    greeted.wait()
    for text in Path(os.environ["FAKE_QEMU_LINES"]).read_text().splitlines():
        if text == "!end":
            os._exit(3)
        if text == "!kill":
            os.kill(os.getpid(), signal.SIGKILL)
        mux.line(text)
    reader.join()


if __name__ == "__main__":
    main()
