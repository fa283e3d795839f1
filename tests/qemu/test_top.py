# SPDX-License-Identifier: BSD-2-Clause
"""`router top` about running guests, as a person has it in a terminal: what it shows is so, and its keys change it."""

from __future__ import annotations

import re
from pathlib import Path

from router.testing import Router
from tests.support.end_to_end import router as command_line
from tests.support.screen import Screen

MOUSE = "grep 'QEMU USB Mouse' /proc/bus/input/devices"
NO_MOUSE = f"! {MOUSE}"
READING = "while :; do echo 3 >/proc/sys/vm/drop_caches; cat /dev/sda >/dev/null; done"


def shows(screen: Screen, *patterns: str) -> str:
    """Wait until each pattern is on the screen; what is on it then."""
    return screen.until(lambda text: all(re.search(pattern, text) for pattern in patterns))


def has_the_mouse(router: Router, screen: Screen, but: str = "") -> tuple[str, str]:
    """Wait until a guest other than `but` has the mouse, on the screen and in its Linux: its name, and the port."""
    others = "|".join(name for name in ("client", "stranger") if name != but)
    given = re.search(
        rf"server/1-3 is on port (\d+) of '({others})'", shows(screen, rf"1-3 is on port \d+ of '({others})'")
    )
    assert given is not None
    port, holder = given.groups()
    shows(screen, rf"1-3 +QEMU USB Mouse +{holder}, port {port}")
    router.guest(holder).wait_for(MOUSE)
    return holder, port


def test_the_live_view_shows_the_routes_and_its_keys_attach_take_detach_and_open_a_console(
    router: Router, tmp_path: Path
) -> None:
    client = router.guest("client")
    client.wait_for("ls /dev/sda")
    reader = client.run(f"setsid sh -c '{READING}' </dev/null >/dev/null 2>&1 & echo $!").stdout.strip()
    with Screen(command_line("top", "--system", router.name, "--interval", "1"), tmp_path, 200, 50) as screen:
        shows(screen, "3 of 3 guests up", r"server +server +up", r"client +client +up", r"stranger +client +up")
        shows(screen, r"2-1 +QEMU USB HARDDRIVE +client, port \d", r"1-2 +QEMU USB Keyboard +client, port 5")
        # What goes over the road of the disk, and what comes into the guest that reads it.
        shows(screen, r"2-1 → client port \d+ .* [1-9][\d.]* [kM]B/s", r"client +client +up.* [1-9][\d.]* [kM]B/s")
        client.run(f"kill -9 -{reader}")
        router.guest("stranger").run("ping -c 1 -W 1 10.77.0.3", check=False)
        shows(screen, r"stranger .*arp-target [1-9]")

        # The mouse is the second of the devices, by their bus ids.
        screen.send("\x1b[B")
        screen.send("a")
        shows(screen, r"attach 1-3 \(QEMU USB Mouse\) to which guest\?")
        screen.send("\r")
        holder, port = has_the_mouse(router, screen)
        screen.send("t")
        shows(screen, rf"give 1-3 \(QEMU USB Mouse\), which '{holder}' has, to")
        screen.send("\r")
        taker, port = has_the_mouse(router, screen, but=holder)
        router.guest(holder).wait_for(NO_MOUSE)
        screen.send("d")
        shows(screen, rf"detach 1-3 \(QEMU USB Mouse\) from '{taker}'\?")
        screen.send("\r")
        shows(screen, rf"server/1-3 is taken from port {port} of '{taker}'", r"1-3 +QEMU USB Mouse +no guest")
        router.guest(taker).wait_for(NO_MOUSE)

        screen.send("c")
        shows(screen, r"the console of which guest\?")
        screen.send("\x1b[B\r")
        shows(screen, "console of client; Ctrl-] leaves it")
        screen.send("\recho $((6 * 7))-top\r")
        shows(screen, "42-top")
        screen.send("\x1d")
        shows(screen, "3 of 3 guests up", r"1-3 +QEMU USB Mouse +no guest")
        screen.send("q")
        assert screen.ended() == 0
