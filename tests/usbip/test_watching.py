# SPDX-License-Identifier: BSD-2-Clause
"""Capture, PDU log, statistics, and asking and telling a running server."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import HostError
from router.usbip.__main__ import main
from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import names, urb
from router.usbip.protocol.device import Device
from router.usbip.runtime import jsontext
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server import control
from router.usbip.server.capture import Capture, PduLog, Taps
from router.usbip.server.control import Control
from router.usbip.server.server import Server
from router.usbip.server.statistics import Statistics, table
from router.usbip.virtual.audio import FRAME_BYTES, Microphone
from router.usbip.virtual.engine import VirtualEngine
from router.usbip.virtual.keyboard import Keyboard
from router.usbip.virtual.serial import Serial
from tests.support.tshark import needs_tshark, tshark
from tests.usbip.fakes import FakeKernel
from tests.usbip.remote import Remote, running


class Watched:
    """A server with a serial line and a microphone, all of whose PDUs are captured, logged and counted."""

    def __init__(self, loop: Loop, folder: Path) -> None:
        self.capture = Capture(str(folder / "capture.pcapng"))
        self.statistics = Statistics()
        self.lines: list[str] = []
        self.engine = VirtualEngine(loop, self.tap)
        for device in (Serial(), Microphone(), Keyboard("ab")):
            self.engine.plug(device)
        self.server = Server(loop, [self.engine], parse_policy("allow any all"))
        port = self.server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1]
        self.address = Address("tcp", "127.0.0.1", port)
        self.server.rescan()

    def tap(self, device: Device) -> Taps:
        return Taps([self.capture.tap(device), PduLog(device, self.lines.append), self.statistics.tap(device)])

    def close(self) -> None:
        self.server.close(release=True)
        self.engine.close()
        self.capture.close()


@pytest.fixture
def watched(loop: Loop, tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(loop, tmp_path)
    yield watched
    watched.close()


def use(watched: Watched) -> None:
    """Something of each kind: control, bulk both ways, a stall, an unlink, isochronous packets."""
    with Remote(watched.address, "90-1") as serial:
        assert len(serial.descriptor(1)) == 18
        serial.configure()
        serial.out(2, b"hello world")
        assert serial.take(2, 512).data == b"hello world"
        assert serial.descriptor(0x0F) == b""
        waiting = serial.submit(urb.IN, 2, 512)
        serial.unlink(waiting)
        assert serial.receive() == (serial.seqnum, urb.ECONNRESET)
    with Remote(watched.address, "90-2") as microphone:
        microphone.configure()
        packets = [(n * FRAME_BYTES, FRAME_BYTES) for n in range(4)]
        microphone.wait(microphone.submit(urb.IN, 1, 4 * FRAME_BYTES, iso=packets))


@needs_tshark
def test_tshark_reads_the_capture_as_usb_packets(loop: Loop, watched: Watched, tmp_path: Path) -> None:
    with running(loop):
        use(watched)
    watched.close()
    rows = tshark(
        tmp_path / "capture.pcapng",
        *("usb.urb_type", "usb.transfer_type", "usb.endpoint_address", "usb.urb_status", "usb.data_len"),
        *("usb.capdata", "_ws.malformed"),
    )
    assert not any(row[6] for row in rows)
    assert ["'S'", "0x02", "0x80"] in [row[:3] for row in rows]
    written = [row for row in rows if row[:3] == ["'S'", "0x03", "0x02"]]
    assert [row[4] for row in written] == ["11"]
    read = [row for row in rows if row[:3] == ["'C'", "0x03", "0x82"]]
    assert [(row[3], row[4]) for row in read] == [("0", "11"), ("-2", "0")]
    assert b"hello world".hex() in (tmp_path / "capture.pcapng").read_bytes().hex()
    assert any(row[1] == "0x00" and row[0] == "'C'" for row in rows), "isochronous"
    assert [row[3] for row in rows if row[0] == "'C'" and row[1] == "0x02"].count("-32") == 1


@needs_tshark
def test_tshark_reads_what_is_on_the_wire(loop: Loop, watched: Watched, tmp_path: Path) -> None:
    """The handshake and every PDU, as bytes of a TCP stream, through tshark's dissector of USB/IP."""
    from router.usbip.protocol import handshake

    disk = Device("1-1", 3, 1, 2, 0x1234, 0x5678, interfaces=((8, 6, 0x50),), path="/sys/x")
    submit = urb.Submit(1, disk.devid, urb.IN, 0, 18, setup=bytes.fromhex("8006000100001200"))
    conversations = {
        "list": [(0, handshake.pack_devlist_request()), (1, handshake.pack_devlist_reply([disk]))],
        "import": [
            (0, handshake.pack_import_request("1-1")),
            (1, handshake.pack_import_reply(disk)),
            (0, urb.pack_submit(submit)),
            (1, urb.pack_return(1, 0, 18) + bytes(18)),
            (0, urb.pack_unlink(urb.Unlink(2, disk.devid, 1))),
            (1, urb.pack_unlinked(2, -104)),
        ],
    }
    found: set[str] = set()
    for name, messages in conversations.items():
        text = tmp_path / f"{name}.txt"
        lines: list[str] = []
        for way, data in messages:
            lines.append("I" if way else "O")
            lines += [f"{at:06x} {data[at : at + 16].hex(' ')}" for at in range(0, len(data), 16)]
        text.write_text("\n".join(lines) + "\n")
        pcap = tmp_path / f"{name}.pcap"
        subprocess.run(
            ["text2pcap", "-q", "-D", "-T", "50000,3240", str(text), str(pcap)], check=True, capture_output=True
        )
        done = subprocess.run(
            ["tshark", "-r", str(pcap), "-d", "tcp.port==3240,usbip", "-V"], capture_output=True, text=True, check=True
        )
        assert "Malformed" not in done.stdout
        found |= {line.strip() for line in done.stdout.splitlines()}
    shown = "\n".join(found)
    for words in ("OP_REQ_DEVLIST", "OP_REP_DEVLIST", "OP_REQ_IMPORT", "OP_REP_IMPORT"):
        assert words.replace("OP_REQ_", "").lower()[:6] in shown.lower()
    for command in ("SUBMIT", "UNLINK"):
        assert command in shown.upper()
    assert "0x1234" in shown


