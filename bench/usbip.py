# SPDX-License-Identifier: BSD-2-Clause
"""The USB/IP engines compared with Debian's C usbipd, and the route's latency with bare TCP: two guests in one run.

The servers take turns in each round, so that a busy computer slows all of them; figures are medians over rounds. The
daemon that the boot starts exports nothing here: the measured ones listen on other ports.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import programs
from bench.guest import disk_io, exchange_client, exchange_server, usbip_peer
from bench.report import Row, median
from bench.systems import MiB, Progress, build_system, figures, run_in, scratch_disk
from router.control.timeline import Timeline
from router.machines.qemu.running import Run
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs

ENGINES = ("C usbipd", "kernel", "usbfs")
PORTS = {"C usbipd": 5011, "kernel": 5012, "usbfs": 5013}
TCP_PORT = 5014
DISK_SIZE = 64 * MiB
SEQUENTIAL, RANDOM = 32, 200
"""Reads of 1 MiB and of 4 KiB in a round."""
DISK = "2-1"
BOOT_TIMEOUT_S = 180.0
DESCRIPTION = f"""
system: bench-usbip
board: qemu
guests:
  server: {{{{image: usb-server-tools, memory: 512 MiB, passthrough: [pcie@3f000000]}}}}
  client: {{{{image: usb-client-tools, memory: 512 MiB}}}}
network:
  mtu: {{mtu}}
  allow: [{", ".join(f"client -> server tcp/{port}" for port in (*PORTS.values(), TCP_PORT))}]
usb: []
"""


@dataclass
class Figures:
    """What was measured, by name: a value for each round. Times in seconds, memory in MB."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Note one value."""
        self.values.setdefault(name, []).append(value)

    def each(self, name: str, factor: float = 1.0) -> list[float]:
        """The values of all rounds, times `factor`."""
        return [value * factor for value in self.values[name]]

    def rates(self, name: str, count: int) -> list[float]:
        """How many a second, when `count` took as long as each value says."""
        return [count / value for value in self.values[name]]

    def shares(self, of: str, to: str) -> list[float]:
        """How much longer `of` took than `to` within each round, in %: what slows a computer slows both."""
        return [100 * one / other for one, other in zip(self.values[of], self.values[to], strict=True)]

    def rows(self) -> Iterator[Row]:
        """The figures with their goals."""
        for engine in ENGINES:
            yield median(f"{engine}: 1 MiB reads", "MiB/s", self.rates(f"{engine} sequential", SEQUENTIAL))
            yield median(f"{engine}: 4 KiB random reads", "reads/s", self.rates(f"{engine} random", RANDOM))
            yield median(f"{engine}: 1 MiB writes", "MiB/s", self.rates(f"{engine} write", SEQUENTIAL))
            yield median(f"{engine}: attach to block device", "s", self.each(f"{engine} attach"))
        for name, what in (
            ("sequential", "1 MiB reads"),
            ("write", "1 MiB writes"),
            ("random", "4 KiB random reads"),
            ("attach", "attach time"),
        ):
            row = median(
                f"kernel engine against C usbipd, {what}", "%", self.shares(f"C usbipd {name}", f"kernel {name}")
            )
            yield judged(row, "≥ 97 %", row.value >= 97)
        for name, what, minimum in (("sequential", "1 MiB reads", 80), ("random", "4 KiB random reads", 50)):
            row = median(
                f"usbfs engine against kernel engine, {what}", "%", self.shares(f"kernel {name}", f"usbfs {name}")
            )
            yield judged(row, f"≥ {minimum} %", row.value >= minimum)
        for engine in ENGINES[1:]:
            row = median(f"{engine}: start to listening", "s", self.each(f"{engine} listening"))
            yield judged(row, "< 1.5 s", row.value < 1.5)
            row = median(f"{engine}: resident memory, serving", "MB", self.each(f"{engine} memory"))
            yield judged(row, "< 20 MB", row.value < 20)
        tcp = median("TCP: the three exchanges of a 4 KiB read", "ms", self.each("tcp read", 1000))
        yield tcp
        row = median("4 KiB read through the route, kernel engine", "ms", self.each("kernel read latency", 1000))
        yield judged(row, "≤ 2 × TCP", row.value <= 2 * tcp.value)
        yield median("4 KiB read through the route, usbfs engine", "ms", self.each("usbfs read latency", 1000))
        yield median("TCP: one exchange, 48 to 66 bytes", "ms", self.each("tcp one", 1000))
        yield median("one URB (device descriptor), kernel engine", "ms", self.each("kernel urb", 1000))
        row = median("hot-plug to block device in the client", "s", self.each("hot-plug"))
        yield judged(row, "< 3 s", row.value < 3)


