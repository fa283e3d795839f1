# SPDX-License-Identifier: BSD-2-Clause
"""The live view in the terminal. It shows what `rows` makes, in the terminal's own colours, and knows no guest's words.

Textual takes a `str` as its markup, in which `[@click=…]` acts: so whatever is shown is a `Text`, of safe text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical, VerticalScroll
from textual.geometry import Region
from textual.screen import ModalScreen
from textual.widgets import Footer, OptionList, Static
from textual.widgets.option_list import Option

from router.display import safe
from router.errors import RouterError
from router.overview import actions, rows
from router.overview.columns import MAX_ROWS, Line, lay_out
from router.overview.moment import Moment
from router.overview.watcher import Connect, Watcher
from router.usb.actions import candidates
from router.usb.facts import Device

REFRESH_S = 0.5
"""How often the newest moment is shown; it costs no guest anything."""
MAX_SHOWN_EVENTS = 12
WIDE = 120
"""Columns from which the lower tables stand next to each other."""


class Grid(Static, can_focus=True):
    """A table with a cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__(id=name)
        self._table = rows.Table("", (), ())
        self._lines: list[Line] = []
        self.cursor = 0

    @property
    def key(self) -> str | None:
        """What the line under the cursor is about."""
        return self._table.rows[self.cursor].key if self._table.rows else None

    @property
    def count(self) -> int:
        """How many rows the cursor can reach."""
        return min(len(self._table.rows), MAX_ROWS)

    def fill(self, table: rows.Table) -> None:
        """Show a table. The cursor stays on what it was on, wherever that is now."""
        key = self.key
        self._table = table
        places = [number for number, row in enumerate(table.rows[:MAX_ROWS]) if row.key == key]
        self.cursor = places[0] if places else max(0, min(self.cursor, self.count - 1))
        self.border_title = table.title
        self._draw()

    def _draw(self) -> None:
        room = max(10, self.size.width)
        self._lines = lay_out(self._table, room, cell_len)
        shown = Text(no_wrap=True, overflow="crop")
        for number, line in enumerate(self._lines):
            style = "dim" if line.row is None else "red" if line.bad else ""
            if line.row == self.cursor and self.has_focus:
                style = f"{style} reverse".strip()
            shown.append(line.text + " " * (room - cell_len(line.text)), style)
            shown.append("\n" if number + 1 < len(self._lines) else "")
        self.update(shown)

    def on_resize(self) -> None:
        self._draw()

    def on_focus(self) -> None:
        self._draw()
        self._show_cursor()

    def on_blur(self) -> None:
        self._draw()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and 0 <= offset.y < len(self._lines) and (row := self._lines[offset.y].row) is not None:
            self.cursor = row
            self._draw()

    def action_move(self, by: int) -> None:
        """Move the cursor; past the end it goes on in the next table."""
        place = self.cursor + by
        if 0 <= place < self.count:
            self.cursor = place
            self._draw()
            self._show_cursor()
        elif by > 0:
            self.screen.focus_next(Grid)
        else:
            self.screen.focus_previous(Grid)

    def _show_cursor(self) -> None:
        line = self.content_region.y - self.region.y + 1 + self.cursor
        self.screen.query_one(VerticalScroll).scroll_to_region(
            Region(0, self.virtual_region.y + line, 1, 1), animate=False
        )


