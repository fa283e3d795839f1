# SPDX-License-Identifier: BSD-2-Clause
"""Runs the loads in the guests, all at the same time, and reads what the server counted meanwhile."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import programs
from bench.guest import storage_extents, storage_load
from bench.storage.loads import FLOOD, VICTIM
from bench.storage.system import FILES, SERVER, Disks, throttle
from bench.storage.trace import EVENTS, Range, Window, parse, window
from bench.systems import figures, run_in
from router.errors import MachineError
from router.machines.qemu.split import SplitRun

JOB, GO = "/tmp/storage", "/tmp/storage.go"
DROP = "sync; echo 3 >/proc/sys/vm/drop_caches"
END_TIMEOUT_S = 300
"""For what a load has written until it is on the disk."""
TRACING = "/sys/kernel/tracing"
FLUSHER = "/proc/sys/vm/dirty_writeback_centisecs"
EXPIRE = "/proc/sys/vm/dirty_expire_centisecs"
TRACED = {
    "part": ("part", ""),
    "full": ("full", "commit=60"),
    "sparse": ("sparse", "commit=60"),
    "allocated": ("sparse", "commit=60,nodelalloc,dioread_lock"),
}
"""What is traced, in this order: the kind of disk, and options for the server's file system. The last has blocks
allocated when a guest writes, as ext4 did before it delayed that: a commit then writes the data too (data=ordered,
Documentation/filesystems/ext4)."""
PIECE, PAGE = 256 << 10, 4096
"""Bytes that the neighbour writes, and that the guest syncs, in a window of the trace."""


@dataclass(frozen=True)
class Result:
    """One load on one kind of disk. By guest: operations/s, and the seconds of each fsync.

    commits: of the server's journal. guests, disk: bytes that all guests wrote to their disks, and that the server
    wrote to its own for that.
    """

    rates: Mapping[str, float]
    syncs: Mapping[str, tuple[float, ...]]
    commits: int
    guests: float
    disk: float

    @property
    def rate(self) -> float:
        """The guests' sum."""
        return sum(self.rates.values())


def commits_of(text: str) -> int:
    """Transactions in /proc/fs/jbd2/*/info (fs/jbd2/journal.c: "7 transactions (7 requested), each up to …")."""
    match = re.match(r"(\d+) transactions? \(", text)
    if match is None:
        raise MachineError(f"the server's journal says {text[:80]!r}")
    return int(match[1])


def server_counts(system: SplitRun, disks: Disks, kind: str, first: str) -> tuple[int, int]:
    """(transactions, bytes written) of the server's disk below that kind. first: a shell command that goes before."""
    disk = disks.server_disk(kind)
    look = f"{first}; cat /sys/class/block/{disk}/stat /proc/fs/jbd2/{disks.files}-8/info"
    stat, _, journal = run_in(system.execute, SERVER, look, 200).partition("\n")
    # Documentation/block/stat.rst: the seventh value counts sectors written.
    return commits_of(journal), 512 * int(stat.split()[6])


def run_loads(system: SplitRun, disks: Disks, kind: str, loads: Mapping[str, str], seconds: float, seed: int) -> Result:
    """These loads, by guest, at the same time on disks of that kind."""
    commands = {}
    for number, (guest, load) in enumerate(loads.items()):
        command = programs.command(
            storage_load.run,
            load=load,
            mount=f"/mnt/{kind}",
            device=disks.guests[guest][kind],
            seconds=seconds,
            seed=seed + number,
            go=GO,
            sparse=kind == "sparse",
        )
        commands[guest] = f"rm -f {GO} {JOB}.out {JOB}.code; " + programs.script("background", JOB, command)
    limit = int(seconds) + END_TIMEOUT_S
    with ThreadPoolExecutor(len(loads)) as pool:

        def everywhere(commands: Mapping[str, str], timeout_s: float) -> dict[str, str]:
            waiting = {
                guest: pool.submit(run_in, system.execute, guest, command, timeout_s)
                for guest, command in commands.items()
            }
            return {guest: one.result() for guest, one in waiting.items()}

        everywhere(commands, 200)
        before = server_counts(system, disks, kind, DROP)
        throttle(system, True)
        everywhere(dict.fromkeys(loads, f"touch {GO}"), 60)
        outputs = everywhere(dict.fromkeys(loads, programs.script("await_background", JOB, limit)), limit + 30)
        after = server_counts(system, disks, kind, "sync")
        throttle(system, False)
    found = {guest: figures(output.removeprefix("ready\n"), guest) for guest, output in outputs.items()}
    return Result(
        {guest: one["rate"][0] for guest, one in found.items()},
        {guest: tuple(one.get("sync", ())) for guest, one in found.items()},
        # The partitions' disk has no file system of the server's, and its journal stands still meanwhile.
        after[0] - before[0],
        sum(one["written"][0] for one in found.values()),
        float(after[1] - before[1]),
    )


