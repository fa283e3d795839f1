# SPDX-License-Identifier: BSD-2-Clause
"""The command line: what Debian's usbip prints and scripts parse, and errors with their exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.usbip.__main__ import VERBS, main
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.usbip.fakes import FakeKernel, run_until

Serve = Callable[[str], tuple[Server, Address]]


@pytest.fixture
def background(loop: Loop) -> Iterator[Callable[[], None]]:
    """Runs the loop in a thread, so that a blocking verb can talk to a server in it."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            loop.run_once(0.02)

    thread = threading.Thread(target=spin)
    yield thread.start
    stop.set()
    if thread.ident:
        thread.join()


def test_the_remote_list_is_laid_out_as_by_debians_tool(
    host: FakeKernel, serve: Serve, background: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    _, address = serve("allow any all")
    capsys.readouterr()
    background()
    assert main(["--tcp-port", str(address.port), "list", "-r", "127.0.0.1"]) == 0
    path = os.path.realpath(host.path("bus/usb/devices/1-1"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Exportable USB devices", "======================", " - 127.0.0.1"]
    assert lines[3].startswith("        1-1: ") and lines[3].endswith(" (46f4:0001)")
    assert lines[4] == f"           : {path}"
    assert lines[5] == "           : (Defined at Interface level) (00/00/00)"
    assert lines[6].startswith("           :  0 - ") and lines[6].endswith(" (08/06/50)")


def test_the_local_list_can_be_parsed(host: FakeKernel, capsys: pytest.CaptureFixture[str]) -> None:
    host.plug("1-1")
    host.plug("1-2", devnum=3, vid=0x46D, pid=0xC31C)
    assert main(["list", "-p", "-l", "--sysfs", host.root]) == 0
    assert capsys.readouterr().out == "busid=1-1#usbid=46f4:0001#\nbusid=1-2#usbid=046d:c31c#\n"


def test_binding_and_unbinding(
    host: FakeKernel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    monkeypatch.setattr("router.usbip.commands.bind.Sysfs", lambda _: host)
    assert main(["bind", "-b", "1-1"]) == 0
    assert host.link("bus/usb/devices/1-1/driver") == "usbip-host"
    assert capsys.readouterr().err == "usbip: info: bind device on busid 1-1: complete\n"
    assert main(["bind", "-b", "1-1"]) == 3
    assert "already bound to usbip-host" in capsys.readouterr().err
    assert main(["unbind", "--busid=1-1"]) == 0
    assert host.link("bus/usb/devices/1-1/driver") == "usb"
    assert main(["bind", "-b", "1-9"]) == 3


def test_attach_port_and_detach(
    host: FakeKernel,
    guest: FakeKernel,
    serve: Serve,
    background: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    host.plug("1-1")
    _, address = serve("allow any all")
    background()
    for verb in ("attach", "port", "detach"):
        monkeypatch.setattr(f"router.usbip.commands.{verb}.Sysfs", lambda _: guest)
        monkeypatch.setattr(f"router.usbip.commands.{verb}.STATE_DIR", str(tmp_path))
    capsys.readouterr()
    assert main(["attach", "-r", "127.0.0.1", "-b", "1-1", "-t", str(address.port), "-p", "2"]) == 0
    assert main(["port"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:3] == ["Imported USB devices", "====================", "Port 01: <Port in Use> at High Speed(480Mbps)"]
    assert out[4] == f"       1-2 -> usbip://127.0.0.1:{address.port}/1-1"
    assert out[5] == "           -> remote bus/dev 001/002"
    assert main(["detach", "-p", "1"]) == 0
    assert (guest.ports, capsys.readouterr().err.endswith("usbip: info: Port 1 is now detached!\n")) == ({}, True)
    assert main(["detach", "-p", "1"]) == 3


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["frobnicate"], 2, "there is no verb 'frobnicate'"),
        (["list"], 2, "list what?"),
        (["list", "--wrong"], 2, "unknown option --wrong"),
        (["attach", "-r"], 2, "-r needs a value"),
        (["attach", "-r", "10.0.0.1"], 2, "attach needs a server and a device"),
        (["bind", "-b", "../x"], 2, "'../x' is not a busid"),
        (["serve", "--policy", "/nonexistent"], 2, "cannot read the policy"),
        (["keep-attached", "--config", "/nonexistent"], 2, "cannot read it"),
        (["keep-attached", "a", "--usb", "4"], 2, "--usb is 2 or 3"),
        (["list", "-r", "127.0.0.1", "-t", "x"], 2, "--tcp-port 'x' is not a number"),
        (["list", "-r", "unix:/nonexistent"], 3, "cannot connect to unix:/nonexistent"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(
    words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    captured = capsys.readouterr()
    assert text in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_verb_explains_itself_even_without_docstrings(verb: str) -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "router.usbip", verb, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: usbip ")
    assert verb in done.stdout


def test_the_daemons_start_without_heavy_modules() -> None:
    """Importing costs a guest's daemon most of its start; none of these may come back by the way."""
    heavy = ["asyncio", "json", "re", "logging", "dataclasses", "typing", "subprocess", "argparse", "pathlib", "ctypes"]
    code = (
        "import sys; import router.usbip.__main__, router.usbip.commands.serve, router.usbip.commands.keep_attached;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_serve_runs_as_a_program_and_reloads_its_policy(host: FakeKernel, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text("allow any path 1-9\n")
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "router.usbip",
            "serve",
            "--policy",
            str(policy),
            "--listen",
            "127.0.0.1:0",
            "--sysfs",
            host.root,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout and server.stderr
        line = server.stdout.readline()
        assert line.startswith("router-usbip: listening 127.0.0.1:") and int(line.rpartition(":")[2])
        lines = iter(server.stderr.readline, "")
        policy.write_text("allow any pathetic\n")
        server.send_signal(1)
        assert any("the policy stays as it was" in line for line in lines)
        policy.write_text("allow any all\n")
        server.send_signal(1)
        assert any("1 rules" in line for line in lines)
        server.terminate()
        assert server.wait(5) == 0


def test_nothing_runs_on_after_a_stop(loop: Loop) -> None:
    ran: list[int] = []
    loop.call_later(0.01, lambda: ran.append(1))
    loop.call_later(0.02, loop.stop)
    loop.run()
    assert ran == [1]
    run_until(loop, lambda: True)
