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
from pathlib import Path

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


def agent(port: str, command: bytes, line: socket.socket) -> None:
    """One line on a control channel."""
    words = command.split()
    if not words:
        line.sendall(f"{port}| router-agent 1 {port.split('.')[0]}\r\n".encode())
    elif len(words) == 2 and words[1] != b"kill":
        run = subprocess.run(["sh", "-c", base64.b64decode(words[1])], capture_output=True, check=False)
        shown = base64.b64encode(run.stdout).decode()
        answer = f"{words[0].decode()} o {shown}" if shown else ""
        pieces = [answer[at : at + 240] for at in range(0, len(answer), 240)]
        for place, piece in enumerate(pieces):
            line.sendall(f"{port}{'+' if place else '|'} {piece}\r\n".encode())
        line.sendall(f"{port}| {words[0].decode()} x {run.returncode}\r\n".encode())


def keyboard(line: socket.socket) -> None:
    """Reads what is typed, as the multiplexer does."""
    focus, typed, escaped = 0, dict.fromkeys(PORTS, b""), False
    while data := line.recv(1024):
        for byte in data:
            if escaped:
                focus, escaped = byte - ord("0"), False
            elif byte == 0x1C:
                escaped = True
            elif byte != ord("\n"):
                typed[PORTS[focus]] += bytes((byte,))
            else:
                command, typed[PORTS[focus]] = typed[PORTS[focus]], b""
                if PORTS[focus].endswith(".control"):
                    agent(PORTS[focus], command, line)
                else:
                    line.sendall(f"{PORTS[focus]}| typed {command.decode()}\r\n".encode())


def main() -> None:
    if "--version" in sys.argv:
        print("QEMU emulator version 11.1.3")
        return
    line, machine = connect("line"), connect("qmp")
    threading.Thread(target=monitor, args=(machine,), daemon=True).start()
    reader = threading.Thread(target=keyboard, args=(line,))
    reader.start()
    greeted.wait()
    for text in Path(os.environ["FAKE_QEMU_LINES"]).read_text().splitlines():
        if text == "!end":
            os._exit(3)
        if text == "!kill":
            os.kill(os.getpid(), signal.SIGKILL)
        line.sendall(text.encode() + b"\r\n")
    reader.join()


if __name__ == "__main__":
    main()
