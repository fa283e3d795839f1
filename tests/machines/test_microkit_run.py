# SPDX-License-Identifier: BSD-2-Clause
"""A run of a Microkit system, with a program in QEMU's place that says what the guests and seL4 would say."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from router.console.serial_line import ports
from router.control.facts import facts_of
from router.control.timeline import Timeline
from router.errors import DescriptionError, HostError, MachineError
from router.machines.qemu.microkit import MicrokitRun, check_version, system_command
from router.machines.qemu.microkit import SystemSockets as Paths
from router.machines.qemu.tool import Qemu, find_qemu
from router.machines.qemu.usb import plugs_of
from router.plan.models import Passthrough, SystemPlan
from tests.support import fake_qemu
from tests.support.patience import PATIENCE, alive, wait_until
from tests.support.systems import described, plan_of, shipped

UP = """
LDR|INFO: loader for seL4 starting
Bootstrapping kernel
MON|INFO: Microkit Monitor started!
server| [    0.000000] Linux version 6.1.0 (somebody)
client| [    0.000000] Linux version 6.1.0 (somebody)
server| [    1.000000] router: guest server: userspace up
client| [    1.100000] router: guest client: userspace up
server| [    2.000000] router: guest server: usbipd listening 10.77.0.2:3240
"""
ANSWER = re.compile(r"< taken|\.control\|")
"""What the machine says because it was asked: the guests' clocks are set as soon as they are up."""
Start = Callable[[str], MicrokitRun]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Makes a run in which the machine says these lines."""
    program = tmp_path / "qemu"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {fake_qemu.__file__} "$@"\n')
    program.chmod(0o755)

    def make(lines: str) -> MicrokitRun:
        (tmp_path / "lines").write_text(lines.strip())
        monkeypatch.setenv("FAKE_QEMU_LINES", str(tmp_path / "lines"))
        plan = plan_of(shipped("qemu"))
        qemu, logs = Qemu(str(program), (11, 1, 3)), tmp_path / "logs"
        return MicrokitRun(plan, tmp_path / "img", qemu, logs, Timeline(), seeds=False)

    return make


def test_a_system_that_comes_up_is_ready_and_has_a_time_line(start: Start, tmp_path: Path) -> None:
    with start(UP) as system:
        system.wait_ready(PATIENCE)
        # Each console has a thread of its own: the system's lines may be looked at later than the guests'.
        end = time.monotonic() + PATIENCE
        while not system.timeline.seen("seL4", "monitor") and time.monotonic() < end:
            system.poll(0.1)
        stages = [event.name for event in system.timeline.events if event.guest == "seL4"]
    assert stages == ["loader", "kernel", "monitor"]
    assert [event.detail for event in system.timeline.seen("client", "kernel")] == ["6.1.0"]
    assert "userspace up" in (tmp_path / "logs/client.console.log").read_text()
    assert "server" not in (tmp_path / "logs/client.console.log").read_text()
    assert "Bootstrapping" in (tmp_path / "logs/system.log").read_text()
    serial = [line for line in (tmp_path / "logs/serial.log").read_text().splitlines() if not ANSWER.search(line)]
    assert [line.partition(" `")[0] for line in serial] == UP.strip().splitlines()


def test_commands_run_in_the_guest_that_is_named_and_long_output_is_whole(start: Start) -> None:
    with start(UP) as system:
        system.wait_ready(PATIENCE)
        code, output = system.execute("client", "seq 1000; exit 7", PATIENCE)
        assert (code, output) == (7, b"".join(b"%d\n" % n for n in range(1, 1001)))
        with system.guests["server"].turn:  # its clock may be being set
            assert system.guests["server"].agent.hello(PATIENCE) == "server"
        assert system.execute("server", "exit 0", PATIENCE) == (0, b"")


def test_commands_do_not_wait_for_the_thread_that_runs_it_all(start: Start) -> None:
    with start(UP) as system:
        system.wait_ready(PATIENCE)
        over = threading.Event()

        def look_after() -> None:
            while not over.is_set():
                system.poll(10 * PATIENCE)

        thread = threading.Thread(target=look_after)
        thread.start()
        for _ in range(8):
            assert system.execute("client", "exit 3", PATIENCE) == (3, b"")
        assert thread.is_alive()
        over.set()
        system.give_keyboard("client")
        system.guests["client"].console.send(b"ls\n")  # a line comes, so that it looks up
        thread.join()


def test_what_is_typed_into_a_console_arrives_there(start: Start) -> None:
    with start(UP) as system:
        system.wait_ready(PATIENCE)
        system.give_keyboard("client")
        system.guests["client"].console.send(b"ls\n")
        assert wait_until(lambda: "typed ls" in system.guests["client"].tail())
        assert "typed ls" not in system.guests["server"].tail()


def test_both_guests_have_the_one_machine(start: Start) -> None:
    with start(UP) as system:
        assert system.guests["server"].qmp.execute("query-status") == {}
        assert system.guests["server"].qmp is system.guests["client"].qmp
        assert system.guests["server"].child.pid == system.pid


@pytest.mark.parametrize("end", ["!end", "!kill"])
def test_a_machine_that_ends_is_an_error(start: Start, end: str) -> None:
    with pytest.raises(MachineError, match="the machine is gone") as caught, start(f"{UP}\n{end}") as system:
        while True:
            system.poll(0.1)
    assert str(caught.value.hint).startswith("logs: ")


def test_a_fault_of_a_protection_domain_is_shown_with_what_it_said(start: Start, tmp_path: Path) -> None:
    fault = "MON|ERROR: received message 0x00000006  badge: 0x0000000000000003  tcb cap: 0x000000000000000d\n"
    fault += "MON|ERROR: faulting PD: vmm_client\nRegisters:\npc : 0x0000000000200000"
    with start(f"{UP}{fault}") as system, pytest.raises(MachineError) as caught:
        # What matters here is what is shown, not how long the rest of a fault may take to come.
        log = tmp_path / "logs/system.log"
        assert wait_until(lambda: log.exists() and "pc :" in log.read_text())
        while True:
            system.poll(0.1)
    assert caught.value.message.startswith("a protection domain or the kernel has failed: MON|ERROR: received message")
    assert "faulting PD: vmm_client" in str(caught.value.hint)
    assert "pc : 0x0000000000200000" in str(caught.value.hint)


def test_a_guest_that_stays_down_before_it_is_up_is_named(start: Start) -> None:
    lines = "server| Booting\nvmm x\nclient| \nclient| vmm client: the guest has crashed\n"
    with start(lines) as system:
        system.plan = system.plan.but(guests=tuple(replace(g, on_exit="stop") for g in system.plan.guests))
        for name, guest in system.guests.items():
            guest.plan = system.plan.guest(name)
        with pytest.raises(MachineError, match="guest 'client' is down") as caught:
            system.wait_ready(PATIENCE)
    assert "vmm client: the guest has crashed" in str(caught.value.hint)


def test_a_run_leaves_no_process_behind(start: Start) -> None:
    with start(UP) as system:
        system.wait_ready(PATIENCE)
        pid = system.pid
    assert not alive(pid)


def test_ports_are_in_the_multiplexers_order() -> None:
    assert tuple(ports(facts_of(plan_of(shipped("qemu"))).names)) == fake_qemu.PORTS


def test_a_machine_that_starts_in_el3_gets_firmware_first() -> None:
    plan = plan_of(shipped("maaxboard"))
    paths = Paths(Path("s"), Path("m"), Path("f"))
    plugs = plugs_of(["keyboard", "mouse"], plan)
    words = system_command("qemu", plan, Path("loader.img"), paths, plugs)
    assert "loader,file=loader.img,addr=0x50000000,force-raw=on" in words
    assert "loader,file=f,addr=0x960000,force-raw=on" in words
    assert "loader,addr=0x960000,cpu-num=0" in words
    assert "usb-kbd,bus=usb-bus.0,port=1,id=plug1" in words
    assert "usb-mouse,bus=usb-bus.1,port=1,id=plug2" in words
    assert [plug.path for plug in plugs] == ["1-1", "3-1"]
    assert words[words.index("-serial") :][:2] == ["-serial", "chardev:line"]


def test_the_console_of_the_imx8mp_evk_is_the_machines_second_serial_port() -> None:
    words = system_command("qemu", evk("usb@38200000"), Path("loader.img"), Paths(Path("s"), Path("m"), Path("f")))
    at = words.index("-serial")
    assert words[at : at + 4] == ["-serial", "none", "-serial", "chardev:line"]


def evk(*controllers: str) -> SystemPlan:
    """A system on the imx8mp_evk whose server owns these of its USB controllers."""
    guests = {
        "server": {"image": "usb-server", "memory": "128 MiB"},
        "client": {"image": "usb-client", "memory": "128 MiB"},
    }
    plan = plan_of(described({"system": "two", "board": "imx8mp_evk", "guests": guests}))
    server, client = plan.guests
    nodes = tuple(f"/soc@0/usb/{name}" for name in controllers)
    return plan.but(guests=(replace(server, passthrough=Passthrough(selected=nodes, nodes=nodes)), client))


def test_devices_go_into_the_sockets_of_the_controllers_that_guests_own() -> None:
    (plug,) = plugs_of(["keyboard"], evk("usb@38200000"))
    assert (plug.bus, plug.path) == ("usb-bus.1", "1-1")
    assert [plug.bus for plug in plugs_of(["keyboard"] * 2, evk("usb@38200000", "usb@38100000"))] == [
        *("usb-bus.0", "usb-bus.1"),
    ]


@pytest.mark.parametrize(
    ("controllers", "message", "hint"),
    [
        ((), "no guest owns a USB controller that QEMU's imx8mp-evk has", "passthrough: [usb@38100000]"),
        (("usb@38200000",), "2 devices for 1: QEMU has one socket for each USB controller", "plug in fewer"),
    ],
)
def test_devices_without_a_socket_are_refused(controllers: tuple[str, ...], message: str, hint: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        plugs_of(["keyboard", "mouse"], evk(*controllers))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_an_old_qemu_is_refused_with_what_to_install() -> None:
    with pytest.raises(HostError) as caught:
        check_version(plan_of(shipped("maaxboard")), Qemu("/usr/bin/qemu-system-aarch64", (10, 0, 3)))
    assert "QEMU 10.0.3 cannot run the image of the board 'maaxboard'" in caught.value.message
    assert "imx8mp-evk of QEMU 11.0 or newer" in caught.value.message
    assert "ROUTER_QEMU" in str(caught.value.hint)


def test_several_cores_are_refused_where_nothing_starts_them() -> None:
    plan = replace(plan_of(shipped("maaxboard")), config="smp-release")
    with pytest.raises(HostError, match="starts no other") as caught:
        check_version(plan, Qemu("/usr/bin/qemu-system-aarch64", (11, 1, 3)))
    assert "write 'config: release'" in str(caught.value.hint)
    check_version(replace(plan_of(shipped("qemu")), config="smp-release"), Qemu("qemu", (7, 2, 0)))


def test_router_qemu_names_the_program(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start("")
    monkeypatch.setenv("ROUTER_QEMU", str(tmp_path / "qemu"))
    assert find_qemu() == Qemu(str(tmp_path / "qemu"), (11, 1, 3))
    monkeypatch.setenv("ROUTER_QEMU", str(tmp_path / "none"))
    with pytest.raises(HostError, match="no such program is there"):
        find_qemu()


def test_the_run_ends_when_router_is_killed(tmp_path: Path, start: Start) -> None:
    start(UP)
    code = (
        "import sys, time; sys.path[:0] = sys.argv[2:]\nfrom pathlib import Path\n"
        "from tests.support.systems import plan_of, shipped\nfrom router.machines.qemu.microkit import MicrokitRun\n"
        "from router.machines.qemu.tool import Qemu\nfrom router.control.timeline import Timeline\n"
        "folder = Path(sys.argv[1])\n"
        "with MicrokitRun(plan_of(shipped('qemu')), folder, Qemu(str(folder / 'qemu'), (11, 0, 0)), folder / 'logs', "
        "Timeline(), seeds=False) as system:\n    print(system.pid, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        run.kill()
    assert wait_until(lambda: not alive(pid))
