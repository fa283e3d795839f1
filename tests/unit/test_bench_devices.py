# SPDX-License-Identifier: BSD-2-Clause
"""Trying devices: what an exercise found becomes the right verdict, and the verdicts a table that people can read."""

from __future__ import annotations

import array
import json
import socket
import struct
from pathlib import Path

import pytest

from bench.devices.gadget import set_up
from bench.devices.made_streams import Film, judge_film
from bench.devices.models import FAILS, ISSUES, UNTRIED, WORKS, Device, Outcome, Trial, trial
from bench.devices.rig import Attached, value_of
from bench.devices.run import choose, reason_of
from bench.devices.smart_card import APDU, RESET, SmartCard
from bench.devices.sound import in_order
from bench.devices.table import as_json, render
from bench.devices.usbtest import NATIVE, judge
from bench.usbredir.devices.camera import SIZE
from router.errors import DescriptionError, MachineError
from tests.support.patience import PATIENCE

# A device descriptor, a configuration of one interface with an interrupt IN and a bulk OUT endpoint (USB 2.0, 9.6).
DESCRIPTORS = (
    bytes([18, 1]).ljust(18, b"\0")
    + bytes([9, 2, 32, 0, 1, 1, 0, 0, 0])
    + bytes([9, 4, 0, 0, 2, 3, 1, 1, 0])
    + bytes([7, 5, 0x81, 3, 8, 0, 4])
    + bytes([7, 5, 0x02, 2, 64, 0, 0])
)
SEEN = Attached("1-1", "480", 1, "Thing", DESCRIPTORS, {"1-1:1.0": "usbhid", "1-1:1.1": ""}, "/dev/bus/usb/001/002")
THING = Device("thing", "a thing", lambda rig: Outcome("used it"))


def test_transfer_types_and_endpoints_come_from_the_descriptors() -> None:
    assert SEEN.transfers == ("control", "bulk", "interrupt")
    assert (SEEN.endpoint(0, 3, out=False), SEEN.endpoint(0, 2, out=True)) == (0x81, 0x02)


@pytest.mark.parametrize(
    ("outcome", "trouble", "verdict", "reason"),
    [
        (Outcome("used it"), "", WORKS, ""),
        (Outcome("used it", ("slow", "loud")), "", ISSUES, "slow; loud"),
        (Outcome("used it"), "stuck", ISSUES, "stuck"),
        (Outcome("looked", refused="no hubs"), "", FAILS, "no hubs"),
        ("timed out", "", FAILS, "timed out"),
    ],
)
def test_a_verdict_has_its_reason(outcome: Outcome | str, trouble: str, verdict: str, reason: str) -> None:
    row = trial(THING, "kernel", SEEN, outcome, trouble, 1.5)
    assert (row.verdict, row.reason, row.drivers) == (verdict, reason, ("usbhid",))
    assert trial(THING, "kernel", None, outcome, trouble, 1.5).transfers == ()


def test_a_timeout_is_called_one() -> None:
    error = MachineError("the command did not end within 9 s: sha256sum", "it printed nothing", "client")
    assert reason_of(error) == "timed out (it printed nothing)"
    assert reason_of(MachineError("two\nlines")) == "two lines"


TRIALS = (
    trial(THING, "kernel", SEEN, Outcome("used it", cases={"1 out": {NATIVE: "ok", "engine kernel": "ok"}}), "", 1.0),
    Trial("odd", "an odd one", "kernel", UNTRIED, "the guests' kernel has no module x|y"),
    trial(
        THING, "usbfs", SEEN, Outcome("used it", ("case 1 out: EIO",), "", {"1 out": {"engine usbfs": "EIO"}}), "", 1.0
    ),
    trial(Device("odd", "an odd one", THING.exercise), "usbfs", None, "did not appear", "", 20.0),
)


def test_the_table_has_a_line_a_device_and_a_column_an_engine() -> None:
    text = render(TRIALS, ["QEMU 9"], [("usb-host", "a real device")], [("odd, case 3", "hung once")])
    lines = text.splitlines()
    assert "- QEMU 9" in lines
    assert "Engine `kernel`, 2 devices: works 1, not tried 1." in lines
    assert "Engine `usbfs`, 2 devices: works with issues 1, does not work 1." in lines
    assert lines[lines.index(next(line for line in lines if line.startswith("| device"))) + 2 :][:2] == [
        "| **thing** a thing | high | control, bulk, interrupt | usbhid | used it | works | "
        "works with issues: case 1 out: EIO |",
        "| **odd** an odd one | – | – | – | – | not tried: the guests' kernel has no module x\\|y | "
        "does not work: did not appear |",
    ]
    assert "| 1 out | ok | ok | EIO |" in lines
    assert lines[-7:] == [
        *("## Seen in other runs", "", "- odd, case 3: hung once", ""),
        *("## Not tried", "", "- usb-host: a real device"),
    ]


