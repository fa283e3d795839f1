# SPDX-License-Identifier: BSD-2-Clause
"""How fast the switch is: the core compared with a memcpy, and the host process with a bare socket pair.

`router bench vswitch` prints the table. Takes some ten seconds.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bench.report import Row
from bench.systems import Progress
from router.errors import HostError
from router.vswitch.build import FLAGS, build_host_switch, build_program
from router.vswitch.config import SwitchConfig, SwitchPort, SwitchRule
from router.vswitch.process import SwitchProcess

HOST_BYTES = 512 << 20
"""Sent through sockets for one figure."""
CHUNK = 256 << 10
SWITCHED, DIRECT = "host process", "socket pair, no switch"
CORE_NAMES = {"decide": "core", "memcpy": "memcpy of the same bytes"}


@dataclass(frozen=True)
class BenchRow:
    """One measurement, from which the rates follow."""

    what: str
    ports: int
    frame_bytes: int
    frames: int
    seconds: float

    @property
    def million_frames_per_second(self) -> float:
        """10⁶ frames a second."""
        return self.frames / self.seconds / 1e6

    @property
    def gigabytes_per_second(self) -> float:
        """10⁹ bytes a second."""
        return self.frames * self.frame_bytes / self.seconds / 1e9


def run(progress: Progress) -> list[BenchRow]:
    """All rows: the core and a memcpy for each case, then the sockets. HostError when the programs cannot be built."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        progress("the core and a memcpy of the same bytes")
        rows = run_core(folder)
        switch = build_host_switch(folder)
        for size in (64, 1514, 65549):
            progress(f"{HOST_BYTES >> 20} MiB in frames of {size} bytes through sockets, with and without the switch")
            rows += [bench_switched(switch, folder, size), bench_direct(size)]
    return rows


def as_rows(rows: list[BenchRow]) -> tuple[Row, ...]:
    """The same as figures."""
    found = []
    for row in rows:
        name = f"{row.ports} ports, frames of {row.frame_bytes} B"
        found.append(Row(f"{name}, frames", row.million_frames_per_second, "Mframe/s", row.what))
        found.append(Row(f"{name}, bytes", row.gigabytes_per_second, "GB/s", row.what))
    return tuple(found)


def run_core(folder: Path) -> list[BenchRow]:
    """The rows of vswitch/bench/bench.c."""
    program = build_program(folder / "bench", ("core", "bench"))
    bench = subprocess.run([program], capture_output=True, text=True, check=False)
    if bench.returncode != 0:
        raise HostError("the switch's benchmark did not run", hint="it needs 512 MiB of memory")
    rows = []
    for line in bench.stdout.splitlines():
        what, ports, size, frames, seconds = line.split()
        rows.append(BenchRow(CORE_NAMES[what], int(ports), int(size), int(frames), float(seconds)))
    return rows


def bench_frame(config: SwitchConfig, size: int) -> bytes:
    """A TCP frame of `size` bytes from the first port to the second, with its length prefix."""
    source, target = config.ports
    tcp = struct.pack(">HHIIBBHHH", 40000, 3240, 0, 0, 0x50, 0x10, 0, 0, 0)
    ipv4 = struct.pack(">BBHHHBBH", 0x45, 0, size - 14, 0, 0x4000, 64, 6, 0) + source.ipv4.packed + target.ipv4.packed
    macs = bytes.fromhex((target.mac + source.mac).replace(":", ""))
    frame = macs + b"\x08\x00" + ipv4 + tcp
    return struct.pack(">I", size) + frame + bytes(size - len(frame))


def bench_switched(program: Path, folder: Path, size: int) -> BenchRow:
    """From a sender's socket through the switch to a receiver's socket."""
    addresses = [IPv4Address("10.77.0.2"), IPv4Address("10.77.0.3")]
    ports = [SwitchPort(f"guest{n}", f"02:00:0a:4d:00:0{n + 2}", address) for n, address in enumerate(addresses)]
    config = SwitchConfig(tuple(ports), (SwitchRule("guest0", "guest1", "tcp", 3240),))
    with (
        SwitchProcess(program, config, folder / "run") as switch,
        socket.socket(socket.AF_UNIX) as sender,
        socket.socket(socket.AF_UNIX) as receiver,
    ):
        sender.connect(str(switch.socket("guest0")))
        receiver.connect(str(switch.socket("guest1")))
        while not all(port.connected for port in switch.counters().values()):
            time.sleep(0.01)
        return bench_sockets(SWITCHED, sender, receiver, bench_frame(config, size))


def bench_direct(size: int) -> BenchRow:
    """The same bytes from one socket straight to the other, as between two QEMUs without a switch."""
    sender, receiver = socket.socketpair()
    with sender, receiver:
        return bench_sockets(DIRECT, sender, receiver, bytes(4 + size))


def bench_sockets(what: str, sender: socket.socket, receiver: socket.socket, message: bytes) -> BenchRow:
    """Time from the first byte sent to the last received; sends of about 256 KiB, as of a busy QEMU's frames."""
    chunk = message * max(1, CHUNK // len(message))
    turns = HOST_BYTES // len(chunk)
    left = turns * len(chunk)
    buffer = bytearray(1 << 20)

    def send() -> None:
        for _ in range(turns):
            sender.sendall(chunk)

    sending = threading.Thread(target=send)
    start = time.perf_counter()
    sending.start()
    while left:
        left -= receiver.recv_into(buffer)
    seconds = time.perf_counter() - start
    sending.join()
    return BenchRow(what, 2, len(message) - 4, turns * len(chunk) // len(message), seconds)


def conditions() -> str:
    """The computer and how the switch was built, in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Linux {platform.release()}, {' '.join(FLAGS)}"
    )


def render(rows: list[BenchRow]) -> str:
    """The rows as a table, with a note on the core's GB/s."""
    lines = [f"{'what':26} {'ports':>5} {'frame B':>8} {'Mframe/s':>9} {'ns/frame':>9} {'GB/s':>9}"]
    for row in rows:
        lines.append(
            f"{row.what:26} {row.ports:5} {row.frame_bytes:8} {row.million_frames_per_second:9.3f}"
            f" {row.seconds / row.frames * 1e9:9.1f} {row.gigabytes_per_second:9.2f}"
        )
    lines.append(
        "The core reads a frame's headers and forwards it by reference, so its GB/s grow with the frame's size."
    )
    return "\n".join(lines)
