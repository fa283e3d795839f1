# SPDX-License-Identifier: BSD-2-Clause
"""The host process: frames over real sockets, and what happens when links break."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from router.errors import HostError, MachineError
from router.vswitch import SwitchProcess
from router.vswitch.process import parse_counters
from tests.support.patience import PATIENCE, wait_until
from tests.vswitch.cc import HOST_UNITS, SANITIZE, compile_c
from tests.vswitch.frames import ACK, CLIENT, CONFIG, OTHER, SERVER, arp, ethernet, mac, tcp_frame
from tests.vswitch.links import Link, links, wait_for

HELLO = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, b"hello")
REPLY = tcp_frame(SERVER, CLIENT, 3240, 40000, ACK, b"reply")


@pytest.fixture
def switch(checked_program: Path, tmp_path: Path) -> SwitchProcess:
    """Not started yet; with the sanitizers, which make its exit code other than 0 when they find something."""
    return SwitchProcess(checked_program, CONFIG, tmp_path / "run")


def ends_well(switch: SwitchProcess) -> bool:
    switch.stop()
    return switch.ended() == 0


def test_frames_cross_both_ways(switch: SwitchProcess) -> None:
    with switch, links(switch, "server", "client", "other") as (server, client, other):
        client.send(HELLO)
        assert server.receive() == HELLO
        server.send(REPLY, arp(SERVER, SERVER))
        assert client.receive() == REPLY
        assert client.receive() == other.receive() == arp(SERVER, SERVER)
        assert ends_well(switch), switch.last_words()


def test_the_largest_frame_crosses(switch: SwitchProcess) -> None:
    largest = tcp_frame(CLIENT, SERVER, 40000, 3240, ACK, os.urandom(65535 - 40))
    with switch, links(switch, "server", "client") as (server, client):
        client.send(*[largest] * 30)
        for _ in range(30):
            assert server.receive() == largest
        assert ends_well(switch), switch.last_words()


def test_frames_may_arrive_in_pieces_of_any_size(switch: SwitchProcess) -> None:
    stream = b"".join(struct.pack(">I", len(frame)) + frame for frame in (HELLO, HELLO[:-2] + b"!!", HELLO))
    with switch, links(switch, "server", "client") as (server, client):
        for size in (1, 3, 67):
            for at in range(0, len(stream), size):
                client.socket.sendall(stream[at : at + size])
            for _ in range(3):
                assert server.receive()[:54] == HELLO[:54]
        assert ends_well(switch), switch.last_words()


def test_forged_frames_are_not_delivered_and_are_counted(switch: SwitchProcess) -> None:
    forged_ip = ethernet(CLIENT, SERVER, 0x0800, tcp_frame(OTHER, SERVER, 40000, 3240)[14:])
    with switch, links(switch, "server", "client") as (server, client):
        client.send(mac(SERVER) + mac(OTHER) + HELLO[12:], forged_ip, arp(CLIENT, SERVER, sender_mac=mac(OTHER)), b"")
        client.send(HELLO)
        assert server.receive() == HELLO
        counters = switch.counters()
        assert counters["client"].drops == {"source-mac": 1, "source-ip": 1, "arp-sender-mac": 1, "runt": 1}
        assert (counters["client"].rx_frames, counters["server"].tx_frames) == (5, 1)
        assert (counters["server"].tx_bytes, counters["server"].drops) == (len(HELLO), {})


def test_a_guest_that_is_not_connected_gets_nothing_later(switch: SwitchProcess) -> None:
    with switch, links(switch, "client") as (client,):
        client.send(HELLO)
        assert wait_for(switch, lambda ports: ports["client"].drops)["client"].drops == {"port-down": 1}
        with links(switch, "server") as (server,):
            assert server.is_silent()


def test_a_guest_may_come_back(switch: SwitchProcess) -> None:
    """Even one that left in the middle of a frame, in either direction."""
    with switch, links(switch, "server") as (server,):
        for turn in range(1, 4):
            with links(switch, "client") as (client,):
                client.send(HELLO)
                assert server.receive() == HELLO
                server.send(REPLY)
                assert client.receive() == REPLY
                server.send(*[REPLY] * 5000)  # more than the client will ever read
                client.socket.sendall(struct.pack(">I", 1000) + b"half a frame")
            counters = wait_for(switch, lambda ports: not ports["client"].connected)
            assert counters["client"].connections == turn
        assert "the link ended within a frame" in switch.last_words()
        assert ends_well(switch), switch.last_words()


def test_an_impossible_length_closes_that_link_alone(switch: SwitchProcess) -> None:
    with switch, links(switch, "server", "other") as (server, other):
        with links(switch, "client") as (client,):
            client.socket.sendall(struct.pack(">I", 69633) + bytes(100))
            with pytest.raises(ConnectionError):
                client.receive()
        assert "port client: a frame of 69633 bytes is announced; closing the link" in switch.last_words()
        other.send(tcp_frame(OTHER, SERVER, 40000, 3240))
        assert server.receive() == tcp_frame(OTHER, SERVER, 40000, 3240)
        with links(switch, "client") as (client,):
            client.send(HELLO)
            assert server.receive() == HELLO


def test_a_frame_beyond_the_limit_but_within_the_protocol_is_dropped(switch: SwitchProcess) -> None:
    with switch, links(switch, "server", "client") as (server, client):
        client.send(bytes(69632), HELLO)
        assert server.receive() == HELLO
        assert switch.counters()["client"].drops == {"oversize": 1}


def test_a_second_link_to_a_port_waits_for_the_first_to_end(switch: SwitchProcess) -> None:
    with switch, links(switch, "server", "client") as (server, client):
        second = Link(switch.socket("client"))
        second.send(HELLO[:-1] + b"2")
        client.send(HELLO)
        assert server.receive() == HELLO
        assert server.is_silent()
        client.close()
        assert server.receive() == HELLO[:-1] + b"2"
        second.close()


def test_counters_come_by_socket_by_signal_and_at_the_end(switch: SwitchProcess) -> None:
    saved = switch.folder / "counters.json"
    with switch, links(switch, "server", "client") as (server, client):
        client.send(HELLO)
        server.receive()
        assert switch.counters()["client"].rx_frames == 1
        assert switch.pid is not None
        os.kill(switch.pid, signal.SIGUSR1)
        assert wait_until(saved.exists)
        assert parse_counters(saved.read_text())["client"].rx_frames == 1
        client.send(HELLO)
        server.receive()
        assert switch.stop()["client"].rx_frames == 2


def test_it_ends_on_sigterm_and_leaves_no_socket(switch: SwitchProcess) -> None:
    with switch:
        assert {path.name for path in switch.folder.iterdir() if path.is_socket()} == {
            "server.sock",
            "client.sock",
            "other.sock",
            "lonely.sock",
            "control",
        }
        assert switch.ended() is None
        switch.stop()
        assert switch.ended() == 0
        assert [path.name for path in switch.folder.iterdir() if path.is_socket()] == []
        with pytest.raises(MachineError, match="does not answer"):
            switch.counters()


def test_sockets_are_for_their_owner_alone(switch: SwitchProcess) -> None:
    with switch:
        modes = {path.name: path.stat().st_mode & 0o077 for path in switch.folder.iterdir() if path.is_socket()}
        assert set(modes.values()) == {0}, modes


def test_sockets_that_a_killed_switch_left_are_replaced(checked_program: Path, switch: SwitchProcess) -> None:
    switch.start()
    assert switch.pid is not None
    os.kill(switch.pid, signal.SIGKILL)
    switch.stop()
    assert switch.socket("client").is_socket()
    with SwitchProcess(checked_program, CONFIG, switch.folder) as again, links(again, "server", "client") as ends:
        ends[1].send(HELLO)
        assert ends[0].receive() == HELLO


def test_the_sockets_of_a_running_switch_are_not_taken(checked_program: Path, switch: SwitchProcess) -> None:
    with switch:
        with pytest.raises(MachineError, match="did not start") as error:
            SwitchProcess(checked_program, CONFIG, switch.folder).start()
        assert "Address already in use" in str(error.value)
        assert switch.counters().keys() == {"server", "client", "other", "lonely"}


def test_it_dies_with_its_parent(host_program: Path, tmp_path: Path) -> None:
    """The parent is killed without a chance to stop it."""
    text = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from router.vswitch import SwitchProcess
from tests.vswitch.frames import CONFIG
SwitchProcess(Path({str(host_program)!r}), CONFIG, Path({str(tmp_path / "run")!r})).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", text], timeout=PATIENCE, check=False)
    assert run.returncode == -signal.SIGKILL
    assert wait_until(lambda: not (tmp_path / "run" / "control").exists())
    assert parse_counters((tmp_path / "run" / "counters.json").read_text())["client"].connections == 0


def blocks(data: bytes) -> list[tuple[int, bytes]]:
    """The blocks of a pcapng file: type and body, with both lengths checked."""
    found = []
    while data:
        kind, length = struct.unpack_from("=II", data)
        assert length % 4 == 0 and struct.unpack_from("=I", data, length - 4) == (length,)
        found.append((kind, data[8 : length - 4]))
        data = data[length:]
    return found


def test_a_capture_holds_every_frame_and_why_it_was_dropped(checked_program: Path, tmp_path: Path) -> None:
    capture = tmp_path / "frames.pcapng"
    switch = SwitchProcess(checked_program, CONFIG, tmp_path / "run", capture=capture)
    denied = tcp_frame(CLIENT, SERVER, 40000, 22, ACK, b"x")
    with switch, links(switch, "server", "client") as (server, client):
        client.send(denied, HELLO)
        assert server.receive() == HELLO
        assert ends_well(switch), switch.last_words()
    (section, head), *rest = blocks(capture.read_bytes())
    assert section == 0x0A0D0D0A and head[:4] == struct.pack("=I", 0x1A2B3C4D)
    names = [body[12 : 12 + struct.unpack_from("=H", body, 10)[0]] for kind, body in rest if kind == 1]
    assert names == [b"server", b"client", b"other", b"lonely"]
    packets = [body for kind, body in rest if kind == 6]
    assert [struct.unpack_from("=I", body)[0] for body in packets] == [CLIENT, CLIENT]
    assert [body[20 : 20 + len(frame)] for body, frame in zip(packets, (denied, HELLO), strict=True)] == [denied, HELLO]
    assert [b"dropped: not-allowed" in body for body in packets] == [True, False]
    written = [struct.unpack_from("=II", body, 4) for body in packets]
    assert all(abs((high << 32 | low) / 1e6 - time.time()) < 3600 for high, low in written)


def test_a_capture_ends_at_its_largest_size_and_the_switch_goes_on(tmp_path: Path) -> None:
    program = compile_c(tmp_path / "vswitch", HOST_UNITS, *SANITIZE, "-DCAPTURE_MAX=4000u")
    capture = tmp_path / "frames.pcapng"
    switch = SwitchProcess(program, CONFIG, tmp_path / "run", capture=capture)
    with switch, links(switch, "server", "client") as (server, client):
        for _ in range(100):
            client.send(HELLO)
            assert server.receive() == HELLO
        assert ends_well(switch), switch.last_words()
    assert 3000 < capture.stat().st_size <= 4000
    assert blocks(capture.read_bytes())[-1][0] == 6
    assert switch.last_words().count("the capture ends here: it has reached its largest size") == 1


def test_a_peer_that_breaks_its_link_without_end_fills_no_log(switch: SwitchProcess) -> None:
    with switch:
        for _ in range(50):
            with links(switch, "client") as (client,):
                client.socket.sendall(b"\xff" * 8)
                assert client.socket.recv(1) == b""
        assert switch.counters()["client"].connections == 50
        assert switch.log.read_text().count("a frame of 4294967295 bytes is announced") == 20
        assert ends_well(switch)


PORT = "port a 02:00:00:00:00:01 10.0.0.1\nport b 02:00:00:00:00:02 10.0.0.2\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a switch has 1 to 62 ports"),
        ("port a 02:00:00:00:00:01\n", ":1: expected: port NAME MAC IPV4"),
        ("\n# comment\nport ../a 02:00:00:00:00:01 10.0.0.1", ":3: a port's name is 1 to 64 letters"),
        ("port .a 02:00:00:00:00:01 10.0.0.1", ":1: a port's name is 1 to 64 letters"),
        (f"port {'a' * 65} 02:00:00:00:00:01 10.0.0.1", ":1: a port's name is 1 to 64 letters"),
        (PORT + "port a 02:00:00:00:00:03 10.0.0.3", ":3: two ports have the same name"),
        ("port a 02:00:00:00:00:0g 10.0.0.1", ":1: a MAC address looks like"),
        ("port a 02-00-00-00-00-01 10.0.0.1", ":1: a MAC address looks like"),
        ("port a 02:00:00:00:00:01 10.0.0", ":1: an IPv4 address looks like"),
        ("port a 03:00:00:00:00:01 10.0.0.1", "zero or a group address"),
        ("port a 00:00:00:00:00:00 10.0.0.1", "zero or a group address"),
        ("port a 02:00:00:00:00:01 127.0.0.1", "IPv4 address is not a host's"),
        ("port a 02:00:00:00:00:01 224.0.0.1", "IPv4 address is not a host's"),
        ("port a 02:00:00:00:00:01 0.0.0.1", "IPv4 address is not a host's"),
        (PORT.replace(":02 ", ":01 "), "two ports have the same MAC address"),
        (PORT.replace("10.0.0.2", "10.0.0.1"), "two ports have the same IPv4 address"),
        (PORT + "allow a c tcp 1", ":3: a rule names a port that no line above declares"),
        (PORT + "allow a a tcp 1", "a rule does not name two ports"),
        (PORT + "allow a b sctp 1", ":3: a rule's protocol is icmp, tcp PORT, udp PORT or vsock PORT"),
        (PORT + "allow a b tcp", ":3: a rule's protocol is icmp, tcp PORT, udp PORT or vsock PORT"),
        ("vsock a", ":1: expected: vsock NAME CID"),
        ("vsock a 2", ":1: a CID is a number from 3 to 4294967294"),
        ("vsock a 4294967295", ":1: a CID is a number from 3 to 4294967294"),
        ("vsock a 99999999999", ":1: a CID is a number from 3 to 4294967294"),
        ("vsock a/b 3", ":1: a port's name is 1 to 64 letters"),
        ("vsock a 3\nvsock a 4", ":2: a port has two vsock devices"),
        ("vsock a 3\nvsock b 3", "two ports have the same CID"),
        ("vsock a 3\nvsock b 4\nallow a c vsock 1", ":3: a vsock rule names a port for which no line above"),
        ("vsock a 3\nvsock b 4\nallow a b vsock 0", ":3: a vsock rule's port is a number from 1 to 4294967294"),
        ("vsock a 3\nvsock b 4\nallow a b vsock", ":3: a vsock rule's port is a number from 1 to 4294967294"),
        ("vsock a 3\nvsock b 4\nallow a a vsock 1", "a vsock rule does not name two vsock ports"),
        ("vsock a 3\nvsock b 4\n" + 2 * "allow a b vsock 1\n", "two vsock rules are the same"),
        (PORT + "allow a b icmp 1", ":3: a rule's protocol is icmp, tcp PORT, udp PORT or vsock PORT"),
        (PORT + "allow a b tcp 0", ":3: a port number is 1 to 65535"),
        (PORT + "allow a b tcp 65536", ":3: a port number is 1 to 65535"),
        (PORT + "allow a b", ":3: expected: allow FROM TO icmp, or: allow FROM TO tcp|udp|vsock PORT"),
        (PORT + "allow a b tcp 1 2 3", ":3: too many words"),
        (PORT + "frame-max 65551", ":3: a frame limit is a number of bytes, at most 65550"),
        (PORT + "frame-max 81", "the frame limit is not between 82 and 65550 bytes"),
        (PORT + "speed 10", ":3: expected: frame-max BYTES, port"),
        (PORT + "#" * 600, ":3: a line of more than 510 bytes"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_line(
    checked_program: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "switch.conf"
    path.write_text(text)
    command = [str(checked_program), "--config", str(path), "--sockets", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert complaint in run.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_opened_is_said(checked_program: Path, tmp_path: Path) -> None:
    path = tmp_path / "switch.conf"
    path.write_text(PORT)

    def complaint(*arguments: object) -> str:
        run = subprocess.run(
            [str(checked_program), *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert run.returncode in (1, 2)
        return run.stderr

    assert "No such file" in complaint("--config", tmp_path / "none", "--sockets", tmp_path)
    assert "No such file" in complaint("--config", path, "--sockets", tmp_path / "none")
    assert "at most 107 bytes" in complaint("--config", path, "--sockets", tmp_path / ("a" * 100))
    assert "No such file" in complaint("--config", path, "--sockets", tmp_path, "--pcap", tmp_path / "none" / "x")
    assert "usage: vswitch" in complaint("--config", path)
    assert "usage: vswitch" in complaint("--config", path, "--sockets", tmp_path, "--stall", "soon")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_too_deep_for_sockets_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="over 107 bytes") as error:
        SwitchProcess(Path("/bin/false"), CONFIG, tmp_path / ("deep" * 25))
    assert error.value.hint == "build into a folder with a shorter path"


def test_a_control_client_that_hangs_does_not_stop_the_switch(switch: SwitchProcess) -> None:
    with switch, links(switch, "server", "client") as (server, client):
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(5)]
        for one in idle:
            one.connect(str(switch.control))
        client.send(HELLO)
        assert server.receive() == HELLO
        for one in idle:
            one.close()
