# SPDX-License-Identifier: BSD-2-Clause
"""Reading a description is quick enough not to be noticed. Processor time is measured: other work does not count."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.description.catalogue import Catalogue
from router.description.load import load
from tests.support.patience import PATIENCE, processor_seconds

CATALOGUE = Catalogue(("qemu",), {"usb-server": "server", "usb-client": "client"})
GUESTS = 30
LIMIT = 0.150
"""Seconds to read thirty guests."""
PROCESS_LIMIT = 0.5
"""Seconds for a whole process, from the start of Python on; `router check` has this for everything."""


def thirty_guests() -> str:
    """A description with a server, twenty-nine clients, and every client's rules."""
    text = "system: many\nboard: qemu\nguests:\n  server: {image: usb-server, passthrough: [pcie@3f000000]}\n"
    for number in range(1, GUESTS):
        text += f"  client{number}:\n    image: usb-client\n    memory: 128 MiB\n    address: 10.77.0.{number + 10}\n"
        text += f"    mac: 52:54:00:12:34:{number:02x}\n    usb: {{version: 3, ports: 8}}\n"
    text += "network:\n  allow:\n"
    text += "".join(f"    - client{number} -> server tcp/3240\n" for number in range(1, GUESTS))
    text += "usb:\n"
    for number in range(1, GUESTS):
        text += f'  - {{device: "046d:{number:04x}", to: client{number}, port: 1}}\n'
        text += f"  - {{path: 1-1.{number}, class: hid, to: client{number}}}\n"
    return text


@pytest.fixture
def many(tmp_path: Path) -> Path:
    file = tmp_path / "many.yaml"
    file.write_text(thirty_guests(), encoding="utf-8")
    return file


def test_thirty_guests_are_read_in_no_time(many: Path) -> None:
    assert len(load(many, CATALOGUE).description.guests) == GUESTS
    best = min(timed(many) for _ in range(5))
    assert best < LIMIT, f"{best * 1000:.0f} ms"


def timed(file: Path) -> float:
    start = time.process_time()
    load(file, CATALOGUE)
    return time.process_time() - start


def test_a_fresh_process_reads_thirty_guests_within_the_time_of_router_check(many: Path, tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from router.description.load import load; load(Path(sys.argv[1]))"
    best = processor_seconds(sys.executable, "-c", program, str(many), PYTHONPYCACHEPREFIX=str(tmp_path / "pyc"))
    assert best < PROCESS_LIMIT, f"{best * 1000:.0f} ms"


def test_reading_imports_nothing_that_it_does_not_need() -> None:
    heavy = ("fabric", "paramiko", "jinja2", "pyfdt", "serial", "shtab", "asyncio", "pydantic.v1")
    program = f"import sys; import router.description.load; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout.strip() == "[]"