class Choice(ModalScreen[str | None]):
    """One of several names, or None by Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "leave it as it is")]

    def __init__(self, question: str, names: Sequence[str]) -> None:
        super().__init__()
        self._question = question
        self._names = list(names)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Text(safe(self._question)), id="question")
            yield OptionList(*(Option(Text(safe(name))) for name in self._names))
            yield Static(Text("Enter: this one   Esc: none"), classes="hint")

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.dismiss(self._names[event.option_index])


class Top(App[None]):
    """watcher: what is shown. console: makes this terminal a guest's console until it is left."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "router top"
    CSS = """
    Screen, VerticalScroll, Container, Vertical, Static, Grid { background: ansi_default; color: ansi_default; }
    #head { height: 1; text-style: bold; }
    #said { height: auto; max-height: 3; }
    Grid { height: auto; border-top: solid ansi_bright_black; }
    Grid { border-title-style: bold; border-title-color: ansi_default; }
    Grid:focus { border-top: heavy ansi_default; }
    VerticalScroll { scrollbar-size-vertical: 1; }
    #lower { height: auto; }
    .-wide #lower { layout: grid; grid-size: 2; grid-columns: 1fr 1fr; grid-gutter: 0 2; grid-rows: auto; }
    #lower Vertical { height: auto; }
    Choice { align: center middle; background: transparent; }
    Choice > Vertical { width: 60; max-width: 100%; height: auto; border: solid ansi_default; padding: 0 1; }
    OptionList { height: auto; max-height: 10; background: ansi_default; color: ansi_default; border: none; }
    OptionList > .option-list--option-highlighted { background: ansi_default; color: ansi_default; }
    OptionList > .option-list--option-highlighted { text-style: reverse; }
    .hint { text-style: dim; }
    Footer, FooterKey { background: ansi_default; color: ansi_default; }
    FooterKey .footer-key--key { background: ansi_default; color: ansi_default; text-style: bold; }
    FooterKey .footer-key--description { background: ansi_default; color: ansi_default; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "attach", "attach"),
        Binding("d", "detach", "detach"),
        Binding("t", "take", "take"),
        Binding("c", "console", "console"),
        Binding("r", "again", "look again"),
        Binding("tab", "app.focus_next", "next table"),
        Binding("q,ctrl+c", "quit", "quit", key_display="q"),
    ]

    def __init__(self, watcher: Watcher, connect: Connect, console: Callable[[str], None]) -> None:
        super().__init__(ansi_color=True)  # before the theme: by it Textual chooses what NO_COLOR leaves
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]
        self.theme = "ansi-dark"
        self._watcher = watcher
        self._open = connect
        self._converse = console
        self._shown: Moment | None = None

    def compose(self) -> ComposeResult:
        yield Static(Text("asking the system"), id="head")
        with VerticalScroll(can_focus=False):
            yield Grid("guests")
            yield Grid("devices")
            yield Grid("roads")
            with Container(id="lower"):
                with Vertical():
                    yield Grid("drops")
                    yield Grid("policy")
                with Vertical():
                    yield Grid("events")
        yield Static(id="said")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.query_one("#devices").focus()
        self.show()
        self.set_interval(REFRESH_S, self.show)

    def show(self) -> None:
        """Show the newest moment, where it is not on the screen yet."""
        moment = self._watcher.moment
        if moment is None or moment is self._shown:
            return
        self._shown = moment
        head = Text(safe(headline(moment)), style="red" if moment.trouble else "", no_wrap=True, overflow="ellipsis")
        self.query_one("#head", Static).update(head)
        tables = {
            "guests": rows.guests(moment),
            "devices": rows.devices(moment),
            "roads": rows.roads(moment),
            "drops": rows.drops(moment),
            "policy": rows.policy(moment),
            "events": rows.events(moment.story.last, newest=MAX_SHOWN_EVENTS),
        }
        for name, table in tables.items():
            self.query_one(f"#{name}", Grid).fill(table)

    def say(self, text: str, *, bad: bool = False) -> None:
        """What came of a key, until the next one."""
        self.query_one("#said", Static).update(Text(safe(text), style="red" if bad else ""))

    # Keys

    def _device(self) -> Device | None:
        """The device under the cursor, in the devices' or the roads' table."""
        usb = self._shown.usb if self._shown else None
        grid = self.focused
        key = grid.key if isinstance(grid, Grid) and grid.id in ("devices", "roads") else None
        found = next((one for one in usb.devices if rows.device_key(one) == key), None) if usb and key else None
        if found is None:
            self.say("choose a device first, in the table of devices or of roads (Tab goes there)", bad=True)
        return found

    @work
    async def action_attach(self) -> None:
        """Attach the device under the cursor to a guest of one's choice."""
        device = self._device()
        if device is None or self._shown is None or self._shown.usb is None:
            return
        if device.holder is not None:
            self.say(f"{device.busid} is held by '{device.holder}': t takes it from there", bad=True)
            return
        await self._give(device, "attach", actions.attach)

    @work
    async def action_take(self) -> None:
        """Give the device under the cursor to a guest, whoever has it."""
        device = self._device()
        if device is not None:
            await self._give(device, "give", actions.take)

    async def _give(self, device: Device, verb: str, act: Callable[[Connect, str, str], str]) -> None:
        usb = self._shown.usb if self._shown else None
        guests = [name for name in candidates(usb, device) if name != device.holder] if usb else []
        if not guests:
            self.say(f"no other guest can take {device.busid}: router usb assignable says why", bad=True)
            return
        held = f", which '{device.holder}' has," if device.holder else ""
        to = await self.push_screen_wait(Choice(f"{verb} {device.busid} ({device.name}){held} to which guest?", guests))
        if to is not None:
            self.say(f"{device.busid} goes to '{to}' …")
            self._act(act, to, rows.device_key(device))

    @work
    async def action_detach(self) -> None:
        """Take the device under the cursor from the guest that has it."""
        device = self._device()
        if device is None:
            return
        if device.holder is None:
            self.say(f"{device.busid} is in no guest", bad=True)
            return
        question = f"detach {device.busid} ({device.name}) from '{device.holder}'?"
        if await self.push_screen_wait(Choice(question, ["detach it"])) is not None:
            self.say(f"{device.busid} is taken from '{device.holder}' …")
            self._act(actions.detach, device.holder, rows.device_key(device))

    @work(thread=True)
    def _act(self, act: Callable[[Connect, str, str], str], guest: str, device: str) -> None:
        try:
            said, bad = act(self._open, guest, device), False
        except RouterError as error:
            said, bad = error.message + (f" ({error.hint})" if error.hint else ""), True
        self._watcher.ask_again()
        self.call_from_thread(self.say, said, bad=bad)

    @work
    async def action_console(self) -> None:
        """Make this terminal a guest's console; leaving it comes back here."""
        if self._shown is None:
            return
        names = [guest["name"] for guest in self._shown.state["guests"]]
        grid = self.query_one("#guests", Grid)
        name = grid.key if grid.has_focus else names[0] if len(names) == 1 else None
        name = name or await self.push_screen_wait(Choice("the console of which guest? Ctrl-] comes back", names))
        if name is None:
            return
        said = ""
        with self.suspend():
            try:
                self._converse(name)
            except RouterError as error:
                said = error.message
        self.refresh(layout=True)
        self.say(said, bad=True)

    def action_again(self) -> None:
        """Ask the guests about devices now."""
        self._watcher.ask_again()
        self.say("asking the guests about their devices …")


def headline(moment: Moment) -> str:
    """The system in a line."""
    state = moment.state
    up = sum(bool(guest["up"]) for guest in state["guests"])
    parts = [state["system"], state["mode"], f"up {rows.duration(moment.seconds)}"]
    parts.append(f"{up} of {len(state['guests'])} guests up")
    if moment.usb is not None:
        held = sum(one.holder is not None for one in moment.usb.devices)
        parts.append(f"{held} of {len(moment.usb.devices)} devices attached")
    if moment.trouble:
        parts = [state["system"], moment.trouble]
    return " · ".join(part for part in parts if part)
