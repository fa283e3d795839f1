# SPDX-License-Identifier: BSD-2-Clause
"""Reading the protection domains' counts, comparing two runs, and the stages of a start."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import counters
from bench.compare import compare, read
from bench.profile import stages
from bench.report import Measurement, Row, as_json, median
from router import resources
from router.cli import main
from router.errors import DescriptionError, MachineError

PROGRAM = """
#include "counts.h"
#include <stdio.h>
int main(void)
{
    counts_init("vmm_client", 62500000, 7);
    count(COUNTS_TRAP_EARLY);
    count_many(COUNTS_BYTES_IN, 41);
    count_total(COUNTS_AT_DEVICES, 99);
    fwrite(&counts, sizeof(counts), 1, stdout);
    return 0;
}
"""


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What lies in a domain's memory, as its program wrote it."""
    folder, common = tmp_path_factory.mktemp("counts"), resources.root() / "common"
    (folder / "main.c").write_text(PROGRAM)
    words = ["cc", "-no-pie", f"-I{common}", f"{folder}/main.c", f"{common}/counts.c", "-o", f"{folder}/program"]
    subprocess.run(words, check=True)
    return subprocess.run([folder / "program"], capture_output=True, check=True).stdout


class Machine:
    """Stands in for QEMU's monitor: physical memory, and what it says of its TLB."""

    def __init__(self, base: int, memory: bytes) -> None:
        self.base, self.memory = base, memory
        self.stopped: list[str] = []

    def execute(self, command: str, **arguments: Any) -> Any:
        if command == "pmemsave":
            start = arguments["val"] - self.base
            shown = bytes(max(0, -start)) + self.memory[max(0, start) : max(0, start + arguments["size"])]
            Path(arguments["filename"]).write_bytes(shown.ljust(arguments["size"], b"\0"))
            return {}
        if command == "human-monitor-command":
            return "TLB full flushes    3\r\nTLB partial flushes 40\r\nTLB elided flushes  500\r\n"
        self.stopped.append(command)
        return {}


def system(machine: Machine, *domains: str) -> Any:
    """A run whose plan has a guest's RAM in front and these domains."""
    region = SimpleNamespace(physical=SimpleNamespace(start=0x6000_0000, end=0x6001_0000))
    plan = SimpleNamespace(
        board=SimpleNamespace(ram=SimpleNamespace(start=0x6000_0000, end=0x6010_0000)),
        regions=[region],
        pds=[SimpleNamespace(name=name) for name in (*domains, "ticker")],
    )
    return SimpleNamespace(plan=plan, guests={"client": SimpleNamespace(qmp=machine)})


def placed(memory: bytes, base: int) -> int:
    """An address at or behind `base` with the offset in its page that the structure has."""
    (address,) = struct.unpack_from("<Q", memory, 16)
    return base + int(address) % counters.PAGE


def test_the_counts_of_a_domain_are_found_and_read(tmp_path: Path, memory: bytes) -> None:
    machine = Machine(placed(memory, 0x6008_0000), memory)
    found = counters.Counters(system(machine, "vmm_client"), tmp_path)
    counts = found.read()
    assert counts["qemu"] == {"TLB_FLUSHES": 43}
    of = counts["vmm_client"]
    assert {name: value for name, value in of.items() if value} == {
        "TRAP_EARLY": 1,
        "BYTES_IN": 41,
        "AT_START": 7,
        "AT_DEVICES": 99,
    }
    assert found.hertz == 62_500_000
    assert machine.stopped == ["stop", "cont"] * 2
    assert list(tmp_path.iterdir()) == []


def test_what_a_guest_wrote_is_not_taken_for_counts(tmp_path: Path, memory: bytes) -> None:
    in_guest = Machine(placed(memory, 0x6000_2000), memory)
    elsewhere = Machine(placed(memory, 0x6008_0000) + 64, memory)
    for machine in (in_guest, elsewhere):
        with pytest.raises(MachineError, match="no counts of vmm_client in the machine's memory"):
            counters.Counters(system(machine, "vmm_client"), tmp_path).read()
        assert machine.stopped == ["stop", "cont"]


def test_every_count_has_a_name_and_a_meaning() -> None:
    text = counters.header()
    assert set(re.findall(r"\bX\((\w+),", text)) == counters.meanings(text).keys()
    sources = [*(resources.root() / "vmm").glob("*.c"), *(resources.root() / "drivers").glob("*.c")]
    sources += [*(resources.root() / "vswitch/pd").glob("*.c"), resources.root() / "common/counts.h"]
    used = set(re.findall(r"\bCOUNTS_([A-Z_]+)\b", "".join(path.read_text() for path in sources)))
    assert counters.meanings(text).keys() <= used


def test_moments_have_no_difference() -> None:
    before: counters.Counts = {"vmm_a": {"TRAP_NET": 3, "AT_START": 5}}
    after: counters.Counts = {"vmm_a": {"TRAP_NET": 10, "AT_START": 5}}
    assert counters.difference(before, after) == {"vmm_a": {"TRAP_NET": 7}}
    assert counters.total(after, "TRAP_") == 10


def recorded(path: Path, name: str, *rows: Row) -> Path:
    path.write_text(as_json(Measurement(name, ("here",), rows)))
    return path


def test_two_runs_are_compared_with_their_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Row("traps", 100, ""), median("echo", "ms", [4, 5, 6]), median("tcp", "MiB/s", [9, 10]), Row("old", 1, "s")
    others = Row("traps", 90, ""), median("echo", "ms", [5, 6, 7]), median("tcp", "MiB/s", [20, 21]), Row("new", 1, "s")
    first, second = recorded(tmp_path / "a", "counts", *rows), recorded(tmp_path / "b", "counts", *others)
    assert main(["bench", "compare", str(first), str(second)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["traps"].endswith("-10.0 %")
    assert lines["echo"].endswith("within the noise")
    assert lines["tcp"].endswith("+115.8 %")
    assert lines["old"].endswith("only in one")
    assert lines["new"].endswith("only in one")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = recorded(tmp_path / "a", "counts", Row("traps", 100, ""))
    other = recorded(tmp_path / "b", "route", Row("traps", 100, ""))
    with pytest.raises(DescriptionError, match="different measurements"):
        compare(read(one), read(other))
    for text in ("", "[]", json.dumps({"rows": [{"name": 1}]}), "[" * 100_000):
        one.write_text(text)
        with pytest.raises(DescriptionError, match="not the JSON of a measurement"):
            read(one)
    with pytest.raises(DescriptionError, match="cannot be read"):
        read(tmp_path / "none")
    assert main(["bench", "compare", str(other)]) == 2
    assert main(["bench", "vswitch", str(other)]) == 2


def test_a_kernel_log_becomes_stages() -> None:
    log = """\
[    0.163163] Trying to unpack rootfs image as initramfs...
[    1.017664] Freeing initrd memory: 7008K
[    1.435252] Run /init as init process
[    1.773913] router: guest client: userspace up
[    3.100000] router: guest client: attached 2-1 port 1
"""
    shown = [(name, round(seconds, 2), round(at, 2)) for name, seconds, at in stages(log, 3.0)]
    assert shown == [
        ("kernel, until it unpacks the initramfs", 0.16, 3.16),
        ("initramfs unpacked, and drivers meanwhile", 0.85, 4.02),
        ("built-in drivers, self-tests, certificates", 0.42, 4.44),
        ("init, and modules of the first stage", 0.34, 4.77),
        ("Python, the client, the device attached", 1.33, 6.1),
    ]
