"""Linux's own USB test driver, usbtest, against gadget zero: control, bulk, isochronous, unlinking.

The cases are those of drivers/usb/misc/usbtest.c; each is run without USB/IP as well, in the server itself, so that
what fails there is not laid at USB/IP's door.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench import device_programs as programs
from bench.device_models import Outcome
from bench.device_stand import Attached, Stand
from router.errors import MachineError
from router.usbip.protocol.descriptors import parse_alternates

ZERO = "0525:a4a0"
"""Gadget zero, which usbtest binds to."""
NATIVE = "without USB/IP"


@dataclass(frozen=True)
class Case:
    """A case with its parameters: how often, bytes a transfer, by how many the length varies, transfers at once."""

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
    def words(self) -> tuple[int, ...]:
        """For the driver."""
        return self.number, self.times, self.length, self.vary, self.pieces


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
    Case(15, "isochronous out", 2, 512, 0, 4),
    Case(16, "isochronous in", 2, 512, 0, 4),
)
UNLINK = (
    Case(11, "unlink bulk in", 4, 4096),
    Case(12, "unlink bulk out", 4, 4096),
    Case(24, "unlink from a queue of bulk out", 4, 4096, 0, 8),
)
"""The last ones, because a device is of no use after one that hangs."""
LIMIT = 30.0
"""Seconds for each group of cases."""
REBIND = """
echo {alternate} >/sys/module/usbtest/parameters/alt
cd /sys/bus/usb/drivers/usbtest
for i in *:1.0; do echo $i >unbind; echo $i >bind; done
"""


def run_cases(stand: Stand, guest: str, seen: Attached) -> dict[str, str]:
    """Each case's name and `ok`, or the error's name, where the gadget is bound to usbtest."""
    found: dict[str, str] = {}
    alternates = parse_alternates(seen.descriptors, seen.config)
    for alternate, cases in ((0, PLAIN), (1, ISO), (0, UNLINK)):
        if (0, alternate) not in alternates:
            found |= {case.name: NO_ENDPOINTS for case in cases}
            continue
        stand.run(guest, REBIND.format(alternate=alternate))
        rows = stand.rows(guest, programs.USBTEST, LIMIT, NODE=seen.node, CASES=[case.words for case in cases])
        found |= {case.name: row[1] for case, row in zip(cases, rows, strict=False)}
        if len(rows) < len(cases):
            found[cases[len(rows)].name] = "hangs"
            stand.tell_trouble()
            break
    return found


NO_ENDPOINTS = "dummy_hcd has no such endpoints"


def usbtest(gadget: Callable[..., None]) -> Callable[[Stand], Outcome]:
    """The exercise; `gadget` plugs one in."""

    def plug(stand: Stand) -> None:
        gadget(stand, ("usb_f_ss_lb",), {"SourceSink.0": {"pattern": "echo 1"}}, {"Loopback.0": {}}, device=ZERO)

    def natively(stand: Stand) -> dict[str, str]:
        stand.use("none")
        try:
            plug(stand)
            stand.run("server", "modprobe usbtest pattern=1")
            words = {"MARK": "/dummy_hcd", "DEVICE": ZERO, "DRIVER": "usbtest", "SECONDS": 10, "SETTLE": 5}
            facts = stand.program("server", programs.FACTS, 40, **words)
            if facts is None:
                raise MachineError("gadget zero did not appear in the server")
            return run_cases(stand, "server", Attached(**facts))
        finally:
            stand.undo()
            stand.run("server", "rmmod usbtest || true")
            stand.use(stand.engine)

    def exercise(stand: Stand) -> Outcome:
        if NATIVE not in stand.notes:
            stand.notes[NATIVE] = natively(stand)
        native = stand.notes[NATIVE]
        stand.run("client", "modprobe usbtest pattern=1")
        plug(stand)
        seen = stand.attached(ZERO, "usbtest")
        routed = run_cases(stand, "client", seen)
        return judge(native, routed, stand.engine)

    return exercise


def judge(native: dict[str, str], routed: dict[str, str], engine: str) -> Outcome:
    """What differs from the same cases without USB/IP is an issue; MachineError when none works."""
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
