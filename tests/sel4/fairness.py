# SPDX-License-Identifier: BSD-2-Clause
"""How much a guest that does its worst (c/neighbour.c) slows the others down, and the figures for it."""

from __future__ import annotations

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from router.testing import Setup
from tests.sel4 import hostile_guest
from tests.support.end_to_end import Booted, MiB, set_up

SOURCE = hostile_guest.SOURCE.with_name("neighbour.c")
NEIGHBOUR = hostile_guest.NAME
SERVER = "10.77.0.2"
WAYS = {
    "sleeps": "i",
    "computes": "c",
    "reads a virtio register": "r",
    "rings the network's doorbell": "d",
    "writes to the distributor": "g",
    "calls PSCI": "h",
    "accesses nothing": "a",
    "floods frames": "f",
    "floods its console": "p",
    "floods its early console": "e",
    "garbage queues": "q",
}
"""What the neighbour can do, each with the key for it."""
READ_TIMEOUT_S = 60.0
"""For each read, by the clock of this computer, which may be busy; the figures are by the counted one."""
# The command itself runs before others for its first quarter of a second (vmm/burst.h); that is over then.
READS = """
sleep 0.5
ping -i 0.2 -W 5 {server} >/tmp/ping 2>&1 </dev/null & ping=$!
n=0; while [ $n -lt {reads} ]; do
  echo 3 >/proc/sys/vm/drop_caches
  read begin rest </proc/uptime; cat /dev/sda >/dev/null || exit 1; read end rest </proc/uptime
  echo read $begin $end; n=$((n+1))
done
kill -INT $ping; wait $ping; cat /tmp/ping
"""


@dataclass(frozen=True)
class Figures:
    """What the client noticed. Seconds by its own clock."""

    reads: tuple[float, ...]
    sent: int
    lost: int
    """Pings; those that were still on their way at the end are in neither."""
    slowest_ping: float

    def __str__(self) -> str:
        return (
            f"{len(self.reads)} reads, median {statistics.median(self.reads):.2f} s, slowest {max(self.reads):.2f} s;"
            f" {self.lost} of {self.sent} pings lost, slowest {1000 * self.slowest_ping:.0f} ms"
        )


class Neighbourhood:
    """A running system whose client reads a disk of the server's, and whose third guest does as it is told."""

    def __init__(self, booted: Booted) -> None:
        self.booted = booted
        self._log = booted.logs / f"{NEIGHBOUR}.console.log"

    def tell(self, way: str, timeout: float = 60.0) -> None:
        """Let the neighbour go on in this way."""
        system, key = self.booted.system, WAYS[way]
        said = self._said().count(f"goes on with {key}")
        end = time.monotonic() + timeout
        while self._said().count(f"goes on with {key}") == said:
            assert time.monotonic() < end, self._said()[-1000:]
            system.give_keyboard(NEIGHBOUR)
            system.guests[NEIGHBOUR].console.send(key.encode())
            until = time.monotonic() + 2
            while time.monotonic() < until and self._said().count(f"goes on with {key}") == said:
                system.poll(0.05)

    def _said(self) -> str:
        self.booted.system.pump()
        return self._log.read_text(errors="replace")

    def read(self, reads: int) -> Figures:
        """Figures of so many reads of the whole disk."""
        shown = self.booted.run("client", READS.format(server=SERVER, reads=reads), 600 + READ_TIMEOUT_S * reads)
        times = re.findall(r"^read (\S+) (\S+)$", shown, re.MULTILINE)
        pings = {int(number): float(ms) for number, ms in re.findall(r"seq=(\d+) .*time=([\d.]+) ms", shown)}
        assert len(times) == reads, shown
        assert pings, shown
        return Figures(
            tuple(float(end) - float(begin) for begin, end in times),
            max(pings) - min(pings) + 1,
            max(pings) - min(pings) + 1 - len(pings),
            max(pings.values()) / 1000,
        )


def set_up_neighbours(folder: Path, qemu: tuple[str, ...]) -> Setup:
    """The system with the neighbour, on the kernel that is advised where a guest's is not trusted.

    qemu: further words for QEMU.
    """
    text = hostile_guest.prepare(folder, seed=1, seconds=1, config="release", source=SOURCE)
    return set_up(folder, text, 4 * MiB, qemu=qemu)
