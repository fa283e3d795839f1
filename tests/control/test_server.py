# SPDX-License-Identifier: BSD-2-Clause
"""The control socket answers what it is asked, and whatever a client does is its own trouble."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

from router.control import json_lines, server
from router.control.client import Connection
from router.control.json_lines import MAX_REQUEST_BYTES, VERSION, JsonLines
from router.control.place import Claim, socket_path
from router.control.server import ControlServer
from router.errors import DescriptionError, HostError, MachineError, RouterError
from tests.control.running import FakeSystem
from tests.support.patience import PATIENCE, wait_until


class Raw:
    """A client that says what it likes."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(socket_path("desk")))
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.socket.close()

    def line(self) -> dict[str, Any]:
        try:
            text = self._file.readline()
        except ConnectionResetError:
            # Closed while what we sent was still unread.
            text = b""
        return json.loads(text) if text else {}

    def ask(self, text: str) -> dict[str, Any]:
        self.socket.sendall(text.encode() + b"\n")
        return self.line()


def test_the_greeting_tells_version_and_system(system: FakeSystem) -> None:
    with Raw() as client:
        greeting = client.line()
    assert (greeting["router"], greeting["system"]) == (2, "desk")


def test_the_state_tells_guests_rules_and_ports(connection: Connection) -> None:
    connection.plug("keyboard")
    state = connection.state()
    assert [(guest["name"], guest["role"], guest["up"]) for guest in state["guests"]] == [
        ("server", "server", True),
        ("client", "client", True),
        ("small", "client", True),
        ("cut-off", "client", True),
    ]
    assert state["guests"][1]["usb"] == {"version": 3, "ports": 8}
    assert {"from": "small", "to": "server", "protocol": "tcp", "port": 3240} in state["rules"]
    assert state["plugged"] == [{"port": 1, "kind": "keyboard", "argument": None, "path": "1-1"}]
    assert state["mode"] == "split"


def test_a_command_gives_its_output_as_it_comes_and_its_code(connection: Connection) -> None:
    shown: list[bytes] = []
    assert connection.execute("client", "uname", on_output=shown.append) == (0, b"")
    assert b"".join(shown) == b"client$ uname\n"
    assert connection.execute("client", "exit 7") == (7, b"leaving\n")


def test_errors_arrive_as_they_were_raised(connection: Connection) -> None:
    with pytest.raises(DescriptionError) as caught:
        connection.execute("cliend", "true")
    assert (caught.value.message, caught.value.hint) == ("no guest 'cliend'", "guests: server, client, small, cut-off")
    with pytest.raises(MachineError) as late:
        connection.execute("client", "wait", timeout=0.1)
    assert (late.value.where, late.value.exit_code) == ("client", 4)
    assert connection.execute("client", "true")[0] == 0


def test_commands_in_one_guest_take_turns_and_those_in_two_do_not_wait(system: FakeSystem) -> None:
    def ask(guest: str) -> None:
        with Connection("desk") as mine:
            mine.execute(guest, "true")

    threads = [threading.Thread(target=ask, args=("client",)) for _ in range(4)]
    with Raw() as blocked:
        blocked.line()
        blocked.socket.sendall(b'{"op": "execute", "guest": "client", "command": "wait", "timeout": 600}\n')
        assert wait_until(lambda: system.guests["client"].running == 1)
        for thread in threads:
            thread.start()
        assert wait_until(lambda: system.guests["client"].waiting == 4)
        ask("server")
        assert system.guests["client"].commands == ["wait"], "it still runs, and nobody else's turn has come"
    for thread in threads:
        thread.join()
    assert system.guests["client"].commands == ["wait"] + ["true"] * 4
    assert system.guests["client"].most == 1


def test_a_client_that_goes_takes_its_command_along(system: FakeSystem) -> None:
    with Raw() as client:
        client.line()
        client.socket.sendall(b'{"op": "execute", "guest": "client", "command": "wait", "timeout": 60}\n')
        assert wait_until(lambda: system.guests["client"].running == 1)
    assert wait_until(lambda: system.guests["client"].running == 0)


def test_events_are_sent_as_they_come(system: FakeSystem, connection: Connection) -> None:
    events = connection.watch()
    assert next(events) == {}
    system.timeline.line("client", "router: guest client: attached 1-9 port 3")
    event = next(events)
    assert (event["guest"], event["event"], event["detail"]) == ("client", "attached", "1-9 port 3")
    with Connection("desk") as other:
        other.plug("mouse")
    assert next(events)["text"] == "plugged on USB port 1: mouse"


def test_past_events_can_be_sent_again(connection: Connection) -> None:
    events = connection.watch(since=0)
    seen = [next(events) for _ in range(3)]
    assert seen[0] == {}
    assert [event["number"] for event in seen[1:]] == [0, 1]


