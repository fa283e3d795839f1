# SPDX-License-Identifier: BSD-2-Clause
"""Our TFTP server compared with others, with real clients, on loopback: `router bench tftp`.

Every figure is the best of `repeats` interleaved runs of one client with each server, in MB/s (10^6 bytes). The other
servers are measured where they are installed: Debian's tftpd-hpa, and partftpy from PyPI. Windows larger than one need
the client atftp; tftpd-hpa has no windows.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.report import Row
from bench.systems import Progress
from bench.udp_relay import Impairment, UdpRelay
from router.errors import HostError

OURS = (
    "import sys, threading; from pathlib import Path; from router.deploy.tftp.server import TftpServer\n"
    "with TftpServer({p.name: p for p in Path(sys.argv[1]).iterdir()}, address='127.0.0.1', port=int(sys.argv[2])):\n"
    "    threading.Event().wait()"
)
START_TIMEOUT_S = 60.0
"""For a server's start, and for its end."""
PARTFTPY = (
    "import sys, logging; from partftpy.TftpServer import TftpServer; logging.disable()\n"
    "TftpServer(sys.argv[1]).listen('127.0.0.1', int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One figure. megabytes_s: None where the server or client is not installed, or the transfer failed."""

    server: str
    client: str
    blksize: int
    window: int
    loss: float
    megabytes_s: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one run, and the ratios that have goals; a ratio is None where one of its sides is missing."""

    size: int
    lossy_size: int
    rows: tuple[Transfer, ...]
    over_partftpy: float | None
    over_tftpd_hpa: float | None
    window_16_over_1: float | None
    lossy_over_tftpd_hpa: float | None

    @property
    def ratios(self) -> tuple[tuple[str, float | None, float], ...]:
        """Each ratio with its name and its goal, a minimum."""
        return (
            ("over partftpy", self.over_partftpy, 1.5),
            ("over tftpd-hpa", self.over_tftpd_hpa, 1.0),
            ("window 16 over window 1", self.window_16_over_1, 2.0),
            ("over tftpd-hpa at 0.3 % loss", self.lossy_over_tftpd_hpa, 10.0),
        )


def run(
    progress: Progress, size: int = 30_000_000, blksize: int = 1468, repeats: int = 3, lossy_size: int = 1_000_000
) -> Report:
    """Measure all servers in turn; HostError when curl is not installed."""
    if not shutil.which("curl"):
        raise HostError("curl is not installed", hint="apt-get install curl atftp tftpd-hpa")
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        stack.enter_context(_one_processor())
        folder = Path(temporary)
        folder.chmod(0o755)
        (folder / "big").write_bytes(os.urandom(size))
        (folder / "small").write_bytes(os.urandom(lossy_size))
        progress("starting the servers")
        ports = {name: stack.enter_context(_server(name, folder)) for name in ("ours", "tftpd-hpa", "partftpy")}
        ours = ports["ours"]
        if ours is None or not _identical(_curl, ours, folder / "big", blksize):
            raise HostError("curl did not receive the whole file from our server")
        best: dict[tuple[str, int], float] = {}
        for number in range(repeats):
            progress(f"{size / 1e6:.0f} MB from each server, {number + 1} of {repeats}")
            for name, port in ports.items():
                if port is not None:
                    _keep(best, (name, 1), _rate(_curl, port, folder / "big", blksize))
            for window in (1, 16):
                if shutil.which("atftp"):
                    _keep(best, ("ours atftp", window), _rate(_atftp(window), ours, folder / "big", blksize))
        rows = [Transfer(name, "curl", blksize, 1, 0.0, best.get((name, 1))) for name in ports]
        for window in (1, 16):
            rows.append(Transfer("ours", "atftp", blksize, window, 0.0, best.get(("ours atftp", window))))
        progress("with 0.3 % of the packets lost")
        lossy = {name: _lossy(port, folder / "small", blksize) for name, port in ports.items() if name != "partftpy"}
        rows += [Transfer(name, "curl", blksize, 1, 0.003, rate) for name, rate in lossy.items()]
    return Report(
        size,
        lossy_size,
        tuple(rows),
        over_partftpy=_ratio(best.get(("ours", 1)), best.get(("partftpy", 1))),
        over_tftpd_hpa=_ratio(best.get(("ours", 1)), best.get(("tftpd-hpa", 1))),
        window_16_over_1=_ratio(best.get(("ours atftp", 16)), best.get(("ours atftp", 1))),
        lossy_over_tftpd_hpa=_ratio(lossy["ours"], lossy["tftpd-hpa"]),
    )


def render(report: Report) -> str:
    """The report as a table for people."""
    lines = [f"{'server':<10} {'client':<6} {'blksize':>7} {'window':>6} {'loss':>5} {'MB/s':>8}"]
    for row in report.rows:
        rate = "-" if row.megabytes_s is None else f"{row.megabytes_s:.1f}"
        lines.append(f"{row.server:<10} {row.client:<6} {row.blksize:>7} {row.window:>6} {row.loss:>5.1%} {rate:>8}")
    for text, value, goal in report.ratios:
        found = "not measured" if value is None else f"{value:.2f} x, goal ≥ {goal:g}: {verdict(value >= goal)}"
        lines.append(f"{text:<30} {found}")
    return "\n".join(lines)


def verdict(met: bool) -> str:
    """The word for a goal."""
    return "met" if met else "MISSED"


def as_rows(report: Report) -> tuple[Row, ...]:
    """The same as figures; what was not measured is left out."""
    found = [
        Row(f"{row.client}, blksize {row.blksize}, window {row.window}, {row.loss:.1%} loss", value, "MB/s", row.server)
        for row in report.rows
        if (value := row.megabytes_s) is not None
    ]
    for name, ratio, goal in report.ratios:
        if ratio is not None:
            found.append(Row(name, ratio, "x", goal=f"≥ {goal:g}", met=ratio >= goal))
    return tuple(found)


def _keep(best: dict[tuple[str, int], float], key: tuple[str, int], rate: float | None) -> None:
    if rate is not None:
        best[key] = max(rate, best.get(key, 0.0))


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if not ours or not theirs else ours / theirs


@contextlib.contextmanager
def _one_processor() -> Iterator[None]:
    """Keep this process and its children on one processor.

    On an idle virtual machine, waking the other processor for each packet takes longer than any server does: all would
    look alike.
    """
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


@contextlib.contextmanager
def _server(name: str, folder: Path) -> Iterator[int | None]:
    """A server process on a free port of 127.0.0.1; None when it is not installed."""
    command: list[str]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    if name == "tftpd-hpa":
        program = shutil.which("in.tftpd", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None or os.geteuid() != 0:  # it calls chroot
            yield None
            return
        command = [program, "--foreground", "--user", "root", "--address", f"127.0.0.1:{port}", "--secure", str(folder)]
    else:
        if name == "partftpy" and importlib.util.find_spec("partftpy") is None:
            yield None
            return
        command = [sys.executable, "-c", OURS if name == "ours" else PARTFTPY, str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_bound(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(START_TIMEOUT_S)


def _wait_until_bound(port: int, process: subprocess.Popen[bytes]) -> None:
    # Binding to it ourselves could take the port just when the server wants it.
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end and process.poll() is None:
        rows = Path("/proc/net/udp").read_text().splitlines()[1:]
        if any(row.split()[1].endswith(f":{port:04X}") for row in rows):
            return
        time.sleep(0.05)
    raise HostError(f"a TFTP server did not start: {process.args!r:.120}")


Client = Callable[[int, str, Path, int], list[str]]


def _curl(port: int, name: str, into: Path, blksize: int) -> list[str]:
    timing = ["-w", "%{time_total}"]  # seconds on standard output: the transfer without the client's own start-up
    return ["curl", "-sS", *timing, "--tftp-blksize", str(blksize), f"tftp://127.0.0.1:{port}/{name}", "-o", str(into)]


def _atftp(window: int) -> Client:
    def command(port: int, name: str, into: Path, blksize: int) -> list[str]:
        options = ["--option", f"blksize {blksize}", "--option", f"windowsize {window}"]
        return ["atftp", *options, "--get", "-r", name, "-l", str(into), "127.0.0.1", str(port)]

    return command


def _rate(client: Client, port: int | None, file: Path, blksize: int, limit: float = 150.0) -> float | None:
    """MB/s of one transfer, whose data the client discards; None when it failed."""
    if port is None:
        return None
    command = client(port, file.name, Path(os.devnull), blksize)
    started = time.monotonic()
    try:
        done = subprocess.run(command, check=True, timeout=limit, capture_output=True, text=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    seconds = float(done.stdout) if command[0] == "curl" else time.monotonic() - started
    return file.stat().st_size / seconds / 1e6


def _identical(client: Client, port: int, file: Path, blksize: int) -> bool:
    """Fetch once for the contents: the timed runs discard theirs."""
    with tempfile.TemporaryDirectory() as temporary:
        into = Path(temporary) / "got"
        subprocess.run(client(port, file.name, into, blksize), check=True, timeout=90, capture_output=True)
        return into.read_bytes() == file.read_bytes()


def _lossy(port: int | None, file: Path, blksize: int) -> float | None:
    if port is None:
        return None
    with UdpRelay(("127.0.0.1", port), Impairment(loss=0.003)) as relay:
        return _rate(_curl, relay.port, file, blksize)
