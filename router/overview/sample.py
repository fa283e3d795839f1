# SPDX-License-Identifier: BSD-2-Clause
"""One look into a guest: a shell command that costs little, and its answer as numbers. A guest may answer anything.

Counters, by their documents in Linux: `urbnum` of a USB device counts its submitted URBs
(Documentation/ABI/testing/sysfs-bus-usb), the fields of a block device's `stat` are in Documentation/block/stat.rst
(its sectors have 512 bytes), a network interface's are in Documentation/ABI/testing/sysfs-class-net-statistics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

SECTOR = 512
MAX_ANSWER = 64 << 10
"""Bytes of an answer that are looked at: an honest one has some hundred."""
MAX_ENTRIES = 256
"""Devices, disks or round trips in an answer."""
PING_TIMEOUT_S = 1

# Only what the shell does without starting programs: in an emulated guest each costs some 10 ms.
_COUNTERS = """\
for d in /sys/bus/usb/devices/*; do
  read -r n 2>/dev/null <"$d/urbnum" && echo "usb ${d##*/} $n"
done
for d in /sys/block/*; do
  cd -P "$d/device" 2>/dev/null || continue
  read -r n <"$d/stat" && echo "disk $PWD $n"
done
cd /
for d in /sys/class/net/eth0; do
  read -r r <"$d/statistics/rx_bytes" && read -r t <"$d/statistics/tx_bytes" && echo "net $r $t"
done 2>/dev/null
read -r n rest </proc/uptime && echo "up $n"
"""
_PING = f"""\
ping -c 1 -q -W {PING_TIMEOUT_S} ADDRESS 2>/dev/null | while read -r a b c v u; do
  [ "$a" = round-trip ] && echo "ping ADDRESS ${{v%%/*}}"
done
"""

_LINE = {
    "usb": re.compile(r"usb (\d{1,4}-\d{1,3}(?:\.\d{1,3}){0,6}) (\d{1,18})"),
    "disk": re.compile(r"disk (/sys/\S{1,900}) +(\d{1,18}(?: +\d{1,18}){10,30})"),
    "net": re.compile(r"net (\d{1,18}) (\d{1,18})"),
    "up": re.compile(r"up (\d{1,12}(?:\.\d{1,6})?)"),
    "ping": re.compile(r"ping ([\d.]{7,15}) (\d{1,9}(?:\.\d{1,9})?)"),
}
_USB_DEVICE = re.compile(r"/(\d{1,4}-\d{1,3}(?:\.\d{1,3}){0,6})/[^/]+:\d")
"""In a block device's path: the USB device whose interface it belongs to."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a disk has done since it came: requests and bytes each way, and their times added up in milliseconds."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0
    wait_ms: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """The sum: several disks of one USB device."""
        return Traffic(
            self.reads + other.reads,
            self.read_bytes + other.read_bytes,
            self.writes + other.writes,
            self.written_bytes + other.written_bytes,
            self.wait_ms + other.wait_ms,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """A guest's counters. uptime: seconds. disks: of USB, by the USB device, as urbs is. pings: milliseconds."""

    uptime: float
    urbs: Mapping[str, int] = field(default_factory=dict)
    disks: Mapping[str, Traffic] = field(default_factory=dict)
    received_bytes: int = 0
    sent_bytes: int = 0
    pings: Mapping[str, float] = field(default_factory=dict)
    """By address; an address that did not answer is missing."""


def command(addresses: Sequence[IPv4Address] = ()) -> str:
    """The shell command that prints a guest's counters, and its round trips to these addresses."""
    return _COUNTERS + "".join(_PING.replace("ADDRESS", str(address)) for address in addresses)


def parse(answer: bytes) -> Sample | None:
    """What the command printed. Lines that are nothing of it are ignored; None when there is no uptime in it."""
    uptime: float | None = None
    urbs: dict[str, int] = {}
    disks: dict[str, Traffic] = {}
    pings: dict[str, float] = {}
    received = sent = 0
    for line in answer[:MAX_ANSWER].decode("ascii", "replace").splitlines():
        pattern = _LINE.get(line.partition(" ")[0])
        found = pattern.fullmatch(line.strip()) if pattern else None
        if found is None:
            continue
        match line.partition(" ")[0]:
            case "usb" if len(urbs) < MAX_ENTRIES:
                urbs[found[1]] = int(found[2])
            case "disk" if len(disks) < MAX_ENTRIES:
                device = _USB_DEVICE.search(found[1])
                if device:
                    disks[device[1]] = disks.get(device[1], Traffic()).plus(_traffic(found[2]))
            case "net":
                received, sent = int(found[1]), int(found[2])
            case "up":
                uptime = float(found[1])
            case "ping" if len(pings) < MAX_ENTRIES:
                pings[found[1]] = float(found[2])
    return None if uptime is None else Sample(uptime, urbs, disks, received, sent, pings)


def _traffic(stat: str) -> Traffic:
    fields = [int(word) for word in stat.split()]
    reads, _, read_sectors, read_ms, writes, _, written_sectors, write_ms = fields[:8]
    return Traffic(reads, read_sectors * SECTOR, writes, written_sectors * SECTOR, read_ms + write_ms)


@dataclass(frozen=True, slots=True)
class Rate:
    """What went on between two looks, in each second. wait_ms: the mean of a disk's requests; None without any."""

    urbs: float
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    wait_ms: float | None = None


def device_rate(before: Sample | None, now: Sample | None, device: str) -> Rate | None:
    """Of a USB device of a guest; None when it is not there now, or it or the guest began anew in between.

    A device or disk that has come in between has done all that it has done since the look before.
    """
    if before is None or now is None or now.uptime <= before.uptime:
        return None
    if device not in now.urbs or now.urbs[device] < before.urbs.get(device, 0):
        return None
    seconds = now.uptime - before.uptime
    urbs = (now.urbs[device] - before.urbs.get(device, 0)) / seconds
    old, new = before.disks.get(device, Traffic()), now.disks.get(device)
    if new is None:
        return Rate(urbs)
    requests = new.reads + new.writes - old.reads - old.writes
    read, written = new.read_bytes - old.read_bytes, new.written_bytes - old.written_bytes
    if min(requests, read, written, new.wait_ms - old.wait_ms) < 0:
        return None
    return Rate(urbs, read / seconds, written / seconds, (new.wait_ms - old.wait_ms) / requests if requests else None)


def network_rate(before: Sample | None, now: Sample | None) -> tuple[float, float] | None:
    """Bytes in each second that a guest received and sent; None as for `device_rate`."""
    if before is None or now is None or now.uptime <= before.uptime:
        return None
    received, sent = now.received_bytes - before.received_bytes, now.sent_bytes - before.sent_bytes
    if min(received, sent) < 0:
        return None
    seconds = now.uptime - before.uptime
    return received / seconds, sent / seconds
