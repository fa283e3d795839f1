# SPDX-License-Identifier: BSD-2-Clause
"""Nothing that a guest, a device, a peer or a folder says reaches the terminal as anything but text."""

from __future__ import annotations

import argparse
import ast
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import router
from router import cli, display
from router.cli import _common, _deployments, boards
from router.control.timeline import Timeline, event_line
from router.deploy.advice import explain
from router.deploy.events import DeployEvent
from router.deploy.tftp.wire import parse_error
from router.deploy.uboot import _last_words
from router.display import safe, safe_lines
from router.errors import DescriptionError, HostError, MachineError, RouterError, from_row, to_row
from router.lab.lock import Holder
from router.usb import find, text
from router.usb.facts import Attached, Controller, Device, Grant, Guest, Port, Snapshot
from router.usb.view import failure

HOSTILE = "".join(
    [
        "\x1b[2J\x1b]0;title\x07\x1b[8m",  # ESC: clear, set the title, conceal
        "".join(map(chr, range(0x20))),  # C0, line breaks included
        "\x7f",
        "".join(map(chr, range(0x80, 0xA0))),  # C1: 0x9b is CSI in one byte
        "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # bidirectional controls
        "\u2028\u2029\u200b\ufeff\U000e0041",  # line and paragraph separators, invisible characters, tags
        "\udc9b\ud800",  # a byte that is not UTF-8, and half a pair
        "\nerror: forged",
    ]
)


def harmless(shown: str) -> bool:
    """Whether a text of several lines has only printable characters, and the forged line begins none of them."""
    lines = shown.split("\n")
    return all(line.isprintable() and not line.startswith("error: forged") for line in lines)


@given(st.text(st.characters()))
def test_what_is_safe_is_printable_and_stays_as_it_is(given: str) -> None:
    shown = safe(given)
    assert shown.isprintable()
    assert safe(shown) == shown
    assert safe_lines(given, "  ").replace("\n", "").isprintable()
    if given.isprintable():
        assert shown == given


def test_no_hostile_character_is_left() -> None:
    assert not set(safe(HOSTILE)) & {char for char in HOSTILE if not char.isprintable()}
    assert safe("disk\x1b[2J\n") == "disk\\x1b[2J\\x0a"
    assert safe("\u202etxt.exe") == "\\u202etxt.exe"
    assert safe("\udcff\U000e0041") == "\\xff\\U000e0041"
    assert safe("Größe 3 µm, 键盘, клавиатура") == "Größe 3 µm, 键盘, клавиатура"


@pytest.mark.parametrize("kind", [DescriptionError, HostError, MachineError, RouterError])
def test_an_error_quotes_without_obeying(kind: type[RouterError]) -> None:
    shown = str(kind(HOSTILE, hint=f"it said:\n{HOSTILE}", where=HOSTILE))
    assert harmless(shown)
    assert len([line for line in shown.split("\n") if "error: " in line and not line.startswith("  ")]) == 1


def test_an_error_that_crossed_a_wire_is_as_safe() -> None:
    error = from_row(json.loads(json.dumps(to_row(MachineError(HOSTILE, HOSTILE, HOSTILE)))))
    assert type(error) is MachineError and error.message == HOSTILE
    assert harmless(str(error))
    assert "unknown form" in str(from_row(["nonsense"]))


GUEST = Guest(HOSTILE, "client", "10.0.0.2", 3, 8, True)
DEVICE = Device(
    *(HOSTILE, "1-1", 1, 2, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 3, (8, 6, 80), ((8, 6, 80),), True, HOSTILE),
    grants={HOSTILE: Grant(1, f"allow {HOSTILE} {HOSTILE}")},
    taken=(HOSTILE,),
)
PORT = Port(HOSTILE, 1, "hs", 0, 0, 0, "used", Attached(HOSTILE, "1-1", 1, 2, 3, 4, HOSTILE, 3, "", (HOSTILE,)))
SEEN = Snapshot(
    HOSTILE,
    {HOSTILE: GUEST},
    frozenset({(HOSTILE, HOSTILE)}),
    (DEVICE,),
    {HOSTILE: (PORT,)},
    {HOSTILE: (Controller(HOSTILE, 0, True, 3, 8, (1,)),)},
    {HOSTILE: HOSTILE},
)