def judged(row: Row, goal: str, met: bool) -> Row:
    """A row with its goal."""
    return replace(row, goal=goal, met=met)


class Bench:
    """A measurement in a running system whose disk is in the first USB port."""

    def __init__(self, system: Run) -> None:
        self.system = system
        self.address = str(system.plan.guest("server").address)
        self.figures = Figures()

    def run(self, guest: str, command: str, timeout_s: float = 60) -> str:
        """The output of a command that must succeed."""
        return run_in(self.system.execute, guest, command, timeout_s)

    def take(self, prefix: str, guest: str, command: str) -> None:
        """Run a program that prints `name value` lines, and note its figures."""
        for name, values in figures(self.run(guest, command, 120), guest).items():
            for value in values:
                self.figures.add(f"{prefix}{name}", value)

    def start(self, engine: str) -> None:
        """Start a server and wait until it exports the disk."""
        port = PORTS[engine]
        if engine == "C usbipd":
            self.run("server", f"usbip bind -b {DISK} && usbipd -4 -D -t {port} -P/tmp/usbipd.pid && sleep 1")
            return
        command = (
            f"router-usbip serve --engine {engine} --policy /tmp/policy --listen 0.0.0.0:{port} --control '' --release"
        )
        self.take(f"{engine} ", "server", programs.command(usbip_peer.start, command=command))
        self.run("server", programs.script("wait_exported", DISK))

    def stop(self, engine: str) -> None:
        """End a server."""
        if engine == "C usbipd":
            self.run("server", f"kill $(cat /tmp/usbipd.pid); usbip unbind -b {DISK}; sleep 1")
        else:
            self.run("server", programs.script("stop_daemon"))

    def round(self, first: int) -> None:
        """Each server in turn; in each round another one is the first."""
        first %= len(ENGINES)
        for engine in (*ENGINES[first:], *ENGINES[:first]):
            self.start(engine)
            attach = f"usbip --tcp-port {PORTS[engine]} attach -r {self.address} -b {DISK}"
            self.take(f"{engine} ", "client", programs.command(usbip_peer.attach, command=attach))
            reads = programs.command(disk_io.measure, sequential=SEQUENTIAL, random=RANDOM, size=DISK_SIZE)
            self.take(f"{engine} ", "client", reads)
            if engine != "C usbipd":
                status = "sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(cat /tmp/serve.pid)/status"
                self.figures.add(f"{engine} memory", int(self.run("server", status)) * 1024 / 1e6)
            self.run("client", programs.script("detach_all"))
            if engine == "kernel":
                exchange = programs.command(
                    exchange_client.measure, server=self.address, port=TCP_PORT, urb_port=PORTS[engine], busid=DISK
                )
                self.take("", "client", exchange)
            self.stop(engine)

    def hot_plug(self, times: int, disk: Path) -> None:
        """Time from plugging a disk in, while both daemons run, until the client has its block device."""
        port = PORTS["kernel"]
        usb = self.system.usb
        assert usb is not None
        self.start("kernel")
        self.run(
            "client",
            f"router-usbip keep-attached {self.address}:{port} >/tmp/keep.log 2>&1 </dev/null & echo $! >/tmp/keep.pid",
        )
        self.run("client", programs.script("wait_disk", "present"))
        for _ in range(times):
            usb.unplug(1)
            self.run("client", programs.script("wait_disk", "absent"))
            # Both daemons are to be idle, as when a person plugs a disk in.
            time.sleep(2)
            began = time.monotonic()
            usb.plug(f"storage:{disk}")
            self.run("client", programs.script("wait_disk", "present"))
            self.figures.add("hot-plug", time.monotonic() - began)
        self.run("client", "kill $(cat /tmp/keep.pid); sleep 1")
        self.stop("kernel")


def measure(mtu: int, rounds: int, progress: Progress) -> Figures:
    """Boot a split run, measure and stop. The disk's image is in the host's page cache, unthrottled."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_system(folder, DESCRIPTION.format(mtu=mtu), progress, loader_image=False)
        disk = scratch_disk(folder / "disk.img", DISK_SIZE)
        progress("booting two guests")
        with split_run(built, parse_plugs([f"storage:{disk}"]), folder / "logs", Timeline()) as system:
            system.wait_ready(BOOT_TIMEOUT_S)
            bench = Bench(system)
            bench.run("server", "echo 'allow any all' >/tmp/policy")
            server = programs.command(exchange_server.serve, port=TCP_PORT)
            bench.run("server", f"{programs.background(server)} sleep 2")
            for number in range(rounds):
                progress(f"round {number + 1} of {rounds}")
                bench.round(number)
            progress("hot-plug")
            bench.hot_plug(max(3, rounds), disk)
            return bench.figures
