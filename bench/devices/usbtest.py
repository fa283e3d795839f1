# SPDX-License-Identifier: BSD-2-Clause
"""Linux's own USB test driver, usbtest, against gadget zero: control, bulk, isochronous, unlinking.

The cases are those of drivers/usb/misc/usbtest.c; each is run without USB/IP as well, in the server itself, so that
failures there are not blamed on USB/IP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import programs
from bench.devices.gadget import gadget
from bench.devices.models import Outcome
from bench.devices.rig import Attached, Rig
from bench.guest import usb_device, usbtest_cases
from router.errors import MachineError
from router.usbip.protocol.descriptors import parse_alternates

ZERO = "0525:a4a0"
"""Gadget zero, which usbtest binds to."""
NATIVE = "without USB/IP"


@dataclass(frozen=True)
class Case:
    """A case with its parameters: iterations, bytes of a transfer, by how many the length varies, transfers at once."""

    number: int
    what: str
    times: int
    length: int = 0
    vary: int = 0
    pieces: int = 0

    @property
    def name(self) -> str:
        """For the table."""
        return f"{self.number} {self.what}"

    @property
    def word(self) -> str:
        """For bench/guest/usbtest_cases.py."""
        return f"{self.number},{self.times},{self.length},{self.vary},{self.pieces}"


PLAIN = (
    Case(1, "bulk out", 16, 4096),
    Case(2, "bulk in", 16, 4096),
    Case(3, "bulk out, lengths vary", 16, 4096, 421),
    Case(4, "bulk in, lengths vary", 16, 4096, 512),
    Case(5, "bulk out, scatter-gather", 4, 4096, 0, 8),
    Case(6, "bulk in, scatter-gather", 4, 4096, 0, 8),
    Case(7, "bulk out, scatter-gather, lengths vary", 4, 4096, 512, 8),
    Case(8, "bulk in, scatter-gather, lengths vary", 4, 4096, 512, 8),
    Case(9, "standard control requests", 4),
    Case(10, "queued control requests", 4, 0, 0, 8),
    Case(13, "set and clear halt", 2, 512),
    Case(14, "control out, lengths vary", 8, 256, 83),
    Case(17, "bulk out, odd address", 8, 4096),
    Case(18, "bulk in, odd address", 8, 4096),
    Case(21, "control out, odd address", 8, 256, 83),
    Case(29, "clear toggle between bulk out", 4, 512),
)
ISO = (
    Case(15, "isochronous out", 3, 32 << 10, 0, 8),
    Case(16, "isochronous in", 3, 32 << 10, 0, 8),
)
INTERRUPT = (
    Case(25, "interrupt out", 8, 64),
    Case(26, "interrupt in", 8, 64),
)
UNLINK = (
    Case(11, "unlink bulk in", 4, 4096),
    Case(12, "unlink bulk out", 4, 4096),
    Case(24, "unlink from a queue of bulk out", 4, 4096, 0, 8),
)
"""These run last, because a device is unusable after one that hangs."""
GROUP_TIMEOUT_S = 30.0
"""For the cases of one group together."""
NO_ENDPOINTS = "dummy_hcd has no such endpoints"
Groups = tuple[tuple[int, tuple[Case, ...]], ...]
"""Cases, and the alternate setting that has the endpoints for them."""
GADGET_GROUPS: Groups = ((0, PLAIN), (1, ISO), (0, UNLINK))


def run_cases(rig: Rig, guest: str, seen: Attached, groups: Groups) -> dict[str, str]:
    """Each case's name and `ok`, or the error's name, where the device is bound to usbtest."""
    found: dict[str, str] = {}
    alternates = parse_alternates(seen.descriptors, seen.config)
    for alternate, cases in groups:
        if (0, alternate) not in alternates:
            found |= {case.name: NO_ENDPOINTS for case in cases}
            continue
        rig.run(guest, programs.script("rebind_usbtest", alternate))
        words = " ".join(case.word for case in cases)
        rows = rig.rows(guest, GROUP_TIMEOUT_S, usbtest_cases.run, node=seen.node, cases=words)
        found |= {case.name: row[1] for case, row in zip(cases, rows, strict=False)}
        if len(rows) < len(cases):
            found[cases[len(rows)].name] = "hangs"
            rig.show_kernel_logs()
            break
    return found


def plug(rig: Rig) -> None:
    """Plug gadget zero into the server."""
    gadget(rig, ("usb_f_ss_lb",), {"SourceSink.0": {"pattern": "echo 1"}}, {"Loopback.0": {}}, device=ZERO)


def run_natively(rig: Rig, plug_in: Callable[[Rig], object], mark: str, groups: Groups) -> dict[str, str]:
    """The cases in the server itself. mark: what the device's path in the server's sysfs has."""
    rig.use_engine("none")
    try:
        plug_in(rig)
        rig.run("server", "modprobe usbtest pattern=1")
        facts = rig.program(
            "server",
            40,
            usb_device.describe,
            device=ZERO,
            driver="usbtest",
            timeout_s=10,
            settle_s=5,
            mark=mark,
        )
        if facts is None:
            raise MachineError(f"{ZERO} did not appear in the server")
        return run_cases(rig, "server", Attached(**facts), groups)
    finally:
        rig.cleanup()
        rig.run("server", "rmmod usbtest || true")
        rig.use_engine(rig.engine)


def usbtest(rig: Rig) -> Outcome:
    """Gadget zero: all cases, natively and over the route."""
    return both_ways(rig, plug, "/dummy_hcd", GADGET_GROUPS)


def both_ways(rig: Rig, plug_in: Callable[[Rig], object], mark: str, groups: Groups) -> Outcome:
    """The cases of a device for usbtest, natively and over the route."""
    known = f"usbtest {mark}"
    if known not in rig.native:
        rig.native[known] = run_natively(rig, plug_in, mark, groups)
    rig.run("client", "modprobe usbtest pattern=1")
    plug_in(rig)
    routed = run_cases(rig, "client", rig.wait_attached(ZERO, "usbtest"), groups)
    return judge(rig.native[known], routed, rig.engine)


def judge(native: dict[str, str], routed: dict[str, str], engine: str) -> Outcome:
    """A case with another result than without USB/IP is an issue; MachineError when no case works."""
    if "ok" not in routed.values():
        raise MachineError(f"no case of usbtest works: {routed}")
    cases = {
        name: {way: results.get(name, "not run") for way, results in ((NATIVE, native), (f"engine {engine}", routed))}
        for name in dict.fromkeys((*native, *routed))
    }
    worse = [
        f"case {name}: {result[f'engine {engine}']}"
        for name, result in cases.items()
        if result[NATIVE] != result[f"engine {engine}"]
    ]
    results = list(routed.values())
    done = f"usbtest with patterned data: {results.count('ok')} of {len(results)} cases pass"
    if NO_ENDPOINTS in results:
        done += f"; for {results.count(NO_ENDPOINTS)} {NO_ENDPOINTS}"
    return Outcome(done, tuple(worse), cases=cases)
