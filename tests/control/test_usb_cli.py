# SPDX-License-Identifier: BSD-2-Clause
"""`router usb` and `router exec` over a real socket, against guests that answer by the real programs' code."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.errors import MachineError
from router.usb.answers import parse
from router.usb.steps import WAIT
from router.usb.text import table
from tests.control.running import FakeSystem
from tests.support.patience import PATIENCE

Says = Callable[..., str]


@pytest.fixture(autouse=True)
def running(system: FakeSystem) -> None:
    """Every test here is about a system that runs."""


def test_the_list_is_a_table(says: Says) -> None:
    assert says("usb", "list") == (
        "SERVER  BUSID  DEVICE     NAME                SPEED  GRANTED TO  BY                  HELD BY\n"
        "server  1-2    0627:0001  QEMU USB Keyboard   480M   client      path 1-2 port 5     client, port 5\n"
        "server  1-3    0627:0001  QEMU USB Mouse      480M   -           -                   -\n"
        "server  2-1    46f4:0001  QEMU USB HARDDRIVE  5G     client      class mass-storage  client, port 1\n"
    )


def test_the_list_is_json_for_programs(says: Says) -> None:
    rows = json.loads(says("usb", "list", "--json"))
    assert rows[0] == {
        "guest": "server",
        "busid": "1-2",
        "device": "0627:0001",
        "name": "QEMU USB Keyboard",
        "serial": "K1",
        "speed": "480M",
        "class": [0, 0, 0],
        "interfaces": [[3, 1, 1]],
        "granted": ["client"],
        "rule": "path 1-2 port 5",
        "holder": "client",
        "port": 5,
        "road": "usb",
        "disk": None,
        "parts": [],
    }


def test_assignable_tells_why_a_device_is_in_no_guest(system: FakeSystem, says: Says) -> None:
    assert says("usb", "assignable") == (
        "SERVER  BUSID  DEVICE     NAME            CAN GO TO      WHY IT IS IN NO GUEST\n"
        "server  1-3    0627:0001  QEMU USB Mouse  client, small  no rule gives it to a guest\n"
    )
    system.lazy = True
    system.held.clear()
    system.policy += "allow 10.77.0.4 path 2-1\n"
    rows = {row["busid"]: row for row in json.loads(says("usb", "assignable", "--json"))}
    assert rows["1-2"]["why"] == "given to 'client', which is about to attach it"
    assert rows["2-1"]["why"] == (
        "given to 'small', but 2-1 is a SuperSpeed device, and 'small' has a USB 2 controller"
    )
    assert rows["2-1"]["guests"] == ["client"]


def test_ports_are_shown_with_what_they_are_kept_for(system: FakeSystem, says: Says) -> None:
    lines = says("usb", "ports", "client").splitlines()
    assert lines[0].split() == ["PORT", "USB", "STATE", "DEVICE", "NAME", "FROM", "DRIVER"]
    assert lines[5] == "5     2    used   0627:0001  QEMU USB Keyboard   server/1-2  usbhid"
    assert len(lines) == 1 + 8 + 8
    system.lazy = True
    system.held.clear()
    assert says("usb", "ports", "client").splitlines()[5].split() == ["5", "2", "free", "(for", "1-2)"]
    assert says("usb", "ports", "small").splitlines()[1:] == ["1     2    free"]


def test_attach_gives_the_device_and_says_where_it_is(system: FakeSystem, says: Says) -> None:
    assert says("usb", "attach", "small", "mouse") == (
        "QEMU USB Mouse is on port 1 of 'small', until the system stops\n"
    )
    assert system.held["1-3"] == ("small", 1)
    assert system.policy.splitlines()[-1] == (
        "allow 10.77.0.4 path 1-3 serial M1 device 0627:0001 interface 03/01/01 class 03/01/01 # at run time"
    )
    assert "router usb attach" in says("usb", "list")


def test_detach_lasts_and_attach_undoes_it(system: FakeSystem, says: Says) -> None:
    assert says("usb", "detach", "client", "5") == (
        "QEMU USB Keyboard is taken from port 5 of 'client', until it is attached again\n"
    )
    assert "1-2" not in system.held
    assert "taken from 'client' by router usb detach" in says("usb", "assignable")
    row = json.loads(says("usb", "attach", "client", "1-2", "--json"))
    assert (row["port"], row["device"]["busid"]) == (5, "1-2")
    assert system.policy.count("at run time") == 0


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (
            ["attach", "small", "keyboard"],
            4,
            "1-2 (QEMU USB Keyboard) is held by guest 'client', on port 5",
            "to take it: router usb attach small 1-2 --take",
        ),
        (["attach", "client", "1-2"], 4, "'client' has 1-2 (QEMU USB Keyboard) already, on port 5", None),
        (
            ["attach", "small", "2-1"],
            4,
            "2-1 (QEMU USB HARDDRIVE) is held by guest 'client', on port 1",
            "to take it: router usb attach small 2-1 --take",
        ),
        (
            ["attach", "cut-off", "mouse"],
            4,
            "the switch lets no USB/IP from 'cut-off' to 'server', and that is fixed while it runs",
            "in the description, under network: allow: [cut-off -> server tcp/3240]",
        ),
        (
            ["attach", "client", "mouse", "--port", "5"],
            4,
            "port 5 of 'client' is taken by QEMU USB Keyboard",
            "router usb ports client shows its ports",
        ),
        (
            ["attach", "client", "mouse", "--port", "9"],
            4,
            "'client' has no port 9 for USB 2 devices: it has 1 to 8",
            "router usb ports client shows its ports",
        ),
        (
            ["attach", "small", "2-1", "--take"],
            4,
            "2-1 is a SuperSpeed device, and 'small' has a USB 2 controller",
            "r",
        ),
        (["attach", "client", "1-2", "--take"], 4, "'client' has 1-2 (QEMU USB Keyboard) already, on port 5", None),
        (["attach", "client", "mouse", "--force"], 2, "--force is for --take", "router usb attach GUEST DEVICE --take"),
        (["attach", "server", "mouse"], 2, "guest 'server' uses no devices of other guests", "choose one of: client, "),
        (["attach", "cliend", "mouse"], 2, "no guest 'cliend'", "did you mean 'client'?"),
        (["attach", "client", "fridge"], 2, "no device 'fridge'", "devices: 1-2 (QEMU USB Keyboard), 1-3 ("),
        (
            ["attach", "client", "qemu usb"],
            2,
            "'qemu usb' could be 1-2 (QEMU USB Keyboard) or 1-3 (QEMU USB Mouse) or 2-1 (QEMU USB HARDDRIVE)",
            "name it by its busid",
        ),
        (
            ["attach", "client", "0627:0001"],
            2,
            "'0627:0001' could be 1-2 (QEMU USB Keyboard) or 1-3 (QEMU USB Mouse)",
            "name it by its busid",
        ),
        (["detach", "client", "3"], 4, "nothing is attached to port 3 of 'client'", "ports in use: 5 (QEMU USB Key"),
        (["detach", "small", "keyboard"], 4, "'small' does not have 'keyboard'", "1-2 is held by 'client'"),
        (["detach", "client", "fridge"], 2, "no device 'fridge'", "devices: "),
        (["controllers", "client", "destroy"], 2, "which controller?", "write: router usb controllers GUEST destroy"),
        (
            ["controllers", "client", "destroy", "1"],
            4,
            "controller 1 has devices on its ports: 1",
            "detach them first",
        ),
        (["unplug", "3"], 2, "nothing is plugged into USB port 3", None),
        (["list", "--system", "shelf"], 2, "no system 'shelf' runs", "running: desk"),
    ],
)
def test_what_cannot_be_says_what_is_in_the_way(
    says: Says, words: list[str], code: int, message: str, hint: str | None
) -> None:
    lines = says("usb", *words, code=code).splitlines()
    assert lines[0].rpartition("error: ")[2] == message
    assert (lines[1].strip().startswith(hint)) if hint else len(lines) == 1


def test_a_guest_that_does_not_answer_is_named_and_the_rest_is_shown(system: FakeSystem, says: Says) -> None:
    system.deaf.add("small")
    shown = says("usb", "list", code=4)
    assert "QEMU USB Mouse" in shown
    assert shown.endswith("guest 'small' out of order\n")
    assert "guest 'small' out of order" in says("usb", "attach", "small", "mouse", code=4)


def test_a_device_is_taken_from_one_guest_to_another_in_one_step(system: FakeSystem, says: Says) -> None:
    assert says("usb", "attach", "small", "keyboard", "--take") == (
        "QEMU USB Keyboard is on port 1 of 'small', until the system stops\n"
    )
    assert system.held["1-2"] == ("small", 1)
    assert [command for command in system.guests["server"].commands if "grant" in command or "revoke" in command] == [
        "router-usbip grant 10.77.0.4 1-2 --take"
    ]


@pytest.mark.parametrize("words", [["attach", "client", "1-3", "--take"], ["detach", "small", "mouse"]])
def test_a_mounted_disk_stays_where_it_is_unless_forced(system: FakeSystem, says: Says, words: list[str]) -> None:
    says("usb", "attach", "small", "mouse")
    system.uses["1-3"] = ["sda1 on /mnt", "sda2 as swap"]
    shown = says("usb", *words, code=4)
    assert "error: 1-3 (QEMU USB Mouse) is in use in 'small': sda1 on /mnt, sda2 as swap\n" in shown
    assert "router exec small 'umount PLACE'" in shown
    assert system.held["1-3"] == ("small", 1)
    says("usb", *words, "--force")
    assert system.held.get("1-3", ("",))[0] != "small"


def test_a_device_is_not_taken_from_a_guest_that_does_not_say_whether_it_uses_it(
    system: FakeSystem, says: Says
) -> None:
    says("usb", "attach", "small", "mouse")
    system.deaf.add("small")
    shown = says("usb", "attach", "client", "1-3", "--take", code=4)
    assert "'small' has 1-3 (QEMU USB Mouse) and does not say whether it uses it\n  --force takes it all" in shown
    assert system.held["1-3"] == ("small", 1)
    says("usb", "attach", "client", "1-3", "--take", "--force")
    assert system.held["1-3"][0] == "client"


def test_a_guest_that_claims_anothers_device_hides_no_use_of_it(system: FakeSystem, says: Says) -> None:
    says("usb", "attach", "small", "mouse")
    system.uses["1-3"] = ["sda1 on /mnt"]
    # Asked before the holder, and says what the server does not.
    system.claims["client"] = ("1-3", 7)
    assert "in use in 'small': sda1 on /mnt\n" in says("usb", "attach", "client", "1-3", "--take", code=4)
    assert system.held["1-3"] == ("small", 1)
    assert json.loads(says("usb", "list", "--json"))[1]["holder"] == "small"


def test_a_device_that_does_not_appear_is_reported_with_the_guests_reason(system: FakeSystem, says: Says) -> None:
    system.lazy = True
    shown = says("usb", "attach", "client", "mouse", code=4)
    assert (
        "'client' does not have 1-3 after 20 s: 'client' cannot import it: 1-3: the virtual ports are painted shut"
    ) in shown
    assert "to take it back: router usb detach client 1-3" in shown


def test_a_server_that_fails_meanwhile_does_not_hide_that_the_device_did_not_come(
    system: FakeSystem, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = system.execute

    def failing(guest: str, command: str, *more: Any, **named: Any) -> tuple[int, bytes]:
        if "until " in command:
            system.deaf.add("server")
        return execute(guest, command, *more, **named)

    system.lazy = True
    monkeypatch.setattr(system, "execute", failing)
    shown = says("usb", "attach", "client", "mouse", code=4)
    assert "'client' does not have 1-3 after 20 s: at which step cannot be told: " in shown
    assert "out of order" in shown.splitlines()[0]
    assert "to take it back: router usb detach client 1-3" in shown


@pytest.mark.parametrize(("there", "slept"), [(("sleep",), "sleep 0.1"), (("sleep", "usleep"), "usleep 100000")])
def test_waiting_in_a_guest_sleeps_between_its_tries_by_what_the_guest_has(
    tmp_path: Path, there: tuple[str, ...], slept: str
) -> None:
    for name in there:
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{tmp_path}/slept\n')
        (tmp_path / name).chmod(0o755)
    script = WAIT.format(test=f"[ -e {tmp_path}/slept ]", seconds=60)
    done = subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(tmp_path)}, capture_output=True, check=False, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "slept").read_text() == f"{slept}\n"


def test_a_device_that_the_clients_kernel_cannot_enumerate_is_reported_with_its_line(
    system: FakeSystem, says: Says
) -> None:
    system.unknown.add("1-2")
    shown = says("usb", "attach", "small", "keyboard", "--take", code=4)
    assert (
        "'small' has imported it, and its kernel cannot enumerate it: usb 1-1: device descriptor read/64, error -110"
    ) in shown
    assert "to take it back: router usb attach client 1-2 --take" in shown


def test_watch_prints_what_happens(system: FakeSystem, says: Says) -> None:
    system.timeline.line("client", "[ 9.0] router: guest client: attached 1-9 port 3")
    lines = says("usb", "watch", "--since-start", "--count", "3").splitlines()
    assert [line.partition(" s  ")[2] for line in lines] == [
        "client     device attached: 1-2 port 5",
        "client     device attached: 2-1 port 1",
        "client     device attached: 1-9 port 3",
    ]
    event = json.loads(says("usb", "watch", "--all", "--json", "--since-start", "--count", "1"))
    assert (event["event"], event["number"]) == ("userspace", 0)


def test_controllers_are_shown_and_created(says: Says) -> None:
    assert says("usb", "controllers", "client").splitlines() == [
        "CONTROLLER  USB  PORTS  PORTS IN USE",
        "0           3    8      USB 2: 5; USB 3: 1",
        "1 more can be created",
    ]
    assert says("usb", "controllers", "client", "create", "--ports", "4") == "client: controller 1: USB 3, 4 ports\n"


def test_plug_and_unplug_say_the_port(says: Says) -> None:
    assert says("usb", "plug", "keyboard").startswith("keyboard is on USB port 1")
    assert says("usb", "unplug", "1") == "keyboard is out of USB port 1\n"


def test_exec_gives_the_guests_output_and_exit_code(system: FakeSystem, says: Says) -> None:
    assert says("exec", "client", "ls -l /") == "client$ ls -l /\n"
    assert says("exec", "client", "--", "echo", "a b") == "client$ echo 'a b'\n"
    assert says("exec", "client", "exit 7", code=7) == "leaving\n"
    row = json.loads(says("exec", "--json", "client", "uname"))
    assert row == {"guest": "client", "command": "uname", "code": 0, "output": "client$ uname\n"}
    assert "which command?" in says("exec", "client", code=2)
    assert system.guests["client"].commands[-1] == "uname"


def test_columns_are_as_wide_as_they_need_to_be() -> None:
    assert table(("A", "B"), [("long", "x"), ("s", "")]) == ["A     B", "long  x", "s"]


def test_a_guest_that_talks_nonsense_is_quoted() -> None:
    with pytest.raises(MachineError, match="its USB/IP program said: sh: router-usbip: not found"):
        parse("client", b"sh: router-usbip: not found\n")
