# SPDX-License-Identifier: BSD-2-Clause
"""A conversation of JSON lines ends in the thread that reads it however the connection ends."""

from __future__ import annotations

import socket
import threading

import pytest

from router.control.json_lines import JsonLines
from tests.support.patience import PATIENCE


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_connection_that_another_thread_ends_is_the_end_of_the_stream(when: str) -> None:
    mine, theirs = socket.socketpair()
    with mine, theirs:
        lines = JsonLines(mine, 1000)
        if when == "before":
            mine.close()
            assert lines.receive(None) is None
            return
        got: list[object] = []
        reader = threading.Thread(target=lambda: got.append(lines.receive(None)))
        reader.start()
        lines.end()
        reader.join(PATIENCE)
        assert got == [None]
