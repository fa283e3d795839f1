# SPDX-License-Identifier: BSD-2-Clause
"""Programs and scripts for guests: each arrives whole, gets its arguments, and needs only what a guest has."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench import programs
from bench.guest import (
    arguments,
    exchange_client,
    exchange_server,
    hid_gadget,
    input_events,
    offloads,
    printer_gadget,
    serial_line,
    throughput,
    throughput_server,
    usb_device,
    usbtest_cases,
)
from bench.programs import GUEST, PACKAGE, background, command, imported, imports, script, source
from bench.systems import figures
from router.errors import MachineError
from router.guests.python import program_sources, stdlib_closure
from router.usbip.policy.file import parse_policy
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from router.usbip.virtual.engine import VirtualEngine
from router.usbip.virtual.keyboard import Keyboard
from tests.support.patience import PATIENCE, free_port

MODULES = sorted(path.stem for path in GUEST.glob("*.py"))
SCRIPTS = sorted(path.stem for path in GUEST.glob("*.sh"))
BUILT_IN = {"array", "binascii", "errno", "fcntl", "itertools", "select", "sys", "time"}
"""Modules that Debian builds into its interpreter (sys.builtin_module_names of python3-minimal)."""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands leave their archive in the guest's /tmp; here that is a folder of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("guest")))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def run(text: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command as a guest's agent does."""
    return subprocess.run(
        ["sh", "-c", 'eval "$0"', text], capture_output=True, text=True, timeout=PATIENCE, check=False
    )


