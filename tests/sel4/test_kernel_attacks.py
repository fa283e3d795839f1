# SPDX-License-Identifier: BSD-2-Clause
"""What a guest can make the kernel do: nothing on a release kernel; on a debug kernel it stops the machine, and every
command says so before.

The attacker is tests/sel4/c/hostile_kernel.h. Its HVCs have the numbers of all system calls of seL4 in x7, those that
need no capability too (sel4/syscall.h), and random numbers.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.control.client import Connection
from router.errors import MachineError
from router.testing import Guest, Router, Setup
from router.testing.qemu import QemuMachine
from tests.sel4 import hostile_guest
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, own_place, set_up
from tests.support.end_to_end import router as command_line
from tests.support.patience import PATIENCE, wait_until

ATTACKER = hostile_guest.NAME
FORGED = b"client| said by another"
WARNING = "any guest can stop the whole machine and forge lines"

pytestmark = pytest.mark.timeout(900)


def attack(answers: Callable[[], None], attacker: Guest, over: str, seconds: float) -> list[float]:
    """Have a neighbour answer until the attacker's console has `over`; the seconds that the answers took."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while not took or (over not in attacker.said() and time.monotonic() < end):
        start = time.monotonic()
        answers()
        took.append(time.monotonic() - start)
    assert over in attacker.said(), attacker.said()[-2000:]
    return took


@pytest.fixture(scope="module")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """The attacker and one neighbour, on a release kernel."""
    need_sdk(config="release")
    need_qemu()
    folder = tmp_path_factory.mktemp("release")
    text = hostile_guest.prepare(folder, seed=3, seconds=1, config="release", system=hostile_guest.SMALL)
    with hostile_guest.trapping():
        yield set_up(folder, text)


def test_on_a_release_kernel_no_call_of_a_guest_reaches_another(router: Router) -> None:
    attacker = router.guest(ATTACKER)
    with router.connect() as typing:
        typing.console(ATTACKER, lambda _: None).send(b"\n")
        client = router.guest("client")

        def answers() -> None:
            assert client.run("echo here", PATIENCE).stdout == "here\n"

        took = attack(answers, attacker, "hostile: sets a watchpoint", 4 * PATIENCE)
        answers()
        print(f"{len(took)} answers meanwhile, the slowest in {max(took):.1f} s")
    said = attacker.said()
    found = re.search(r"kernel calls (\d+) refused (\d+) without effect (\d+)", said)
    assert found is not None, said[-2000:]
    made, refused, kept = map(int, found.groups())
    # Calls that do not wait are skipped by the kernel: seL4_NBSend and seL4_Yield.
    assert made == refused + kept
    assert made > 1000
    assert refused > 9 * kept > 0
    assert "hostile: counters 0 control 0 cycles 0" in said
    assert "hostile: 32 bits: all over" in said
    assert "crashed" not in said.split("hostile: sets a watchpoint")[0]
    assert isinstance(router.machine, QemuMachine)
    assert FORGED not in (router.machine.logs / "serial.log").read_bytes()


def test_on_a_debug_kernel_one_call_stops_the_machine_and_every_command_says_so(tmp_path: Path) -> None:
    need_sdk(config="debug")
    need_qemu()
    hostile_guest.prepare(tmp_path, seed=3, seconds=1, config="debug", system=hostile_guest.SMALL)
    description, logs = tmp_path / "description.yaml", tmp_path / "logs"
    for verb in ("check", "build"):
        more = ("-o", tmp_path / "build") if verb == "build" else ()
        shown = subprocess.run(
            command_line(verb, description, *more), capture_output=True, text=True, timeout=300, check=True
        )
        assert WARNING in shown.stdout + shown.stderr, verb
    words = command_line("run", description, "--mode", "microkit", "-o", tmp_path / "build", "--logs", logs)
    with (
        own_place(),
        (tmp_path / "said").open("w+") as said,
        subprocess.Popen([*words, "--timeout", f"{BOOT:g}"], stderr=said) as run,
    ):
        try:
            up = wait_until(lambda: "up; Ctrl-C" in (tmp_path / "said").read_text() or run.poll() is not None, BOOT)
            assert up
            assert WARNING in (tmp_path / "said").read_text()
            with Connection("hostile-small") as system, Connection("hostile-small") as typing:
                assert system.execute("client", "echo here", PATIENCE) == (0, b"here\n")
                typing.console(ATTACKER, lambda _: None).send(b"d")
                log = logs / "serial.log"
                assert wait_until(lambda: b"Debug halt syscall from user thread" in log.read_bytes(), PATIENCE)
                assert FORGED in log.read_bytes()
                with pytest.raises(MachineError):
                    system.execute("client", "echo here", 10)
            # The kernel's last words end the run.
            assert run.wait(PATIENCE) == 4
            assert "a protection domain or the kernel has failed" in (tmp_path / "said").read_text()
        finally:
            run.terminate()
    assert "hostile: the kernel goes on" not in (logs / f"{ATTACKER}.console.log").read_text(errors="replace")
