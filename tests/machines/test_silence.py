# SPDX-License-Identifier: BSD-2-Clause
"""A console multiplexer that says nothing more is asked, and missed when it does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.console import silence
from router.console.frames import START, TAIL, seal, unseal
from router.console.line_input import PortInput
from router.console.multiplexer import Demultiplexer
from router.console.serial_line import SerialLine, ports
from tests.support.patience import wait_until

PORTS = ports(["one"])


def frame(head: bytes, body: bytes, port: int, sequence: int = 0, *, flag: bool = False) -> bytes:
    """A line of the multiplexer."""
    return seal(head + body + b" ", port, len(body), sequence, flag) + b"\r\n"


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, SerialLine]]:
    """The multiplexer's end of a line, and the line, which loses patience quickly."""
    monkeypatch.setattr(silence, "SILENCE_S", 0.2)
    monkeypatch.setattr(silence, "MAX_UNANSWERED", 2)
    near, far = socket.socketpair()
    line = SerialLine(near, PORTS, PORTS[1], tmp_path / "serial.log")
    line.start()
    yield far, line
    line.close()
    near.close()
    far.close()


def test_a_remark_about_a_domain_belongs_to_no_port_and_cannot_be_another_ports() -> None:
    line = Demultiplexer(PORTS)
    remark = b"protection domain 'vmm_one' does not answer"
    assert line.feed(frame(b"system< ", remark, 2)) == [(None, b"system: " + remark + b"\n")]
    assert line.feed(frame(b"system< ", remark, 0)) == []
    assert line.feed(frame(b"one< ", remark, 2)) == []
    assert line.damaged == 2


def test_a_silent_multiplexer_that_answers_no_question_is_dead(far: tuple[socket.socket, SerialLine]) -> None:
    there, line = far
    there.sendall(frame(b"one| ", b"hello", 0, flag=True))
    assert wait_until(lambda: line.heard)
    assert wait_until(lambda: line.dead)


def test_text_of_a_boot_loader_ends_the_questions() -> None:
    port = PortInput(1)
    port.ask()
    assert port.take(0.0).startswith(START)
    port.forget()
    assert port.due() is None
    assert port.take(100.0) == b""


def test_a_question_is_an_empty_frame_that_an_answer_ends() -> None:
    port = PortInput(1)
    port.ask()
    sent = port.take(0.0).strip(START).rstrip(b"\n")
    found = unseal(sent, 0, len(sent) - TAIL)
    assert found is not None
    assert found.body == b""
    assert port.unanswered == 1
    assert port.take(1.0)
    assert port.unanswered == 2
    port.answered(found.sequence, True, 1.1)
    assert port.unanswered == 0
    assert port.due() is None