def raised(call: Callable[[], object]) -> str:
    """The error's text."""
    with pytest.raises(RouterError) as caught:
        call()
    return str(caught.value)


LINES: dict[str, Callable[[], str]] = {
    "usb list": lambda: "\n".join(text.list_lines(SEEN)),
    "usb assignable": lambda: "\n".join(text.assignable_lines(replace(SEEN, devices=(replace(DEVICE, holder=None),)))),
    "usb ports": lambda: "\n".join(text.port_lines(SEEN, HOSTILE)),
    "usb controllers": lambda: "\n".join(text.controller_lines(SEEN.controllers[HOSTILE], SEEN.ports[HOSTILE])),
    "troubles": lambda: "\n".join(text.trouble_lines(SEEN)),
    "any table": lambda: "\n".join(text.table((HOSTILE,), [(HOSTILE,)])),
    "usb watch": lambda: event_line(1.0, HOSTILE, HOSTILE),
    "no such device": lambda: raised(lambda: find.device(SEEN, "nothing")),
    "no such port": lambda: raised(lambda: find.used_port(SEEN, HOSTILE, "7")),
    "a guest's program": lambda: str(failure(HOSTILE, 1, HOSTILE.encode(errors="replace"))),
    "U-Boot's answer": lambda: str(explain(HOSTILE, HOSTILE)),
    "U-Boot's TFTP error": lambda: str(explain(f"TFTP error: '{HOSTILE}' (1)", "tftpboot")),
    "U-Boot's last words": lambda: str(MachineError("no prompt", hint=_last_words(HOSTILE))),
    "a peer's TFTP error": lambda: str(MachineError(parse_error(b"\0\5\0\1" + HOSTILE.encode(errors="replace")))),
    "the owner of a lock": lambda: str(
        MachineError(f"{Holder(user=HOSTILE, host=HOSTILE, pid=1, since=HOSTILE, doing=HOSTILE)}")
    ),
}


@pytest.mark.parametrize("path", LINES)
def test_hostile_text_stays_within_its_field(path: str) -> None:
    shown = LINES[path]()
    assert harmless(shown), shown
    assert "title" in shown or "forged" in shown or path == "usb controllers"


