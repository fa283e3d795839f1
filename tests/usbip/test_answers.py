# SPDX-License-Identifier: BSD-2-Clause
"""A guest may answer `router usb` with anything: what makes no sense is shown as that, and the others as they are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import MachineError
from router.usb.answers import controllers_of, devices_of, parse, ports_of
from router.usb.text import list_lines, port_lines, trouble_lines
from router.usb.view import snapshot
from router.usbip.policy.file import parse_policy
from router.usbip.runtime.event_loop import Loop
from router.usbip.server.control import describe
from router.usbip.server.server import Server
from router.usbip.virtual.engine import VirtualEngine
from router.usbip.virtual.keyboard import Keyboard
from tests.usbip.samples import CONTROLLER, PORT


@pytest.fixture(scope="module")
def honest() -> dict[str, Any]:
    """What a server really prints."""
    loop = Loop()
    engine = VirtualEngine(loop)
    engine.plug(Keyboard())
    server = Server(loop, [engine], parse_policy("allow 10.77.0.3 class hid port 2"))
    server.rescan()
    answer: dict[str, Any] = json.loads(json.dumps(describe(server)))
    server.close()
    engine.close()
    loop.close()
    return answer


def with_field(answer: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    device = dict(answer["devices"][0])
    if value is KeyError:
        del device[name]
    else:
        device[name] = value
    return {**answer, "devices": [device]}


def test_an_honest_answer_is_understood(honest: dict[str, Any]) -> None:
    (device,) = devices_of("server", honest, {"10.77.0.3": "client"})
    assert (device.busid, device.interfaces, device.grants["client"].port) == ("90-1", ((3, 1, 1),), 2)
    (port,) = ports_of("client", {"ports": [PORT]}, {"10.77.0.2": "server"})
    assert port.device is not None and (port.device.server, port.device.name) == ("server", "M P")
    (controller,) = controllers_of("client", {"controllers": [CONTROLLER]})
    assert controller.used == (1,)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("busid", KeyError, r"devices\[0\].busid is missing"),
        ("busid", "../../etc", "is not a port path"),
        ("busid", 7, "is not a port path"),
        ("busnum", "1", "is not a number from 0 to 65535"),
        ("busnum", True, "is not a number"),
        ("devnum", 1 << 70, "is not a number"),
        ("devnum", 1.5, "is not a number"),
        ("speed", 7, "is not a number from 0 to 6"),
        ("product", None, "is not a text"),
        ("product", "x" * 2000, "is not a text of at most 1024"),
        ("class", [3, 1], "is not class, subclass and protocol"),
        ("class", "abc", "is not a list"),
        ("interfaces", [[3, 1, 256]], "is not a number from 0 to 255"),
        ("interfaces", [None], "is not a list"),
        ("interfaces", [[3, 1]], "is not class, subclass and protocol"),
        ("exported", "yes", "is neither true nor false"),
        ("client", 5, "is not a text"),
        ("granted", {}, "is not a list"),
        ("granted", ["x"], r"devices\[0\].granted\[0\] is not an object"),
        ("granted", [{"client": "10.77.0.3", "words": ""}], r"granted\[0\].port is missing"),
        ("taken", [1], "is not a text"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(honest: dict[str, Any], name: str, value: object, message: str) -> None:
    with pytest.raises(MachineError, match=f"answers nonsense: .*{message}") as raised:
        devices_of("server", with_field(honest, name, value), {})
    assert raised.value.where == "server"


@pytest.mark.parametrize(
    "rows", [{}, {"devices": None}, {"devices": [None]}, {"devices": [[]]}, {"devices": [{}] * 2000}]
)
def test_an_answer_without_its_lists_makes_no_sense(rows: dict[str, Any]) -> None:
    with pytest.raises(MachineError, match="answers nonsense"):
        devices_of("server", rows, {})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*PORT, *PORT["device"]]), inner),
    max_leaves=12,
)


@given(json_values)
def test_no_json_is_more_than_nonsense(value: object) -> None:
    for read in (
        lambda: devices_of("g", {"devices": value}, {}),
        lambda: ports_of("g", {"ports": [value]}, {}),
        lambda: ports_of("g", {"ports": [{**PORT, "device": value}]}, {}),
        lambda: controllers_of("g", {"controllers": value}),
    ):
        try:
            read()
        except MachineError as error:
            assert error.message.startswith("answers nonsense")


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"devices":' * 50_000,
        b'{"devices": ' + b"9" * 5000 + b"}",
        b"\x1b]0;owned\x07",
    ],
)
def test_output_that_is_not_a_json_object_is_quoted_safely(output: bytes) -> None:
    with pytest.raises(MachineError, match="its USB/IP program said: ") as raised:
        parse("server", output)
    assert raised.value.message.isprintable()


class Running:
    """A system of three guests, whose programs print what the test says."""

    def __init__(self, outputs: dict[str, bytes]) -> None:
        self.outputs = outputs

    def state(self) -> dict[str, Any]:
        def guest(number: int, name: str, role: str) -> dict[str, Any]:
            usb = {"version": 3, "ports": 8}
            return {"name": name, "role": role, "address": f"10.77.0.{number}", "usb": usb, "up": True}

        return {
            "system": "s",
            "guests": [guest(2, "server", "server"), guest(3, "client", "client"), guest(4, "liar", "server")],
            "rules": [],
        }

    def execute(
        self, guest: str, command: str, timeout: float = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> tuple[int, bytes]:
        assert shlex.split(command)[0] == "router-usbip"
        return 0, self.outputs[guest]


@pytest.mark.parametrize(
    "lie",
    [
        b'{"devices": [{}]}',
        b'{"devices": 7}',
        b"[" * 100_000,
        b'{"devices": [{"busid": []}]}',
        b"{}",
    ],
)
def test_a_guest_that_answers_nonsense_is_shown_as_that_and_the_others_as_they_are(
    honest: dict[str, Any], lie: bytes
) -> None:
    client = json.dumps({"ports": [PORT], "controllers": [CONTROLLER]}).encode()
    running = Running({"server": json.dumps(honest).encode(), "client": client, "liar": lie})

    def connect() -> AbstractContextManager[Running]:
        return nullcontext(running)

    seen = snapshot(connect)
    assert [device.server for device in seen.devices] == ["server"]
    assert set(seen.troubles) == {"liar"}
    assert any(word in seen.troubles["liar"] for word in ("answers nonsense", "its USB/IP program said"))
    assert len(list_lines(seen)) == 2 and len(port_lines(seen, "client")) == 2
    assert trouble_lines(seen)[0].startswith("guest 'liar' ")