def test_the_same_rows_are_there_for_programs() -> None:
    rows = json.loads(as_json(TRIALS, ["QEMU 9"]))["devices"]
    assert next((row["device"], row["engine"], row["verdict"]) for row in rows) == ("thing", "kernel", WORKS)


def test_a_wrong_name_lists_the_right_ones() -> None:
    with pytest.raises(DescriptionError, match="no device 'keyboard'") as caught:
        choose(["keyboard"])
    assert (caught.value.hint or "").startswith("there are: usb-kbd, ")
    assert [device.name for device in choose(["usb-mtp", "usb-kbd"])] == ["usb-kbd", "usb-mtp"]


def test_only_a_case_that_differs_from_its_result_without_usbip_is_an_issue() -> None:
    native = {"1 out": "ok", "2 in": "EINVAL", "3 halt": "ok"}
    outcome = judge(native, {"1 out": "ok", "2 in": "EINVAL", "3 halt": "EPIPE"}, "usbfs")
    assert outcome.issues == ("case 3 halt: EPIPE",)
    assert outcome.cases["3 halt"] == {NATIVE: "ok", "engine usbfs": "EPIPE"}
    with pytest.raises(MachineError, match="no case"):
        judge(native, {"1 out": "hangs"}, "kernel")


def test_sound_is_judged_by_its_order_whatever_its_volume() -> None:
    def frames(steps: list[int], scale: float) -> bytes:
        heights = [int(step * 256 * scale) for step in steps]
        return array.array("h", (sample for height in heights for sample in (height, -height))).tobytes()

    # The very first step is silence, and the first frame follows no other.
    whole = [n % 128 for n in range(512)]
    assert in_order(bytes(400) + frames(whole, 0.94)) == (510, 0)
    assert in_order(frames(whole[:200] + whole[300:], 1.0)) == (409, 1)
    assert in_order(bytes(4000)) == (0, 0)


def test_the_last_line_that_a_guest_prints_is_its_answer() -> None:
    assert value_of("ready\n{'a': b'\\x00'}\n") == {"a": b"\0"}
    with pytest.raises(MachineError, match="printed 'Traceback'"):
        value_of("Traceback")


def test_a_gadgets_script_fails_where_the_kernel_refuses_it() -> None:
    script = set_up("1209:0001", ({"acm.0": {"x": "echo 1"}}, {"ecm.0": {}}), ("usb_f_acm",), "extra")
    lines = script.splitlines()
    assert lines[0] == "set -e"
    assert lines.index("extra") < lines.index("ln -s functions/acm.0 configs/c.1/")
    assert "ln -s functions/ecm.0 configs/c.2/" in lines
    assert lines[-1].endswith("echo $udc >UDC")


def test_a_card_answers_its_reader(tmp_path: Path) -> None:
    card = SmartCard(tmp_path / "card")
    with socket.socket(socket.AF_UNIX) as reader:
        reader.connect(str(tmp_path / "card"))
        reader.settimeout(PATIENCE)
        with reader.makefile("rb") as file:
            messages = []
            for _ in range(3):
                kind, _, size = struct.unpack(">III", file.read(12))
                messages.append((kind, file.read(size)))
            assert messages[0][1].startswith(b"VSCD")
            assert messages[2] == (5, RESET)
            reader.sendall(struct.pack(">III", APDU, 0, 3) + b"abc")
            assert file.read(12 + 5) == struct.pack(">III", APDU, 0, 5) + b"cba\x90\x00"
        card.close()
        card.join(PATIENCE)
        assert not card.is_alive()


def test_a_card_without_a_reader_can_be_removed(tmp_path: Path) -> None:
    card = SmartCard(tmp_path / "card")
    card.close()
    card.join(PATIENCE)
    assert not card.is_alive()


def test_a_film_is_judged_by_what_was_sent() -> None:
    sums = [11, 22, 33, 44]
    good = [(number, sums[number], SIZE, False) for number in (0, 1, 3)]
    assert judge_film(good, sums, 3) == Film(3, 0, 1)
    assert judge_film(good[:2], sums, 3) == Film(2, 0, 1)
    for bad in ((1, 23, SIZE, False), (1, 22, SIZE - 1, False), (1, 22, SIZE, True), (9, 22, SIZE, False)):
        assert judge_film([bad], sums, 1).wrong == 1