ROW = dict.fromkeys(("name", "board", "serial", "via", "held"), HOSTILE) | {"troubles": [HOSTILE]}
PRINTS: dict[str, Callable[[], object]] = {
    "a label": lambda: _common.say("note", HOSTILE),
    "progress": lambda: _common.Progress()(HOSTILE),
    "boards": lambda: boards._show(ROW),
    "the time line": lambda: Timeline().add(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    "the time line as JSON": lambda: Timeline(as_json=True).add(HOSTILE, HOSTILE, HOSTILE, HOSTILE),
    "a deployment as JSON": lambda: _deployments.as_json(DeployEvent("note", 1.0, {"text": HOSTILE})),
    **{
        f"a deployment's {kind}": lambda kind=kind: _deployments.Display(console=True)(  # type: ignore[misc]
            DeployEvent(kind, 1.0, {"name": HOSTILE, "text": HOSTILE, "seconds": 1.0, "done": 1, "size": 2})
        )
        for kind in ("done", "milestone", "ask", "warning", "note", "console")
    },
}


@pytest.mark.parametrize("path", PRINTS)
@pytest.mark.parametrize("shielded", [False, True])
def test_what_is_printed_is_text(path: str, shielded: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if shielded:
        with display.Shielded():
            PRINTS[path]()
    elif path != "progress":  # prints our own steps; the shield is enough
        PRINTS[path]()
    out, err = capsys.readouterr()
    assert harmless(out) or (path == "progress" and not out)
    assert harmless(err) or path == "progress"
    assert "\x1b" not in out + err and "\x9b" not in out + err and "\u202e" not in out + err


def forgetful(args: argparse.Namespace) -> int:
    """A subcommand that knows nothing of `router.display`."""
    print(HOSTILE)
    print(HOSTILE, file=sys.stderr)
    sys.stdout.write(HOSTILE)
    sys.stderr.writelines([HOSTILE])
    # pytest keeps log records for its report, which xdist sends as UTF-8: without the lone surrogate.
    logging.getLogger("router").warning(HOSTILE.encode(errors="ignore").decode())
    if args.end == "error":
        raise MachineError(HOSTILE, HOSTILE, HOSTILE)
    if args.end == "system":
        raise FileNotFoundError(2, HOSTILE, HOSTILE)
    raise ValueError(HOSTILE)


@pytest.mark.parametrize(("end", "code"), [("error", 4), ("system", 3), ("bug", 1)])
def test_a_print_that_forgets_about_it_does_no_harm(
    end: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = SimpleNamespace(parse_args=lambda _: argparse.Namespace(run=forgetful, end=end, verbose=0))
    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    before = sys.stdout
    assert cli.main([]) == code
    assert sys.stdout is before
    out, err = capsys.readouterr()
    assert all(char.isprintable() or char in "\n\t" for char in out + err)


def test_what_the_terminal_cannot_show_is_escaped() -> None:
    program = "from router import display\nwith display.Shielded(): print('● \\udc9b ü')"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={"PYTHONIOENCODING": "ascii"}, check=True
    )
    assert run.stdout == b"\\u25cf \\x9b \\xfc\n"


def test_json_stays_json_behind_the_shield(capsys: pytest.CaptureFixture[str]) -> None:
    with display.Shielded():
        print(json.dumps({"text": HOSTILE}))
    assert json.loads(capsys.readouterr().out) == {"text": HOSTILE}


def sources() -> list[Path]:
    """Every module that runs on the user's computer. router.usbip prints in guests and has tests of its own."""
    top = Path(router.__file__).parent
    return [path for path in sorted(top.rglob("*.py")) if path.relative_to(top).parts[0] != "usbip"]


RAW = {"display.py", "console/terminal.py", "deploy/remote.py", "guests/_compile.py", "guests/_imports.py"}
"""The sanctioned ways past the shield: styles, raw consoles, and protocols that speak to a program through a pipe."""
MACHINES = ("control", "machines", "deploy", "lab", "usb", "console")
VERBS = ("run", "usb", "exec", "console", "deploy", "undeploy", "boards", "power", "trust", "_running", "_deployments")


def name_of(path: Path) -> str:
    return path.relative_to(Path(router.__file__).parent).as_posix()


def test_only_the_sanctioned_modules_get_past_the_shield() -> None:
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            raw = isinstance(node, ast.Attribute) and ast.unparse(node) in (
                *("sys.stdout.buffer", "sys.stderr.buffer", "sys.__stdout__", "sys.__stderr__"),
                *("sys.stdout.behind", "sys.stderr.behind"),
            )
            direct = isinstance(node, ast.Call) and ast.unparse(node.func) == "os.write"
            direct = direct and ast.unparse(node.args[0]) in ("0", "1", "2")  # type: ignore[attr-defined]
            escape = isinstance(node, ast.Constant) and isinstance(node.value, str) and "\x1b" in node.value
            if (raw or direct or escape) and name_of(path) not in RAW:
                found.append(f"{name_of(path)}:{node.lineno}: {ast.unparse(node)[:60]}")  # type: ignore[attr-defined]
    assert found == []


def test_modules_that_speak_to_machines_print_only_by_display_or_as_json() -> None:
    """Within a line the shield cannot tell a field's line break from ours."""
    found = []
    for path in sources():
        name = name_of(path)
        verb = name.startswith("cli/") and path.stem in VERBS
        if (not verb and name.split("/")[0] not in MACHINES) or name == "deploy/remote.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) not in (
                *("print", "sys.stdout.write", "sys.stderr.write"),
            ):
                continue
            first = node.args[0] if node.args else None
            known = isinstance(first, ast.Constant) or (
                isinstance(first, ast.Call) and ast.unparse(first.func) in ("json.dumps", "event.to_line")
            )
            if first is not None and not known:
                found.append(f"{name}:{node.lineno}: {ast.unparse(node)[:60]}")
    assert found == []
