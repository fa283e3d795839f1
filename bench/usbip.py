"""The USB/IP engines beside Debian's C usbipd, and the route's latency beside bare TCP: two guests in one run.

The servers take turns in each round, so that a machine that is busy slows all of them; figures are medians over rounds.
The boot's own daemon serves nothing here: those that are measured listen on ports of their own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.guest_programs import shell
from bench.route import scratch_disk
from bench.usbip_programs import ATTACH, EXCHANGE_CLIENT, EXCHANGE_SERVER, LISTENING, READS
from router import files
from router.control.timeline import Timeline
from router.description.load import load
from router.errors import MachineError
from router.machines.qemu.running import Run
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import build
from router.pipeline.inputs import plan_loaded

MiB = 1 << 20
ENGINES = ("C usbipd", "kernel", "usbfs")
PORTS = {"C usbipd": 5011, "kernel": 5012, "usbfs": 5013}
TCP_PORT = 5014
DISK_SIZE = 64 * MiB
SEQUENTIAL, RANDOM = 32, 200
"""Reads of 1 MiB and of 4 KiB in a round."""
DISK = "2-1"
PORTS_IN_USE = "usbip port 2>/dev/null | sed -n 's/^Port \\([0-9]*\\):.*/\\1/p'"
DETACH = f"for p in $({PORTS_IN_USE}); do usbip detach -p $p; done; sleep 1"
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


@dataclass(frozen=True)
class Row:
    """One figure. `met`: whether `goal` (words) is reached; None where there is none."""

    name: str
    value: float
    unit: str
    goal: str = ""
    met: bool | None = None

    def render(self) -> str:
        form = "{:.0f}" if self.unit == "%" else "{:.2f}"
        text = f"{form.format(self.value)} {self.unit}"
        return text if self.met is None else f"{text:<14} goal {self.goal}: {'met' if self.met else 'MISSED'}"


@dataclass
class Figures:
    """What was measured, by name: a value for each time."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def middle(self, name: str) -> float:
        return statistics.median(self.values[name])

    def rows(self) -> Iterator[Row]:
        """The figures beside their goals."""
        one, four = SEQUENTIAL * MiB, RANDOM
        for engine in ENGINES:
            yield Row(f"{engine}: 1 MiB reads", one / self.middle(f"{engine} sequential") / MiB, "MiB/s")
            yield Row(f"{engine}: 4 KiB random reads", four / self.middle(f"{engine} random"), "reads/s")
            yield Row(f"{engine}: 1 MiB writes", one / self.middle(f"{engine} write") / MiB, "MiB/s")
            yield Row(f"{engine}: attach to block device", self.middle(f"{engine} attach"), "s")
        for name, what in (
            ("sequential", "1 MiB reads"),
            ("write", "1 MiB writes"),
            ("random", "4 KiB random reads"),
            ("attach", "attach time"),
        ):
            # Pairs of one round: what slows a machine for some minutes slows both. Worse than the goal is what fails.
            share = 100 * self._ratio(f"C usbipd {name}", f"kernel {name}")
            yield Row(f"kernel engine against C usbipd, {what}", share, "%", "≥ 97 %", share >= 97)
        for name, what, least in (("sequential", "1 MiB reads", 80), ("random", "4 KiB random reads", 50)):
            share = 100 * self._ratio(f"kernel {name}", f"usbfs {name}")
            yield Row(f"usbfs engine against kernel engine, {what}", share, "%", f"≥ {least} %", share >= least)
        for engine in ENGINES[1:]:
            seconds, memory = self.middle(f"{engine} listening"), self.middle(f"{engine} memory")
            yield Row(f"{engine}: start to listening", seconds, "s", "< 1.5 s", seconds < 1.5)
            yield Row(f"{engine}: resident memory, serving", memory, "MB", "< 20 MB", memory < 20)
        tcp, read = 1000 * self.middle("tcp read"), 1000 * self.middle("kernel read latency")
        yield Row("TCP: the three exchanges of a 4 KiB read", tcp, "ms")
        yield Row("4 KiB read through the route, kernel engine", read, "ms", "≤ 2 × that", read <= 2 * tcp)
        yield Row("4 KiB read through the route, usbfs engine", 1000 * self.middle("usbfs read latency"), "ms")
        tcp, read = 1000 * self.middle("tcp one"), 1000 * self.middle("kernel urb")
        yield Row("TCP: one exchange, 48 to 66 bytes", tcp, "ms")
        yield Row("one URB (device descriptor), kernel engine", read, "ms")
        seconds = self.middle("hot-plug")
        yield Row("hot-plug to block device in the client", seconds, "s", "< 3 s", seconds < 3)

    def _ratio(self, of: str, to: str) -> float:
        """How much longer `of` took than `to`, median over the rounds."""
        pairs = zip(self.values[of], self.values[to], strict=True)
        return statistics.median(one / other for one, other in pairs)


