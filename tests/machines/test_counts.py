# SPDX-License-Identifier: BSD-2-Clause
"""The switch's counters over the serial line: the C side against the Python side, bounds, lost frames, old images."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from router.console.counts import (
    ASKS,
    FRAMES,
    MAX_VALUE,
    MAX_VALUES,
    NOTHING,
    PACKETS,
    RETRY_S,
    Counts,
    Question,
    parse_part,
)
from router.console.frames import unseal
from router.console.multiplexer import MAX_SAID, Demultiplexer
from router.console.serial_line import SerialLine
from router.errors import MachineError
from router.machines import switch_rows
from router.machines.switch_rows import BREACH, DROPS, REASONS, row_of
from router.vswitch.process import PortCounters, VsockCounters, counters_of
from tests.support.fake_mux import FakeMux
from tests.support.patience import PATIENCE, wait_until
from tests.support.switch_counts import counts_of

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("server", "server.control", "client", "client.control")


@pytest.mark.parametrize(
    ("header", "list_name", "kind"),
    [
        ("vswitch/core/vswitch.h", "VSWITCH_REASONS", FRAMES),
        ("vswitch/core/vsock.h", "VSOCK_REASONS", PACKETS),
    ],
)
def test_the_reasons_are_those_of_the_switch_in_its_order(header: str, list_name: str, kind: str) -> None:
    text = (ROOT / header).read_text()
    listed = text[text.index(f"#define {list_name}(X)") :]
    listed = listed[: listed.index("enum ")]
    assert tuple(re.findall(r'X\(\w+, "([a-z0-9-]+)"\)', listed)) == REASONS[kind]
    assert DROPS + len(REASONS[kind]) <= MAX_VALUES


def test_the_places_and_the_bounds_are_those_of_the_header() -> None:
    text = (ROOT / "common/tally.h").read_text()
    listed = text[text.index("enum tally_value {") :]
    names = re.findall(r"^\s+TALLY_(\w+),", listed[: listed.index("}")], re.MULTILINE)
    assert [getattr(switch_rows, name) for name in names] == list(range(len(names)))
    assert names[-1] == "DROPS"
    assert f"#define TALLY_VALUES {MAX_VALUES}u" in text
    assert f'#define MUX_COUNTS "{ASKS.decode()}"' in (ROOT / "drivers/mux.h").read_text()


def test_a_row_has_the_fields_of_the_host_processs_counters() -> None:
    frames = row_of(counts_of(RX_FRAMES=5, RX_BYTES=300, TX_FRAMES=7, TX_BYTES=400, CONNECTED=1, not_allowed=2))
    assert frames.keys() == {field.name for field in dataclasses.fields(PortCounters)}
    assert counters_of({"client": frames})["client"] == PortCounters(
        connected=True, rx_frames=5, rx_bytes=300, tx_frames=7, tx_bytes=400, drops={"not-allowed": 2}
    )
    packets = row_of(counts_of(PACKETS, RX_FRAMES=5, RX_BYTES=300, CONNECTED=1, OPEN=2, credit=1, BREACHES=4))
    assert packets["vsock"].keys() == {field.name for field in dataclasses.fields(VsockCounters)}
    port = counters_of({"client": packets})["client"]
    assert port.vsock is not None and not port.connected and port.drops == {}
    assert (port.vsock.rx_packets, port.vsock.rx_bytes, port.vsock.open) == (5, 300, 2)
    assert port.vsock.drops == {"credit": 1, BREACH: 4}


def test_a_switch_of_another_version_is_told_and_not_guessed() -> None:
    with pytest.raises(MachineError, match="it has published no counters"):
        row_of(Counts(NOTHING, ()))
    with pytest.raises(MachineError, match="counts 3 values for each guest") as caught:
        row_of(Counts(FRAMES, (1, 2, 3)))
    assert "build the image anew" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"counts",
        b"counts 0 frames 0/2 1 2 ",
        b"counts 0 frames 0/2  1 2",
        b"counts 0 frames 0/2 1 -2",
        b"counts 0 frames 0/2 1 0x2",
        b"counts 0 frames 0/2 1 \xd9\xa3",
        b"counts 0 bytes 0/2 1 2",
        b"counts ` frames 0/2 1 2",
        b"counts 0 frames 000/2 1 2",
        b"counts 0 frames 0/2 1 2\n",
        b"counts 0 frames 0/2 1 " + b"1" * 21,
    ],
)
def test_an_answer_in_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(MachineError, match="makes no sense"):
        parse_part(body)


@pytest.mark.parametrize(
    "body",
    [
        b"counts 0 frames 0/49 1",
        b"counts 0 frames 1/2 1 2",
        b"counts 0 frames 5/2",
        b"counts 0 frames 0/1 %d" % (MAX_VALUE + 1),
    ],
)
def test_a_number_out_of_its_bounds_is_refused(body: bytes) -> None:
    with pytest.raises(MachineError, match="out of its bounds"):
        parse_part(body)
    assert parse_part(b"counts 0 frames 0/1 %d" % MAX_VALUE).values == (MAX_VALUE,)


def asked(question: Question, now: float) -> int:
    """The sequence number of the question that is sent now."""
    frame = unseal(question.take(now)[1:-1], 0, len(ASKS) + 1)
    assert frame is not None and frame.port == len(PORTS) and frame.body == ASKS + b"1" and not frame.flag
    return frame.sequence


def test_an_answer_of_several_frames_is_put_together_in_any_order() -> None:
    question = Question(len(PORTS), 1)
    sequence = asked(question, 0.0)
    question.said(sequence, b"counts 1 frames 2/5 30 40", 0.1)
    question.said(sequence, b"counts 1 frames 4/5 50", 0.1)
    assert question.wait(0) is None
    question.said(sequence, b"counts 1 frames 0/5 10 20", 0.1)
    assert question.wait(0) == Counts(FRAMES, (10, 20, 30, 40, 50))
    assert question.due() is None and question.take(100.0) == b""


def test_frames_of_two_answers_are_never_mixed() -> None:
    question = Question(len(PORTS), 1)
    first = asked(question, 0.0)
    question.said(first, b"counts 1 frames 0/4 10 20", 0.0)
    assert question.take(RETRY_S / 2) == b""
    second = asked(question, RETRY_S)
    question.said(second, b"counts 1 frames 2/4 31 41", RETRY_S)
    question.said(second + 1, b"counts 1 frames 0/4 9 9", RETRY_S)
    question.said(second, b"counts 0 frames 0/4 8 8", RETRY_S)
    assert question.wait(0) is None
    question.said(first, b"counts 1 frames 2/4 30 40", RETRY_S)
    assert question.wait(0) == Counts(FRAMES, (10, 20, 30, 40))


def test_an_answer_that_makes_no_sense_is_an_error_and_not_a_number() -> None:
    question = Question(len(PORTS), 1)
    question.said(asked(question, 0.0), b"counts 1 frames 0/1 many", 0.0)
    with pytest.raises(MachineError, match="makes no sense"):
        question.wait(0)


def test_what_the_system_says_to_frames_nobody_takes_is_bounded() -> None:
    mux, demultiplexer = FakeMux(PORTS, lambda _: None), Demultiplexer(PORTS)
    for _ in range(3 * MAX_SAID):
        for frame in mux.counters(b"0", counts_of(), 5):
            assert demultiplexer.feed(frame) == []
    assert len(demultiplexer.said) == MAX_SAID and demultiplexer.answers == []


@contextmanager
def line(folder: Path, *, speaks: bool = True) -> Iterator[tuple[SerialLine, FakeMux, socket.socket]]:
    """A line whose far end is a multiplexer in a thread of its own."""
    near, far = socket.socketpair()
    carried = SerialLine(near, PORTS, "server.control", folder / "serial.log")
    mux = FakeMux(PORTS, far.sendall)

    def serve() -> None:
        with suppress(OSError):
            while data := far.recv(4096):
                mux.take(data)

    serving = threading.Thread(target=serve)
    serving.start()
    carried.start()
    try:
        if speaks:
            mux.say("server", b"Booting")
        yield carried, mux, far
    finally:
        carried.close()
        near.close()
        serving.join(PATIENCE)
        far.close()


def test_a_guests_counters_come_over_the_line(tmp_path: Path) -> None:
    client = counts_of(RX_FRAMES=MAX_VALUE, not_allowed=3, CONNECTED=1)
    with line(tmp_path) as (carried, mux, _):
        mux.counts = {0: counts_of(), 1: client}
        assert carried.counts(1, PATIENCE) == client
        assert carried.counts(0, PATIENCE) == counts_of()
        assert row_of(client)["drops"] == {"not-allowed": 3}


def test_questions_of_many_threads_each_get_their_answer(tmp_path: Path) -> None:
    told = {0: counts_of(RX_FRAMES=1), 1: counts_of(PACKETS, OPEN=2)}
    with line(tmp_path) as (carried, mux, _):
        mux.counts = told
        found: list[bool] = []

        def ask(port: int) -> None:
            found.extend(carried.counts(port, PATIENCE) == told[port] for _ in range(5))

        asking = [threading.Thread(target=ask, args=(n % 2,)) for n in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join(PATIENCE)
        assert found == [True] * 20


def test_an_image_that_cannot_answer_is_told_in_time_and_not_asked_again_at_once(tmp_path: Path) -> None:
    with line(tmp_path) as (carried, mux, _):
        with pytest.raises(MachineError, match="the console does not answer") as caught:
            carried.counts(0, 1.5)
        assert "an image of an older router" in (caught.value.hint or "")
        questions = mux.asked
        assert questions >= 1
        start = time.monotonic()
        with pytest.raises(MachineError, match="the console does not answer"):
            carried.counts(0, PATIENCE)
        assert time.monotonic() - start < PATIENCE / 2
        assert mux.asked == questions


def test_nothing_is_asked_while_a_boot_loader_may_wait_for_a_key(tmp_path: Path) -> None:
    with line(tmp_path, speaks=False) as (carried, mux, _):
        mux.counts = {0: counts_of()}
        mux.line("U-Boot 2022.04")
        with pytest.raises(MachineError, match="the console does not answer"):
            carried.counts(0, 0.5)
        assert mux.asked == 0
    with line(tmp_path) as (carried, mux, _):
        mux.counts = {0: counts_of()}
        wait_until(lambda: mux.framed)
        assert carried.counts(0, PATIENCE) == counts_of(), "no answer is on its way any more"
        mux.line("Hit any key to stop autoboot:  3")
        carried.port(None).settimeout(PATIENCE)
        assert b"Hit any key" in carried.port(None).recv(100)
        with pytest.raises(MachineError, match="the console does not answer"):
            carried.counts(0, 0.5)
        assert mux.asked == 1


def test_a_line_that_ends_ends_the_question(tmp_path: Path) -> None:
    with line(tmp_path) as (carried, _, far):
        threading.Timer(0.3, lambda: far.shutdown(socket.SHUT_RDWR)).start()
        start = time.monotonic()
        with pytest.raises(MachineError, match="the serial line has ended"):
            carried.counts(0, 10 * PATIENCE)
        assert time.monotonic() - start < 5 * PATIENCE
