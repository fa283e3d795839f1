# SPDX-License-Identifier: BSD-2-Clause
"""A disk that is attached and detached many times, in guests that go on running: nothing is lost on either side.

ROUTER_CYCLES says how often; `pytest -s` shows the counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from router.testing import Router

CYCLES = int(os.environ.get("ROUTER_CYCLES", "200"))
WARM_UP = 5
"""Cycles before counting: what is made once is there then."""
MAX_LOST_KIB = 6 << 10
"""Memory that a guest may have less: what the kernel keeps for itself varies by some MiB. 200 cycles that lose one
large URB buffer (64 KiB) each lose twice as much."""
MAX_GROWN_KIB = 1 << 10
"""The same of the programs' own memory, and of what the kernel cannot reclaim of its slabs."""
COUNTS = r"""
sync; echo 3 >/proc/sys/vm/drop_caches; sleep 1
programs=0 fds=0 threads=0 rss=0
for p in /proc/[0-9]*; do
  [ "$(readlink $p/exe)" ] || continue
  [ "${p#/proc/}" != $$ ] || continue
  programs=$((programs + 1)) fds=$((fds + $(ls $p/fd 2>/dev/null | wc -l)))
  threads=$((threads + $(ls $p/task 2>/dev/null | wc -l)))
  r=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' $p/status 2>/dev/null); rss=$((rss + ${r:-0}))
done
dead=$(grep -hE '^State:.[ZD]' /proc/[0-9]*/status 2>/dev/null | wc -l)
ports=$(cat /sys/devices/platform/vhci_hcd.*/status* 2>/dev/null | awk '$3 == 6' | wc -l)
memory() { sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" /proc/meminfo; }
echo $programs $fds $threads $(sed -n 's/^TCP: inuse \([0-9]*\) .*/\1/p' /proc/net/sockstat) $ports $dead \
  $rss $(memory SUnreclaim) $(memory MemAvailable)
"""
"""In a guest: all programs but this one, their file descriptors and threads, TCP sockets, ports of vhci in use (status
6 is VDEV_ST_USED, Linux's usbip_common.h), processes in state Z or D; KiB: the programs' memory, the kernel's slabs,
what is available."""


@dataclass(frozen=True)
class Counts:
    """What a guest holds. Memory in KiB."""

    programs: int
    descriptors: int
    threads: int
    sockets: int
    ports: int
    dead: int
    programs_kib: int
    slabs_kib: int
    available_kib: int

    @property
    def held(self) -> tuple[int, ...]:
        """What must be the same afterwards."""
        return (self.programs, self.descriptors, self.threads, self.sockets, self.ports, self.dead)


def counts(router: Router, guest: str) -> Counts:
    return Counts(*map(int, router.guest(guest).run(COUNTS).stdout.split()))


def errors(router: Router, guest: str) -> set[str]:
    """What the guest's kernel has said at the level of an error or worse, without times; not its milestones.

    usbip-host says "recv a header, 0" at the end of every session.
    """
    said = router.guest(guest).run("dmesg -r | grep '^<[0-3]>' || true").stdout.splitlines()
    return {line.partition("] ")[2] for line in said if "router: guest" not in line}


def attached(router: Router) -> str:
    """The path of the client's disk, once it can be read."""
    found = router.guest("client").wait_for("d=$(ls /dev/sd?) && head -c 65536 $d >/dev/null && echo $d")
    return found.stdout.strip()


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_attaching_and_detaching_many_times_loses_nothing_on_either_side(router: Router) -> None:
    client = router.guest("client")
    wanted = client.sha256(attached(router))

    def cycle() -> None:
        router.detach("client", "2-1")
        client.wait_for("! ls /dev/sd?")
        router.attach("client", "2-1")
        attached(router)

    for _ in range(WARM_UP):
        cycle()
    before = {guest: (counts(router, guest), errors(router, guest)) for guest in ("client", "server")}
    for _ in range(CYCLES):
        cycle()
    assert client.sha256(attached(router)) == wanted
    for guest, (was, said) in before.items():
        now = counts(router, guest)
        print(f"{CYCLES} cycles, {guest}: {was} -> {now}")
        assert now.held == was.held, guest
        assert now.dead == 0, guest
        assert was.available_kib - now.available_kib < MAX_LOST_KIB, guest
        assert now.slabs_kib - was.slabs_kib < MAX_GROWN_KIB, guest
        assert now.programs_kib - was.programs_kib < MAX_GROWN_KIB, guest
        assert errors(router, guest) <= said, guest
