# SPDX-License-Identifier: BSD-2-Clause
"""A system on seL4 is controlled and used from other programs, over the one serial line that its guests share."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.control.place import Claim
from router.control.server import ControlServer
from tests.support.end_to_end import Booted, router
from tests.support.terminal_user import Terminal, use_a_shell

Says = Callable[..., str]
SOON = 6.0
"""Seconds; it is 1 on a quiet machine."""


@pytest.fixture(autouse=True)
def served(on_sel4: Booted, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As `router run` does it: one thread looks after the system, and others come in by the control socket."""
    over = threading.Event()

    def look_after() -> None:
        while not over.is_set():
            on_sel4.system.poll(0.5)

    with tempfile.TemporaryDirectory(prefix="e2e") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        with Claim("end-to-end") as claim, ControlServer(claim, on_sel4.system, "microkit"):
            thread = threading.Thread(target=look_after)
            thread.start()
            yield
            over.set()
            thread.join()


def listed(says: Says) -> dict[str, object]:
    # Behind it may be what the time line shows meanwhile.
    rows, _ = json.JSONDecoder().raw_decode(says("usb", "list", "--json"))
    return {row["name"]: row["holder"] for row in rows}


def test_the_list_is_there_soon(says: Says) -> None:
    expected = {"QEMU USB HARDDRIVE": "client", "QEMU USB Keyboard": "client", "QEMU USB Mouse": None}
    assert listed(says) == expected
    took: list[float] = []
    while len(took) < 10 and min(took, default=SOON) >= SOON:
        start = time.monotonic()
        assert listed(says) == expected
        took.append(time.monotonic() - start)
    print(f"router usb list: best of {len(took)} {min(took):.2f} s")
    assert min(took) < SOON, took


def test_a_device_is_attached_and_detached_by_hand(on_sel4: Booted, says: Says) -> None:
    assert "QEMU USB Mouse is on port 3 of 'client'" in says("usb", "attach", "client", "mouse", "--port", "3")
    on_sel4.wait("client", "grep 'QEMU USB Mouse' /proc/bus/input/devices")
    assert "held by guest 'client', on port 3" in says("usb", "attach", "stranger", "mouse", code=4)
    says("usb", "detach", "client", "3")
    assert listed(says)["QEMU USB Mouse"] is None


def test_a_guests_console_is_a_terminal_like_any_other(on_sel4: Booted, tmp_path: Path) -> None:
    command = router("console", "--system", "end-to-end", "--guest", "client")
    with Terminal(command, tmp_path) as terminal:
        terminal.expect("console of client; Ctrl-\\] leaves it")
        use_a_shell(terminal)
        terminal.send("\x1d")
        assert terminal.ended() == 0
    assert on_sel4.run("client", "echo still here") == "still here\n"