def neighbours(guests: Sequence[str], victim: str) -> dict[str, str]:
    """The loads where one guest syncs and all others flood."""
    return {guest: VICTIM if guest == victim else FLOOD for guest in guests}


def own_ranges(system: SplitRun, disks: Disks, kind: str, guests: Sequence[str]) -> list[Range]:
    """Where each guest's blocks are on the server's disk."""
    found = []
    if kind == "part":
        for number, guest in enumerate(guests, 1):
            base = f"/sys/class/block/{disks.parts}{number}"
            start, size = map(int, run_in(system.execute, SERVER, f"cat {base}/start {base}/size", 60).split())
            found.append(Range(guest, start, start + size))
        return found
    command = programs.command(storage_extents.show, folder="/run/bench")
    for line in run_in(system.execute, SERVER, command, 120).splitlines():
        name, start_byte, length = line.split()
        guest, _, its = name.partition(".")
        if its == kind:
            found.append(Range(guest, int(start_byte) // 512, (int(start_byte) + int(length)) // 512))
    return found


def remount(system: SplitRun, disks: Disks, guests: Sequence[str], options: str) -> None:
    """Mount the server's file system anew: which way ext4 writes a file is decided when it is opened first."""
    for state, there in (("off", ""), ("on", "y")):
        script = programs.script("storage_remount", state, f"/dev/{disks.files}", options)
        run_in(system.execute, SERVER, script, 120)
        for guest in guests:
            for number, kind in enumerate(FILES, 1):
                device = disks.guests[guest][kind]
                # The name alone could be that of the guest's other file.
                look = f'[ -b /dev/{device} ] && [ "$(cat /sys/class/block/{device}/nsid)" = {number} ] && echo y'
                wait = f"for try in $(seq 300); do [ \"$({look})\" = '{there}' ] && exit 0; sleep 0.2; done; exit 1"
                run_in(system.execute, guest, wait, 120)


def trace_syncs(system: SplitRun, disks: Disks, traced: str, guests: Sequence[str], times: int) -> list[Window]:
    """What the disk gets while the first guest syncs a page and nothing else happens, after the second has written.

    The second has written a piece, the server has written it back, as it does every 5 s, and then the second has
    written the same piece again and a new one. From then on the server writes nothing back of its own accord, and no
    guest's file system is mounted: what is written then, the first guest's sync has caused.

    traced: a name of TRACED.
    """
    kind, options = TRACED[traced]
    victim, other = guests[0], guests[1]
    for guest in guests:
        run_in(system.execute, guest, "for at in $(grep -o '/mnt/[fps][^ ]*' /proc/mounts); do umount $at; done", 120)
    if kind != "part":
        remount(system, disks, guests, options)
    number = run_in(system.execute, SERVER, f"cat /sys/class/block/{disks.server_disk(kind)}/dev", 60).strip()
    enable = "; ".join(f"echo 1 >events/block/{event}/enable" for event in EVENTS)
    begin = f"[ -d {TRACING}/events ] || mount -t tracefs tracefs {TRACING}; cd {TRACING}; echo 0 >tracing_on; {enable}"
    run_in(system.execute, SERVER, begin, 60)
    texts = []
    for turn in range(times):
        run_in(system.execute, SERVER, f"echo 0 >{FLUSHER}; sync", 60)
        device = f"/dev/{disks.guests[other][kind]}"
        write = f"dd if=/dev/urandom of={device} bs={PIECE} seek={2 * turn} oflag=direct 2>/dev/null"
        run_in(system.execute, other, f"{write} count=1", 60)
        back = f"was=$(cat {EXPIRE}); echo 1 >{EXPIRE}; echo 10 >{FLUSHER}; sleep 0.5; echo 0 >{FLUSHER}; "
        back += f"echo $was >{EXPIRE}"
        run_in(system.execute, SERVER, back, 60)
        run_in(system.execute, other, f"{write} count=2", 60)
        run_in(system.execute, SERVER, f"cd {TRACING}; echo >trace; echo 1 >tracing_on", 60)
        device = f"/dev/{disks.guests[victim][kind]}"
        one = f"dd if=/dev/urandom of={device} bs={PAGE} count=1 seek={turn} conv=fsync 2>/dev/null"
        run_in(system.execute, victim, one, 60)
        texts.append(run_in(system.execute, SERVER, f"cd {TRACING}; echo 0 >tracing_on; cat trace", 60))
    run_in(system.execute, SERVER, f"echo 500 >{FLUSHER}; sync", 60)
    ranges = own_ranges(system, disks, kind, guests)
    return [window(parse(text, number), ranges) for text in texts]