def test_a_watch_ends_with_the_system() -> None:
    system = FakeSystem()
    with Claim("desk") as claim:
        with ControlServer(claim, system, "split"):
            connection = Connection("desk")
            events = connection.watch()
            assert next(events) == {}
        assert list(events) == []
        connection.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "bad request: not JSON"),
        ("[1]", "bad request: not a JSON object"),
        ("[" * 60000, "bad request: not JSON"),
        ('{"op": "destroy"}', "no operation 'destroy'"),
        ("{}", "the request has no 'op'"),
        ('{"op": 3}', "the request has no 'op'"),
        ('{"op": "execute", "guest": "client"}', "the request has no 'command'"),
        ('{"op": "execute", "guest": "client", "command": "true", "timeout": -1}', "a timeout of -1"),
        ('{"op": "execute", "guest": "client", "command": "true", "timeout": NaN}', "a timeout of nan"),
        ('{"op": "execute", "guest": "client", "command": "true", "timeout": 1e9}', "a timeout of 1000000000.0"),
        ('{"op": "watch", "since": -1}', "'since' is -1"),
        ('{"op": "plug", "device": "fridge"}', "no USB device of kind 'fridge'"),
        ('{"op": "unplug", "port": true}', "the request has no 'port'"),
        ('{"op": "unplug", "port": 9}', "nothing is plugged into USB port 9"),
    ],
)
def test_a_wrong_request_is_answered_with_what_is_wrong(system: FakeSystem, text: str, message: str) -> None:
    with Raw() as client:
        client.line()
        assert client.ask(text)["error"]["message"].startswith(message)
    with Connection("desk") as good:
        assert good.state()["system"] == "desk"


def test_a_line_without_an_end_ends_its_client_only(system: FakeSystem) -> None:
    with Raw() as client:
        client.line()
        client.socket.sendall(b"x" * (json_lines.MAX_REQUEST_BYTES + 10))
        assert "a line of more than 65536 bytes" in client.line()["error"]["message"]
        assert client.line() == {}
    with Connection("desk") as good:
        assert good.execute("client", "true")[0] == 0


