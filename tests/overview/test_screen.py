# SPDX-License-Identifier: BSD-2-Clause
"""`router top` as a person has it: in a terminal, by key, with names that mean harm."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot

from router.cli import main
from router.control.place import Claim
from router.control.server import ControlServer
from router.overview.columns import MAX_ROWS
from router.overview.moment import Moment
from router.overview.screen import Choice, Grid, Top
from router.overview.watcher import Watcher
from tests.control.running import FakeSystem
from tests.overview.moments import DISK, MOUSE, PORT_COUNTERS, moment, snapshot
from tests.support.screen import Screen

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[99;99H\u202e[red][@click=app.quit]mouse[/]"


class Seen:
    """A watcher that has seen one thing."""

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        self.asked = 0

    def ask_again(self) -> None:
        self.asked += 1


def piloted(
    test: Callable[[Pilot[None], Top], Coroutine[Any, Any, None]],
    shown: Moment | None = None,
    size: tuple[int, int] = (80, 24),
    console: Callable[[str], None] = lambda _: None,
) -> None:
    """Run a test of the view without a terminal."""

    async def run() -> None:
        top = Top(cast(Watcher, Seen(shown or moment())), lambda: pytest.fail("nothing is asked"), console)
        async with top.run_test(size=size) as pilot:
            await pilot.pause()
            await test(pilot, top)

    asyncio.run(run())


def text_of(top: Top, name: str) -> str:
    return str(top.query_one(f"#{name}", Grid).render())


def said(top: Top) -> str:
    return str(top.query_one("#said").render())


def test_the_cursor_stays_on_its_device_when_others_come_and_go() -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        grid = top.query_one("#devices", Grid)
        await pilot.press("down")
        assert grid.key == "server/1-3"
        cast(Seen, top._watcher).moment = moment(usb=snapshot(replace(MOUSE, busid="1-1"), DISK, MOUSE))
        top.show()
        assert grid.key == "server/1-3"
        cast(Seen, top._watcher).moment = moment(usb=snapshot(DISK))
        top.show()
        assert grid.key == "server/2-1"

    piloted(test)


def test_the_cursor_does_not_leave_the_rows_that_are_shown() -> None:
    many = [replace(MOUSE, busid=f"1-{number}") for number in range(MAX_ROWS + 5)]

    async def test(pilot: Pilot[None], top: Top) -> None:
        grid = top.query_one("#devices", Grid)
        grid.cursor = MAX_ROWS - 1
        top.show()
        await pilot.press("down")
        assert grid.cursor == MAX_ROWS - 1
        assert top.focused is not grid
        assert text_of(top, "devices").rstrip().endswith("… 5 more")

    piloted(test, moment(usb=snapshot(*many)))


def test_the_cursor_goes_through_all_tables() -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        names = []
        for _ in range(12):
            assert isinstance(top.focused, Grid)
            names.append(top.focused.id)
            await pilot.press("down")
        assert list(dict.fromkeys(names)) == ["devices", "roads", "drops", "policy", "events", "guests"]

    piloted(test)


def test_a_name_that_looks_like_markup_is_shown_as_it_is() -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        assert "\\x1b]0;owned\\x07\\x1b[2J\\x1b[99;99H\\u202e[red][@click=app.quit]mouse[/]" in text_of(top, "devices")
        await pilot.press("a")
        await pilot.pause()
        question = str(top.screen.query_one("#question").render())
        assert "[@click=app.quit]mouse[/]" in question

    piloted(test, moment(usb=snapshot(replace(MOUSE, product=HOSTILE))), (200, 30))


def test_a_key_that_does_not_fit_the_device_says_why() -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        await pilot.press("a")
        assert said(top) == "2-1 is held by 'client': t takes it from there"
        await pilot.press("t")
        assert said(top) == "no other guest can take 2-1: router usb assignable says why"
        await pilot.press("down", "d")
        assert said(top) == "1-3 is in no guest"
        await pilot.press("shift+tab", "d")
        assert said(top).startswith("choose a device first")

    piloted(test)


def test_esc_leaves_everything_as_it_is() -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        await pilot.press("d")
        await pilot.pause()
        assert isinstance(top.screen, Choice)
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(top.screen, Choice)
        assert said(top) == ""

    piloted(test)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10)])
def test_no_table_is_wider_than_the_terminal(size: tuple[int, int]) -> None:
    async def test(pilot: Pilot[None], top: Top) -> None:
        for grid in top.query(Grid):
            assert grid.region.width <= size[0]
            lines = str(grid.render()).splitlines()
            assert max(map(len, lines)) <= grid.size.width
        side_by_side = top.query_one("#events").region.y == top.query_one("#drops").region.y
        assert side_by_side == (size[0] >= 120)

    piloted(test, size=size)


# In a real terminal


class Hostile(FakeSystem):
    """A system in whose guests the mouse has a name that means harm."""

    def _run(self, guest: str, *rest: Any) -> tuple[int, str]:
        code, text = super()._run(guest, *rest)
        return code, text.replace("QEMU USB Mouse", json.dumps(HOSTILE)[1:-1])


def router(*words: str) -> list[str]:
    return [sys.executable, "-m", "router", *words]


def test_a_device_is_attached_taken_and_detached_by_key(system: FakeSystem, tmp_path: Path) -> None:
    system.counters = {"client": {**PORT_COUNTERS, "drops": {"source-mac": 7}}}
    with Screen(router("top", "--interval", "0.5"), tmp_path, 120, 40) as screen:
        screen.until(lambda text: "QEMU USB Mouse" in text and "source-mac 7" in text)
        screen.send("\x1b[B")
        screen.send("a")
        screen.until(lambda text: "attach 1-3 (QEMU USB Mouse) to which guest?" in text)
        screen.send("\r")
        screen.until(lambda text: "server/1-3 is on port 2 of 'client'" in text)
        screen.until(lambda text: bool(re.search(r"1-3 +QEMU USB Mouse +client, port 2", text)))
        screen.send("t")
        screen.until(lambda text: "give 1-3 (QEMU USB Mouse), which 'client' has, to" in text)
        screen.send("\r")
        screen.until(lambda text: "server/1-3 is on port 1 of 'small'" in text)
        screen.until(lambda text: bool(re.search(r"1-3 +QEMU USB Mouse +small, port 1", text)))
        screen.send("d")
        screen.until(lambda text: "detach 1-3 (QEMU USB Mouse) from 'small'?" in text)
        screen.send("\r")
        screen.until(lambda text: "server/1-3 is taken from port 1 of 'small'" in text)
        screen.send("q")
        assert screen.ended() == 0


def test_a_console_is_left_to_and_comes_back(system: FakeSystem, tmp_path: Path) -> None:
    with Screen(router("top"), tmp_path, 80, 24) as screen:
        screen.until(lambda text: "QEMU USB Mouse" in text)
        screen.send("c")
        screen.until(lambda text: "the console of which guest?" in text)
        screen.send("\x1b[B\r")
        screen.until(lambda text: "console of client; Ctrl-] leaves it" in text)
        screen.send("hello")
        screen.until(lambda text: "typed h" in text)
        assert system.keyboard == "client"
        screen.send("\x1d")
        screen.until(lambda text: "QEMU USB Mouse" in text and "typed" not in text)
        screen.send("q")
        assert screen.ended() == 0


def test_a_resized_terminal_is_drawn_anew(system: FakeSystem, tmp_path: Path) -> None:
    with Screen(router("top"), tmp_path, 120, 40) as screen:
        wide = screen.until(lambda text: "QEMU USB Mouse" in text)
        assert re.search("Switch─+  ─Time line", wide)
        screen.resize(80, 24)
        narrow = screen.until(lambda text: "Time line" not in text and "QEMU USB Mouse" in text)
        assert max(map(len, narrow.splitlines())) <= 80
        screen.send("\x03")
        assert screen.ended() == 0


def test_a_hostile_name_never_reaches_the_terminal_as_it_is(runtime_folder: Path, tmp_path: Path) -> None:
    system = Hostile()
    system.timeline.line("client", f"router: guest client: attached {HOSTILE}")
    system.samples = {"client": f"usb {HOSTILE} 5\nup 3.0\n", "small": HOSTILE}
    with (
        Claim("desk") as claim,
        ControlServer(claim, system, "split"),
        Screen(router("top"), tmp_path, 200, 40) as screen,
    ):
        # Only the row counts: until the screen knows its width, the time line has room for the whole name.
        screen.until(lambda text: bool(re.search(r"1-3 +QEMU .*\]mouse", text)) and "attached: \\x1b]0" in text)
        screen.send("\x1b[Ba")
        screen.until(lambda text: "to which guest?" in text)
        screen.send("\x1bq")
        shown = re.sub(rb"\x1b\]22;[a-z-]*\x07", b"", screen.shown)  # Textual's own: the shape of the pointer
        for bad in (b"\x1b]", b"\x07", "\u202e".encode(), b"\x1b[99;99H"):
            assert bad not in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_no_color_means_none(
    system: FakeSystem, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    system.timeline.line("client", "Kernel panic - not syncing: test")
    with Screen(router("top"), tmp_path, 120, 40) as screen:
        screen.until(lambda text: bool(re.search(r"! client +client +kernel panic", text)))
        coloured = re.search(rb"\x1b\[(?:[0-9;]*;)?(?:[34][0-7]|[34]8;[25])(?:;[0-9;]*)?m", screen.shown)
        assert (coloured is None) == bool(environment)
        screen.send("q")
        assert screen.ended() == 0


# Without a terminal


def test_without_a_terminal_it_says_what_scripts_use(system: FakeSystem, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top"]) == 2
    assert "router usb list --json" in capsys.readouterr().err


@pytest.mark.parametrize("interval", ["0", "31", "nan"])
def test_an_interval_that_makes_no_sense_is_refused(interval: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--interval", interval]) == 2
    assert "seconds, 0.5 to 30" in capsys.readouterr().err


def in_terminal(tmp_path: Path, *words: str) -> tuple[int, str]:
    with Screen(router("top", *words), tmp_path) as screen:
        code = screen.ended()
        return code, " ".join(screen.lines)


def test_without_the_library_it_says_how_to_get_it(system: FakeSystem, tmp_path: Path) -> None:
    program = "import sys; sys.modules['textual'] = None; from router.cli import main; sys.exit(main(['top']))"
    with Screen([sys.executable, "-c", program], tmp_path) as screen:
        assert screen.ended() == 3
        assert "pip install 'sel4-usb-router[top]'" in " ".join(screen.lines)


def test_a_file_names_the_system(system: FakeSystem, tmp_path: Path) -> None:
    assert in_terminal(tmp_path, "qemu.yaml")[0] == 2
    assert "no system 'qemu-usb' runs" in in_terminal(tmp_path, "qemu.yaml")[1]
    code, shown = in_terminal(tmp_path, "qemu.yaml", "--system", "desk")
    assert (code, "is 'qemu-usb', not 'desk'" in shown) == (2, True)
    assert "not a build folder" in in_terminal(tmp_path, ".")[1]
    (tmp_path / "manifest.json").write_text('{"system": "desk"}')
    with Screen(router("top", "."), tmp_path) as screen:
        screen.until(lambda text: "QEMU USB Mouse" in text)
        screen.send("q")
        assert screen.ended() == 0