def test_each_pdu_is_a_line_of_the_log(loop: Loop, watched: Watched) -> None:
    with running(loop):
        use(watched)
    log = "".join(watched.lines)
    for words in (
        "90-1 CMD_SUBMIT #1 control IN endpoint 0 255 bytes setup 80060001",
        "CMD_SUBMIT #3 bulk OUT endpoint 2 11 bytes: 68656c6c6f20776f726c64\n",
        "RET_SUBMIT #4 status 0 11 bytes: 68656c6c6f",
        "status -32",
        "CMD_UNLINK #7 of #6",
        "RET_UNLINK #7 of #6 status -104",
        "isochronous IN endpoint 1 384 bytes in 4 packets",
    ):
        assert words in log


def test_transfers_are_counted_by_device_and_endpoint(loop: Loop, watched: Watched) -> None:
    with running(loop):
        use(watched)
    data = watched.statistics.data()
    serial = data["90-1"]
    assert serial["0x82"] | {"latency": {}} == {
        "kind": "bulk",
        "urbs": 1,
        "bytes": 11,
        "errors": 0,
        "cancelled": 1,
        "latency": {},
    }
    assert serial["0x00"]["errors"] == 1
    assert data["90-2"]["0x81"]["bytes"] == 4 * FRAME_BYTES
    rows = table(data).splitlines()
    assert [row.split()[:6] for row in rows if "bulk" in row and "out" in row] == [
        ["90-1", "2", "out", "bulk", "1", "11"]
    ]


