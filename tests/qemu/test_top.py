# SPDX-License-Identifier: BSD-2-Clause
"""`router top` on two kernels that really run: what it shows is what is there, and its keys do what they say."""

from __future__ import annotations

import re
from pathlib import Path

from router.testing import Router
from tests.support.end_to_end import router as command_line
from tests.support.patience import PATIENCE
from tests.support.screen import Screen

READING = "nohup sh -c 'while :; do dd if=/dev/sda of=/dev/null bs=64k iflag=direct; done' >/dev/null 2>&1 & echo $!"
LONG = 6 * PATIENCE


def test_a_disk_that_is_read_has_rates_and_a_device_moves_by_key(router: Router, tmp_path: Path) -> None:
    reader = router.guest("client").run(READING).stdout.strip()
    with Screen(command_line("top", "--system", router.name), tmp_path, 120, 40) as screen:
        road = r"2-1 → client port \d+ .* [0-9.]+ [kM]?B/s .* [0-9.]+ ms"
        screen.until(lambda text: bool(re.search(road, text)), LONG)
        screen.until(lambda text: bool(re.search(r"client +client +up .* [0-9.]+ ms", text)), LONG)
        screen.send("\x1b[B")  # from the keyboard to the mouse, which is in no guest
        screen.send("a")
        screen.until(lambda text: "attach 1-3 (QEMU USB Mouse) to which guest?" in text, LONG)
        screen.send("\x1b[B\r")
        screen.until(lambda text: bool(re.search(r"1-3 +QEMU USB Mouse +stranger, port 1", text)), LONG)
        screen.send("d")
        screen.until(lambda text: "detach 1-3 (QEMU USB Mouse) from 'stranger'?" in text, LONG)
        screen.send("\r")
        screen.until(lambda text: bool(re.search(r"1-3 +QEMU USB Mouse +no guest", text)), LONG)
        screen.send("q")
        assert screen.ended(LONG) == 0
    router.guest("client").run(f"kill {reader}")