@contextmanager
def started(text: str) -> Iterator[subprocess.Popen[str]]:
    """A command of `programs.command`, running; it is killed at the end."""
    # `exec`, so that the program is the process that is killed.
    text = text.replace("; python3 ", "; exec python3 ")
    with subprocess.Popen(["sh", "-c", text], stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def library() -> dict[str, bool]:
    """The standard library's modules that are Python source; True for packages."""
    root = Path(sysconfig.get_path("stdlib"))
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if "site-packages" not in parts:
            package = parts[-1] == "__init__"
            found[".".join(parts[:-1] if package else parts)] = package
    return found


def test_programs_import_only_what_a_guest_has() -> None:
    root, names = Path(sysconfig.get_path("stdlib")), library()

    def read(name: str) -> str:
        path = root / name.replace(".", "/")
        return (path / "__init__.py" if names[name] else path.with_suffix(".py")).read_text()

    sources = program_sources()
    there = {*stdlib_closure(sources, names, read, (), ()), *sources, *BUILT_IN}
    there |= {f"{PACKAGE}.{module}" for module in MODULES}
    missing = {(module, name) for module in MODULES for name in imports(source(module)) if name not in there}
    assert MODULES and not missing


@pytest.mark.parametrize("module", MODULES)
def test_the_annotations_of_programs_are_types_that_arguments_can_have(module: str) -> None:
    """With `from __future__ import annotations` they would be strings."""
    assert "__future__" not in imports(source(module))


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_correct_shell(name: str) -> None:
    checked = subprocess.run(["sh", "-n"], input=script(name, "a word", "it's"), capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    text = (GUEST / f"{name}.sh").read_text()
    assert text.splitlines()[1].startswith(f"# {name}.sh"), "its second line says how it is called"


def test_a_program_travels_with_the_modules_that_it_imports() -> None:
    assert imported("ccid") == {"ccid", "usbfs"}
    assert imported("exchange_client") == {"exchange_client", "tcp"}
    assert programs.archive("ccid") == programs.archive("ccid")


def test_an_argument_that_does_not_fit_is_refused_before_anything_runs() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'off'"):
        command(offloads.switch, on=True, off=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="missing a required argument: 'on'"):
        command(offloads.switch)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="cannot be given"):
        command(offloads.switch, on=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not in bench/guest"):
        command(test_programs_import_only_what_a_guest_has)


def test_every_kind_of_argument_arrives_as_it_was() -> None:
    seen: list[tuple[object, ...]] = []

    def program(whole: int, part: float, text: str, data: bytes, yes: bool, no: bool) -> None:
        seen.append((whole, part, text, data, yes, no))

    # What a module without `from __future__ import annotations` has.
    program.__annotations__.update(whole=int, part=float, text=str, data=bytes, yes=bool, no=bool)
    values: dict[str, Any] = {"whole": -1, "part": 0.1, "text": "a=b c'", "data": b"\0\xff", "yes": True, "no": False}
    arguments.call(program, [f"{name}={programs.as_word(value)}" for name, value in values.items()])
    assert seen == [tuple(values.values())]


def test_a_program_runs_in_an_isolated_python() -> None:
    """It finds no routed device here, so that it prints None; every module was found in the archive."""
    done = run(command(usb_device.describe, device="0000:0000", driver="", timeout_s=0.0, settle_s=0.0))
    assert (done.returncode, done.stdout, done.stderr) == (0, "None\n", "")


def test_a_program_that_fails_fails_the_command() -> None:
    done = run(command(usbtest_cases.run, node="/no/such/node", cases="1,1,1,1,1"))
    assert done.returncode == 1 and "FileNotFoundError" in done.stderr


def test_a_program_in_the_background_returns_at_once() -> None:
    done = run(f"{background(f'exec sleep {PATIENCE * 2:.0f}')} pid=$!; echo on; kill $pid")
    assert done.stdout == "on\n"


def test_a_program_in_the_background_is_ready_before_it_ends(tmp_path: Path) -> None:
    name = tmp_path / "it's a $job"
    assert run(script("background", name, 'echo ready; echo "it\'s 3"; exit 3')).returncode == 0
    done = run(script("await_background", name, 30))
    assert (done.returncode, done.stdout) == (3, "ready\nit's 3\n")


def test_paths_that_appear_are_printed(tmp_path: Path) -> None:
    threading.Timer(0.3, (tmp_path / "ttyUSB7").touch).start()
    done = run(script("wait_for_paths", tmp_path / "ttyUSB*", 30))
    assert done.stdout.split() == [str(tmp_path / "ttyUSB7")]
    assert "timed out" in run(script("wait_for_paths", tmp_path / "ttyACM*", 0)).stdout


def test_only_what_came_over_usbip_has_a_name(tmp_path: Path) -> None:
    for target, name in (("/sys/devices/platform/vhci_hcd.0/usb2/sda", "sda"), ("/sys/devices/pci0/vda", "vda")):
        (tmp_path / name).symlink_to(target)
    assert run(script("routed_name", tmp_path, "sd.", 1)).stdout.split() == ["sda"]
    assert "timed out" in run(script("routed_name", tmp_path, "vd.", 0)).stdout


def test_what_the_printer_receives_is_saved(tmp_path: Path) -> None:
    pipe, paper, page = tmp_path / "pipe", tmp_path / "paper", os.urandom(5000)
    os.mkfifo(pipe)
    save = command(printer_gadget.save, path=str(pipe), count=len(page), paper=str(paper), timeout_s=PATIENCE)
    with started(save) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        pipe.write_bytes(page)
        assert child.stdout.read() == f"{len(page)}\n"
    assert paper.read_bytes() == page


def test_input_reports_go_out_and_output_reports_come_in() -> None:
    """A pseudo-terminal stands in for the gadget's device file."""
    here, there = pty.openpty()
    subprocess.run(["stty", "-F", os.ttyname(there), "raw", "-echo"], check=True)
    path, reports = os.ttyname(there), bytes(range(16))
    send = command(hid_gadget.send_reports, path=path, reports=reports, size=8, expect=b"\x02", timeout_s=PATIENCE)
    with started(send) as child:
        received = b""
        while len(received) < 16:
            received += os.read(here, 64)
        os.write(here, b"\x02")
        assert child.stdout is not None and ast.literal_eval(child.stdout.read())[-1:] == [b"\x02"]
    assert received == reports


def test_a_serial_lines_ends_agree_on_what_was_inverted() -> None:
    (one, one_tty), (other, other_tty) = pty.openpty(), pty.openpty()
    for tty in (one_tty, other_tty):
        subprocess.run(["stty", "-F", os.ttyname(tty), "raw", "-echo"], check=True)

    def join(source_end: int, target: int) -> None:
        while data := os.read(source_end, 4096):
            os.write(target, data)

    for pair in ((one, other), (other, one)):
        threading.Thread(target=join, args=pair, daemon=True).start()
    echo = command(serial_line.echo_inverted, path=os.ttyname(one_tty), count=3000, timeout_s=PATIENCE)
    talk = command(serial_line.talk, path=os.ttyname(other_tty), count=3000, timeout_s=PATIENCE)
    with started(echo) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        assert run(talk).stdout == "(3000, True)\n"
        assert child.stdout.read() == "3000\n"


def test_the_echo_over_tcp_has_a_time_for_each_round_trip() -> None:
    port = free_port()
    with started(command(throughput_server.serve, port=port)):
        start = f"from {PACKAGE}.throughput import measure_echo; measure_echo('127.0.0.1', {port}, 5)"
        done = subprocess.run(
            [sys.executable, "-c", start], cwd=GUEST.parents[1], capture_output=True, text=True, timeout=PATIENCE
        )
        found = figures(done.stdout, "client")
    assert set(found) == {"echo"} and len(found["echo"]) == 5 and all(value > 0 for value in found["echo"])


def test_a_disk_is_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(3 << 20))
    monkeypatch.setattr(throughput, "drop_caches", lambda: None)
    throughput.disk(str(disk), 2, 3 << 20)
    found = figures(capsys.readouterr().out, "client")
    assert {name: len(values) for name, values in found.items()} == {"disk": 2, "write": 2}


def test_exchanges_are_timed_with_bare_tcp_and_with_a_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    """The daemon is ours with a virtual keyboard."""
    loop, stop = Loop(), threading.Event()
    engine = VirtualEngine(loop)
    busid = engine.plug(Keyboard()).busid
    server = Server(loop, [engine], parse_policy("allow any all"))
    urb_port = server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1]
    server.rescan()

    def spin() -> None:
        while not stop.is_set():
            loop.run_once(0.02)

    daemon = threading.Thread(target=spin)
    daemon.start()
    port = free_port()
    try:
        with started(command(exchange_server.serve, port=port)):
            exchange_client.measure("127.0.0.1", port, urb_port, busid)
    finally:
        stop.set()
        daemon.join()
        server.close(release=True)
        engine.close()
        loop.close()
    # The daemon, which prints what it exports, is in this process.
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("router-usbip: ")]
    found = figures("\n".join(lines), "client")
    assert {name: len(values) for name, values in found.items()} == {"tcp read": 1, "tcp one": 1, "kernel urb": 1}
    assert all(values[0] > 0 for values in found.values())


def test_the_exchange_server_reads_the_sizes_it_is_given() -> None:
    assert exchange_server.parse_sizes("79,48 48,4144\n") == [(79, 48), (48, 4144)]


def test_an_input_event_has_the_kernels_layout() -> None:
    """struct input_event on 64-bit Linux: two longs, two shorts, an int."""
    assert input_events.EVENT.size == 24


def test_a_line_that_is_not_a_figure_is_an_error() -> None:
    assert figures("tcp one 1e-3\ntcp one 0.5\n", "client") == {"tcp one": [0.001, 0.5]}
    for line in ("Traceback (most recent call last):", "17", "tcp -1"):
        with pytest.raises(MachineError, match="the measurement in 'client' printed"):
            figures(line, "client")