def test_prometheus_gets_its_text_format(loop: Loop, watched: Watched) -> None:
    with running(loop):
        use(watched)
    lines = watched.statistics.prometheus().splitlines()
    assert 'router_usbip_bytes_total{device="90-1",endpoint="0x82",kind="bulk"} 11' in lines
    assert "# TYPE router_usbip_latency_seconds summary" in lines
    samples = [line for line in lines if not line.startswith("#")]
    assert all(float(line.rpartition(" ")[2]) >= 0 for line in samples)


def test_percentiles_are_right_to_a_fifth() -> None:
    from router.usbip.server.statistics import Endpoint

    endpoint = Endpoint(2)
    for number in range(1, 1001):
        endpoint.count(number / 1e5, 1, False)
    for percent in (50, 90, 99):
        assert percent / 1e4 <= endpoint.percentile(percent) <= percent / 1e4 * 1.2


# Asking and telling


@pytest.fixture
def controlled(loop: Loop, host: FakeKernel, tmp_path: Path) -> Iterator[tuple[Server, str, Path]]:
    policy = tmp_path / "policy"
    policy.write_text("# ours\nallow 10.77.0.3 class mass-storage\n")
    server = Server(loop, [KernelEngine(loop, host)], parse_policy(policy.read_text()))
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3, vid=0x46D, pid=0xC31C, interfaces=[(3, 1, 1)])
    server.rescan()
    path = str(tmp_path / "control")
    controller = Control(loop, server, path, str(policy), Statistics())
    with running(loop):
        yield server, path, policy
    controller.close()
    server.close(release=True)


Controlled = tuple[Server, str, Path]