class Bench:
    """A measurement in a running system whose disk is plugged into the first USB port."""

    def __init__(self, system: Run) -> None:
        self.system = system
        self.address = str(system.plan.guest("server").address)
        self.figures = Figures()

    def run(self, guest: str, command: str, timeout: float = 60) -> str:
        code, output = self.system.execute(guest, command, timeout)
        text = output.decode(errors="replace")
        if code:
            raise MachineError(f"the measurement failed in '{guest}' (exit code {code})", hint=f"{command}\n{text}")
        return text

    def take(self, prefix: str, guest: str, command: str, timeout: float = 120) -> None:
        """Runs a program that prints `name value` lines, and notes what it measured."""
        for line in self.run(guest, command, timeout).splitlines():
            name, _, value = line.rpartition(" ")
            if not name or not value.replace(".", "", 1).replace("e-", "", 1).isdecimal():
                raise MachineError(f"the measurement in '{guest}' printed {line!r}", hint=command)
            self.figures.add(f"{prefix}{name}", float(value))

    def start(self, engine: str) -> None:
        """Starts a server and waits until the disk can be had from it."""
        port = PORTS[engine]
        if engine == "C usbipd":
            self.run("server", f"usbip bind -b {DISK} && usbipd -4 -D -t {port} -P/tmp/usbipd.pid && sleep 1")
            return
        command = (
            f"router-usbip serve --engine {engine} --policy /tmp/policy --listen 0.0.0.0:{port} --control '' --release"
        )
        self.take(f"{engine} ", "server", shell(LISTENING, COMMAND=command))
        self.run(
            "server",
            f"n=0; until grep -q 'exported {DISK}' /tmp/serve.log; "
            "do n=$((n+1)); [ $n -lt 200 ] || exit 1; usleep 100000; done",
        )

    def stop(self, engine: str) -> None:
        if engine == "C usbipd":
            self.run("server", f"kill $(cat /tmp/usbipd.pid); usbip unbind -b {DISK}; sleep 1")
            return
        self.run("server", "p=$(cat /tmp/serve.pid); kill $p; while kill -0 $p 2>/dev/null; do usleep 50000; done")

    def round(self, first: int) -> None:
        """Each server in turn; another one is the first in each round."""
        first %= len(ENGINES)
        for engine in (*ENGINES[first:], *ENGINES[:first]):
            self.start(engine)
            attach = f"usbip --tcp-port {PORTS[engine]} attach -r {self.address} -b {DISK}"
            self.take(f"{engine} ", "client", shell(ATTACH, COMMAND=attach))
            self.take(f"{engine} ", "client", shell(READS, SEQUENTIAL=SEQUENTIAL, RANDOM=RANDOM, SIZE=DISK_SIZE))
            if engine != "C usbipd":
                status = "sed -n 's/VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(cat /tmp/serve.pid)/status"
                self.figures.add(f"{engine} memory", int(self.run("server", status)) * 1024 / 1e6)
            self.run("client", DETACH)
            if engine == "kernel":
                port = PORTS[engine]
                program = shell(EXCHANGE_CLIENT, SERVER=self.address, PORT=TCP_PORT, URB_PORT=port, BUSID=DISK)
                self.take("", "client", program)
            self.stop(engine)

    def hot_plug(self, times: int, disk: Path) -> None:
        """A disk that is plugged in while both daemons run, until the client has its block device."""
        port = PORTS["kernel"]
        usb = self.system.usb
        assert usb is not None
        self.start("kernel")
        self.run(
            "client",
            f"router-usbip keep-attached {self.address}:{port} >/tmp/keep.log 2>&1 </dev/null & echo $! >/tmp/keep.pid",
        )
        wait = "n=0; while ! ls /sys/block | grep -q sd; do n=$((n+1)); [ $n -lt 1500 ] || exit 1; usleep 20000; done"
        gone = wait.replace("while !", "while")
        self.run("client", wait)
        for _ in range(times):
            usb.unplug(1)
            self.run("client", gone)
            # Both daemons are to be at rest, as when a person plugs a disk in.
            time.sleep(2)
            began = time.monotonic()
            usb.plug(f"storage:{disk}")
            self.run("client", wait)
            self.figures.add("hot-plug", time.monotonic() - began)
        self.run("client", "kill $(cat /tmp/keep.pid); sleep 1")
        self.stop("kernel")


def measure(mtu: int, rounds: int, progress: Callable[[str], None]) -> Figures:
    """Boot two guests apart, measure and stop. The disk's image is in the host's page cache, unthrottled."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(DESCRIPTION.format(mtu=mtu))
        planned = plan_loaded(load(folder / "bench.yaml"), files.cache_folder(), lambda _: None)
        built = build(planned, folder / "build", files.cache_folder(), lambda _: None)
        disk = scratch_disk(folder / "disk.img", DISK_SIZE)
        with (folder / "events").open("w") as out:
            plugs = parse_plugs([f"storage:{disk}"])
            with split_run(built, plugs, folder / "logs", Timeline(out=out)) as system:
                system.wait_ready(180)
                bench = Bench(system)
                bench.run("server", "echo 'allow any all' >/tmp/policy")
                bench.run("server", shell(EXCHANGE_SERVER, background=True, PORT=TCP_PORT) + " sleep 2")
                for number in range(rounds):
                    progress(f"round {number + 1} of {rounds}")
                    bench.round(number)
                progress("hot-plug")
                bench.hot_plug(max(3, rounds), disk)
                return bench.figures