def test_a_client_that_says_nothing_is_let_go(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(server, "IDLE_TIMEOUT_S", 0.2)  # first: the server looks at it as soon as there is a client
        with Raw() as client:
            client.line()
            assert "nothing for too long" in client.line()["error"]["message"]
            assert client.line() == {}
    monkeypatch.setattr(json_lines, "LINE_TIMEOUT_S", 0.2)
    with Raw() as client:
        client.line()
        client.socket.sendall(b'{"op"')
        assert "half a line, and then nothing" in client.line()["error"]["message"]


def test_a_client_that_reads_nothing_does_not_hold_a_guest(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LINE_TIMEOUT_S", 0.3)
    with Raw() as client:
        client.line()
        client.socket.sendall(b'{"op": "execute", "guest": "client", "command": "flood", "timeout": 60}\n')
        assert wait_until(lambda: system.guests["client"].running == 1)
        with Connection("desk") as good:
            assert good.execute("client", "true", timeout=PATIENCE)[0] == 0


def test_there_are_only_so_many_clients(system: FakeSystem) -> None:
    crowd = [Raw() for _ in range(server.MAX_CLIENTS)]
    assert all(client.line()["router"] == 2 for client in crowd)
    with pytest.raises(DescriptionError, match="more than 16 clients at once"):
        Connection("desk")
    for client in crowd:
        client.__exit__()
    assert wait_until(lambda: "client" in system.guests and can_connect())


def can_connect() -> bool:
    try:
        with Connection("desk"):
            return True
    except DescriptionError:
        return False


def test_a_client_of_another_version_is_refused(system: FakeSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.control.client.VERSION", 3)
    with pytest.raises(HostError, match="speaks control protocol 2, this program 3"):
        Connection("desk")


def test_the_end_of_a_run_does_not_wait_for_clients() -> None:
    system = FakeSystem()
    with Claim("desk") as claim:
        with ControlServer(claim, system, "split") as control:
            waiting, watching, silent = Raw(), Raw(), Raw()
            for client in (waiting, watching, silent):
                client.line()
            waiting.socket.sendall(b'{"op": "execute", "guest": "client", "command": "wait", "timeout": 600}\n')
            watching.socket.sendall(b'{"op": "watch"}\n')
            assert wait_until(lambda: system.guests["client"].running == 1)
            assert control.clients == 3
            start = time.monotonic()
        assert time.monotonic() - start < 3
        assert control.clients == 0, "each was told to end, and did, while the server ended"
        assert not claim.socket.exists()
    for client in (waiting, watching, silent):
        client.__exit__()


def test_a_retired_server_refuses_clients_and_one_with_clients_does_not_retire() -> None:
    with Claim("desk") as claim, ControlServer(claim, FakeSystem(), "split") as control:
        with Raw() as client:
            client.line()
            assert not control.retire()
            assert client.ask('{"op": "state"}')["result"]["system"] == "desk"
        assert wait_until(control.retire)
        with Raw() as late:
            assert late.line() == {}, "it is not greeted first and left alone then"


def test_a_system_without_emulated_ports_says_so(system: FakeSystem, connection: Connection) -> None:
    system.usb = None
    assert connection.state()["plugged"] is None
    with pytest.raises(DescriptionError, match="no emulated device can be plugged into this system"):
        connection.plug("keyboard")


def test_a_console_goes_both_ways_until_it_is_left(system: FakeSystem, connection: Connection) -> None:
    shown: list[bytes] = []
    console = connection.console("client", shown.append)
    assert wait_until(lambda: system.keyboard == "client")
    console.send(b"ls\r")
    assert wait_until(lambda: shown == [b"typed ls\r"])
    system.guests["client"].echoes[0](b"\x00\xff")
    console.close()
    assert shown[1:] == [b"\x00\xff"]
    assert console.ended()
    assert (system.keyboard, system.guests["client"].echoes) == (None, [])
    assert connection.execute("client", "exit 7")[0] == 7, "the connection is as good as before"


def test_the_console_of_an_unknown_guest_is_refused(connection: Connection) -> None:
    with pytest.raises(DescriptionError, match="no guest 'cliend'"):
        connection.console("cliend", lambda _: None)


@pytest.mark.parametrize("size", [2, 1000])
def test_a_client_that_does_not_read_a_console_loses_it_and_delays_no_other(
    size: int, system: FakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        json_lines, "LINE_TIMEOUT_S", 10 * PATIENCE
    )  # what waited for this client would not end in time
    with Raw() as client:
        client.line()
        assert client.ask('{"id": 1, "op": "console", "guest": "client"}')["console"] == "client"
        assert wait_until(lambda: bool(system.guests["client"].echoes))
        said = system.guests["client"].echoes[0]
        start = time.monotonic()
        for _ in range(server.MAX_CONSOLE_BYTES // (size + server.PIECE_COST) + 20_000):
            said(b"x" * size)
        assert time.monotonic() - start < PATIENCE
        assert wait_until(lambda: not system.guests["client"].echoes)


def test_a_console_ends_with_its_client(system: FakeSystem) -> None:
    with Raw() as client:
        client.line()
        client.ask('{"id": 1, "op": "console", "guest": "client"}')
        assert wait_until(lambda: bool(system.guests["client"].echoes))
    assert wait_until(lambda: not system.guests["client"].echoes)


@pytest.mark.parametrize("text", ['{"id": 1, "input": 7}', '{"id": 2, "input": "bHM="}', '{"id": 1, "input": "l"}'])
def test_what_is_no_input_ends_a_console_with_a_word(system: FakeSystem, text: str) -> None:
    with Raw() as client:
        client.line()
        client.ask('{"id": 1, "op": "console", "guest": "client"}')
        assert client.ask(text)["error"]["kind"] == "DescriptionError"
    assert wait_until(lambda: not system.guests["client"].echoes)


@pytest.mark.parametrize(
    "answer",
    [
        {"result": 7},
        {"result": {}},
        {"result": {"code": "0"}},
        {"output": "not base64!", "id": 1},
        {"error": 7},
        {"error": {"kind": [], "message": {}}},
        {"id": 2, "result": {}},
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error_and_no_traceback(answer: dict[str, Any]) -> None:
    """The other end may be a lab host."""
    ours, theirs = socket.socketpair()
    with theirs:
        lines = JsonLines(theirs, MAX_REQUEST_BYTES)
        lines.send({"router": VERSION})
        lines.send({"id": 1, **answer})
        with Connection("desk", ours) as connection, pytest.raises(RouterError):
            connection.execute("client", "true")


def test_lines_are_looked_at_without_a_pause_while_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "POLL_S", 2.0)
    system = FakeSystem("flooded")
    system.busy = 1000
    with Claim("flooded") as claim, ControlServer(claim, system, "split"):
        assert wait_until(lambda: system.pumps >= system.busy), f"{system.pumps} looks"
        with Connection("flooded") as connection:  # clients get their turn all the same
            assert connection.state()["events"] == len(system.timeline.events) > 0


def test_the_state_has_what_has_just_been_said(system: FakeSystem, connection: Connection) -> None:
    before = connection.state()["events"]
    system.late.append(("client", "router: guest client: detached 9-9 port 1"))
    assert connection.state()["events"] == before + 1