def test_status_tells_each_device_who_may_have_it_and_who_has_it(
    controlled: Controlled, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path, _ = controlled
    capsys.readouterr()
    assert main(["status", "--json", "--control", path]) == 0
    devices = {device["busid"]: device for device in json.loads(capsys.readouterr().out)["devices"]}
    assert (devices["1-1"]["exported"], devices["1-2"]["exported"]) == (True, False)
    assert devices["1-1"]["granted"] == [
        {
            "client": "10.77.0.3",
            "port": 0,
            "rule": "line 2 allows it: allow 10.77.0.3 class mass-storage",
            "words": "allow 10.77.0.3 class mass-storage",
        }
    ]
    assert main(["status", "--control", path]) == 0
    assert "granted to 10.77.0.3" in capsys.readouterr().out


def test_a_device_is_granted_and_revoked_while_the_server_runs(controlled: Controlled) -> None:
    server, path, policy = controlled
    control.ask(["grant", "10.77.0.4", "1-2", "3"], path)
    exact = "path 1-2 serial 1-0000:00:01.0-1 device 046d:c31c interface 03/01/01 class 03/01/01 only 03/01/01"
    before = "# ours\nallow 10.77.0.3 class mass-storage\n"
    assert policy.read_text() == f"{before}allow 10.77.0.4 {exact} port 3 # at run time\n"
    assert "1-2" in server.exports
    control.ask(["grant", "10.77.0.3", "1-2"], path)
    assert policy.read_text() == f"{before}allow 10.77.0.3 {exact} # at run time\n"
    control.ask(["revoke", "10.77.0.3", "1-2"], path)
    control.ask(["revoke", "10.77.0.3", "1-1"], path)
    assert policy.read_text().startswith(f"{before}deny 10.77.0.3 path 1-1 ")
    assert [(row["busid"], row["granted"], row["taken"]) for row in control.describe(server)["devices"]] == [
        ("1-1", [], ["10.77.0.3"]),
        ("1-2", [], []),
    ]
    assert not server.exports


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["grant", "10.77.0.4", "9-9"], "there is no device 9-9"),
        (["grant", "nobody", "1-1"], "'nobody' is not a client"),
        (["dance"], "the request 'dance' is not understood"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_a_reason(controlled: Controlled, words: list[str], text: str) -> None:
    _, path, policy = controlled
    before = policy.read_text()
    with pytest.raises(Exception, match=text):
        control.ask(words, path)
    assert policy.read_text() == before


def test_an_error_says_which_guest_holds_a_device(controlled: Controlled) -> None:
    server, path, _ = controlled
    server.exports["1-1"].session = type("Held", (), {"close": lambda self: None, "leave": lambda self: None})()
    server.exports["1-1"].client = "10.77.0.3"
    with pytest.raises(HostError, match=r"1-1 is in use by 10\.77\.0\.3"):
        control.ask(["grant", "10.77.0.4", "1-1"], path)
    assert "rules" in control.ask(["grant", "10.77.0.4", "1-1", "take"], path)
    server.exports["1-1"].session = None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_what_is_written_as_json_reads_the_same(value: object) -> None:
    assert json.loads(jsontext.dumps(value)) == value


def test_statistics_are_asked_for_in_each_form(controlled: Controlled, capsys: pytest.CaptureFixture[str]) -> None:
    _, path, _ = controlled
    for words, begins in (([], "device    endpoint"), (["--json"], "{}"), (["--prometheus"], "# HELP")):
        capsys.readouterr()
        assert main(["stats", "--control", path, *words]) == 0
        assert capsys.readouterr().out.startswith(begins)


def test_without_a_server_the_verbs_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--control", str(tmp_path / "none")]) == 3
    assert "cannot connect" in capsys.readouterr().err


# Names and JSON

USB_IDS = """\
# a comment
046d  Logitech, Inc.
\tc31c  Keyboard K120
0781  SanDisk Corp.
\t5567  Cruzer Blade
C 08  Mass Storage
\t06  SCSI
\t\t50  Bulk-Only
HID 01  Something
\t02  Else
"""


def test_names_come_from_usb_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_ids", [names.Ids(USB_IDS)])
    assert names.product(Device("1-1", 3, 1, 2, 0x046D, 0xC31C)) == "Logitech, Inc. : Keyboard K120 (046d:c31c)"
    assert names.triple((8, 6, 0x50)) == "Mass Storage / SCSI / Bulk-Only (08/06/50)"
    assert names.triple((3, 1, 1)) == "Human Interface Device / unknown subclass / unknown protocol (03/01/01)"
    assert names.product(Device("1-1", 3, 1, 2, 1, 2)) == "unknown vendor : unknown product (0001:0002)"


def test_lists_and_ports_come_as_json(
    host: FakeKernel, guest: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    assert main(["list", "-l", "--json", "--sysfs", host.root]) == 0
    (device,) = json.loads(capsys.readouterr().out)
    assert (device["busid"], device["device"], device["interfaces"]) == ("1-1", "46f4:0001", [[8, 6, 80]])
    assert main(["port", "--json", "--sysfs", guest.root, "--state", str(tmp_path)]) == 0
    ports = json.loads(capsys.readouterr().out)
    assert len(ports) == 16
    assert (ports[8]["port"], ports[8]["hub"], ports[8]["rhport"], ports[8]["state"]) == (1, "ss", 8, "free")


def test_a_capture_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot write the capture"):
        Capture(str(tmp_path / "none" / "capture"))


def test_a_capture_is_private_and_ends_at_its_largest_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.usbip.server.capture.MAX_BYTES", 5000)
    path = tmp_path / "capture"
    capture = Capture(str(path))
    for _ in range(100):
        capture.packet(bytes(200), 200, 0.0)
    capture.close()
    assert 4700 < path.stat().st_size <= 5000
    assert path.stat().st_mode & 0o777 == 0o600
    assert capsys.readouterr().err.count("the capture ends: it has reached its largest size") == 1


def test_the_capture_begins_with_a_section_that_names_its_byte_order(tmp_path: Path) -> None:
    Capture(str(tmp_path / "capture")).close()
    data = (tmp_path / "capture").read_bytes()
    assert struct.unpack_from("<III", data) == (0x0A0D0D0A, 28, 0x1A2B3C4D)
    assert struct.unpack_from("<H", data, 28 + 8) == (220,)
